"""Queries that count what one change of a query costs in rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from sqlglot import exp

from sluice.review.query_equivalence import DIALECT
from sluice.review.select_parts import FINAL, and_parts, outputs_of, spelled_out

Counts = tuple[str | None, str | None]
"""Queries that count rows with the change, and without it; None where they cannot be written."""
Undo = Callable[[exp.Query], None]


class RowCounts:
    """Counting queries for the changes of a query; `tree` is the query after all of them."""

    def __init__(self, tree: exp.Query) -> None:
        self.tree = tree

    def undoing(self, scope: str, select: exp.Query, undo: Undo) -> Counts:
        """Two queries that count the rows of a scope: as it is, and with one change undone."""
        marked = select.copy()
        undo_holder = exp.Subquery(this=marked)
        undo(marked)
        changed = undo_holder.this
        return _count(self.tree, scope, None, None), _count(self.tree, scope, select, changed)

    def of_groups(self, scope: str, old: exp.Select, new: exp.Select) -> Counts:
        """The same of the groups alone: a column that is no longer grouped by cannot be selected."""
        counts = []
        for select in (new, old):
            bare = _bare(new)
            bare.set("group", spelled_out(select.args["group"], select))
            counts.append(_count(self.tree, scope, new, bare))
        return counts[0], counts[1]

    def of_join(self, scope: str, select: exp.Select, join: exp.Join, old: exp.Join | None) -> Counts:
        """The same of the rows between `from` and `group by`: a join that is undone has no columns to select."""
        bare = _bare(select)
        without = bare.copy()
        position = select.args["joins"].index(join)
        joins = list(without.args["joins"])
        if old is None:
            del joins[position]
            without.set("where", None)
            bare.set("where", None)
        else:
            joins[position] = old.copy()
        without.set("joins", joins)
        return _count(self.tree, scope, select, bare), _count(self.tree, scope, select, without)

    def of_window(
        self, select: exp.Select, name: str, old: Any, part: str
    ) -> tuple[str | None, str | None, str | None]:
        """The same of the whole model; the third query counts the rows that only exist with the change."""
        undone = select.copy()
        for window in outputs_of(undone)[name].find_all(exp.Window):
            window.set(part, [o.copy() for o in old] if isinstance(old, list) else old and old.copy())
        with_it = _count(self.tree, FINAL, None, None)
        without = _count(self.tree, FINAL, select, undone)
        if with_it is None or without is None:
            return with_it, without, None
        rows = [text.replace("count(*)", "*", 1) for text in (with_it, without)]
        return with_it, without, f"select count(*) from ({rows[0]} except all {rows[1]}) as others"


def _bare(select: exp.Select) -> exp.Select:
    """The rows of a select between `from` and `group by`, without columns."""
    bare = select.copy()
    for clause in ("group", "having", "qualify", "distinct", "limit", "offset", "order"):
        bare.set(clause, None)
    bare.set("expressions", [exp.alias_(exp.Literal.number(1), "one")])
    return bare


def restoring(clause: str, old: exp.Expression | None) -> Undo:
    """Gives a select back the clause it had."""

    def undo(select: exp.Query) -> None:
        select.set(clause, old.copy() if old is not None else None)

    return undo


def dropping(clause: str, condition: exp.Expression) -> Undo:
    """Takes a condition out of `where`, `having` or `qualify`."""

    def undo(select: exp.Query) -> None:
        node = select.args[clause]
        left = [c for c in and_parts(node.this) if c != condition]
        select.set(clause, type(node)(this=exp.and_(*left)) if left else None)

    return undo


def adding(clause: str, condition: exp.Expression) -> Undo:
    """Puts a condition back into `where`, `having` or `qualify`."""

    kinds = {"where": exp.Where, "having": exp.Having, "qualify": exp.Qualify}

    def undo(select: exp.Query) -> None:
        node = select.args.get(clause)
        both = exp.and_(node.this, condition) if node is not None else condition
        select.set(clause, kinds[clause](this=both.copy()))

    return undo


def _count(tree: exp.Query, scope: str, select: exp.Query | None, other: exp.Expression | None) -> str | None:
    """A query that counts the rows of a CTE (or of the whole), after `select` in it was replaced by `other`."""
    copy = tree.copy()
    if select is not None and other is not None:
        twin = _twin(tree, copy, select)
        if twin is None:
            return None
        if twin is copy:
            new = other.copy()
            if copy.args.get("with_") is not None and new.args.get("with_") is None:
                new.set("with_", copy.args["with_"].copy())
            copy = new  # type: ignore[assignment]
        else:
            twin.replace(other.copy())
    if scope == FINAL:
        return f"select count(*) from ({copy.sql(dialect=DIALECT)}) as counted"
    with_ = copy.args.get("with_")
    if with_ is None:
        return None
    name = exp.to_identifier(scope, quoted=True).sql(dialect=DIALECT)
    return f"{with_.sql(dialect=DIALECT)} select count(*) from {name}"


def _twin(tree: exp.Expression, copy: exp.Expression, node: exp.Expression) -> exp.Expression | None:
    """The node of the copy that stands where `node` stands in the tree."""
    for original, twin in zip_longest(tree.walk(), copy.walk()):
        if original is node:
            return twin
    return None
