"""Which clause of which select changed, and queries that count what each change costs in rows.

CTEs are matched by name, then by content (a renamed one), then by order; branches of a union by order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from sqlglot import exp
from sqlglot.errors import SqlglotError

from sluice.review import select_parts as parts
from sluice.review.query_equivalence import drop_default_join_kinds, parse, structure, without_parentheses
from sluice.review.row_counts import Counts, RowCounts, Undo, adding, dropping, restoring
from sluice.review.wording import clip, other_ones

WHOLE = ("group", "having", "qualify", "distinct", "limit", "offset")
"""Clauses of a select that are compared whole, after `from`, joins and `where`."""


@dataclass(frozen=True)
class Clause:
    """A changed clause.

    `kind`: where-added, where-removed, where-changed, join-added, join-kind, union-branch-added, ...
    `scope`: the CTE it stands in. `affects_rows`: it decides which rows exist, not which values they hold.
    `column`: the output column whose expression it is. `without`: the query after the change with only this change
    undone; it counts the rows of the scope, as `with_it` does with the change.
    """

    kind: str
    scope: str
    text: str
    affects_rows: bool
    column: str | None = None
    with_it: str | None = None
    without: str | None = None
    differing: str | None = None
    """A query that counts the model's rows that are not there without the change: for a window, which may choose other
    rows without changing how many there are. `with_it` and `without` are then of the whole model."""
    rows: tuple[int, int] | None = None
    """Rows without and with the change, once counted."""
    differ: int | None = None
    """Rows that `differing` counted."""

    @property
    def sentence(self) -> str:
        cost = ""
        if self.rows is not None:
            before, after = self.rows
            difference = after - before
            if self.differ is None:
                cost = f": {before:,} → {after:,} rows of `{self.scope}` ({difference:+,})"
            else:
                cost = (
                    f": {before:,} → {after:,} rows of the model ({difference:+,}), {other_ones(self.differ)}"
                )
        return f"{self.text}{cost}"

    def counted(self, count: Callable[[str], int]) -> Clause:
        """The clause with its rows, if both queries can be counted."""
        if self.with_it is None or self.without is None:
            return self
        rows = count(self.without), count(self.with_it)
        return replace(self, rows=rows, differ=count(self.differing) if self.differing else None)


def changed_clauses(before: str, after: str) -> list[Clause]:
    """What changed between two queries, clause by clause; empty if either cannot be parsed."""
    try:
        old, new = parse(before), parse(after)
    except SqlglotError:
        return []
    if not isinstance(old, exp.Query) or not isinstance(new, exp.Query):
        return []
    for tree in (old, new):
        _inline_windows(tree)
    return list(_Comparison(old, new).clauses())


def _inline_windows(tree: exp.Query) -> None:
    """Write the definition of each named window where it is used, so that a change is reported for the column."""
    for select in tree.find_all(exp.Select):
        named = {w.name.lower(): w for w in select.args.get("windows") or []}
        for window in list(select.find_all(exp.Window)) if named else ():
            definition = named.get((window.args.get("alias") or exp.Identifier(this="")).name.lower())
            if definition is None or window is definition:
                continue
            for part in ("partition_by", "order", "spec"):
                value = definition.args.get(part)
                if value and not window.args.get(part):
                    copied = [v.copy() for v in value] if isinstance(value, list) else value.copy()
                    window.set(part, copied)
            window.set("alias", None)


class _Comparison:
    """Pairs the selects of two queries and compares them."""

    def __init__(self, old: exp.Query, new: exp.Query) -> None:
        self.counts = RowCounts(new)
        self.old, self.new = parts.scopes_of(old), parts.scopes_of(new)
        self.pairs = parts.matched_scopes(self.old, self.new)
        self.renamed = {n: o for o, n in self.pairs}

    def clauses(self) -> Iterator[Clause]:
        for old_name, new_name in self.pairs:
            old, new = self.old[old_name], self.new[new_name]
            before, after = parts.branches_of(old), parts.branches_of(new)
            if [parts.set_operator(b) for b in before] != [parts.set_operator(b) for b in after]:
                yield self._branches(new_name, old, new, before, after)
                continue
            for o, n in zip(before, after, strict=True):
                if isinstance(o, exp.Select) and isinstance(n, exp.Select):
                    yield from _SelectPair(self, new_name, o, n).clauses()

    def _branches(
        self, scope: str, old: exp.Query, new: exp.Query, before: list[exp.Query], after: list[exp.Query]
    ) -> Clause:
        old_keys, new_keys = [self.old_key(b, {}) for b in before], [self.new_key(b, {}) for b in after]
        added = [b for b, key in zip(after, new_keys, strict=True) if key not in old_keys]
        removed = [b for b, key in zip(before, old_keys, strict=True) if key not in new_keys]
        if len(after) > len(before):
            kind, text = (
                "union-branch-added",
                f"union branch added: `{_tables(added, len(after) - len(before))}`",
            )
        elif len(after) < len(before):
            text = f"union branch removed: `{_tables(removed, len(before) - len(after))}`"
            kind = "union-branch-removed"
        else:
            kind, text = (
                "set-operation",
                f"`{parts.set_operators(before)} became {parts.set_operators(after)}`",
            )
        counts = self.counts.undoing(scope, new, lambda select: select.replace(old.copy()))
        return Clause(kind, scope, text, True, None, *counts)

    def old_name(self, name: str) -> str:
        """What a CTE was called before."""
        return self.renamed.get(name, name)

    def old_key(self, node: exp.Expression, tables: dict[str, str]) -> str:
        """An expression as text, with tables in place of aliases; a single table is left out."""
        node = node.copy()
        for table in list(node.find_all(exp.Table)):
            table.set("alias", None)
        for column in list(node.find_all(exp.Column)):
            if column.table:
                source = tables.get(column.table.lower(), column.table.lower())
                column.set("table", None if len(tables) == 1 else exp.to_identifier(source.replace(".", "_")))
        node = without_parentheses(node)
        for identifier in node.find_all(exp.Identifier):
            identifier.set("this", identifier.name.lower())
        drop_default_join_kinds(node)
        return structure(node)

    def new_key(self, node: exp.Expression, tables: dict[str, str]) -> str:
        """The same with the old names of CTEs."""
        node = node.copy()
        for table in list(node.find_all(exp.Table)):
            if not table.db:
                table.set("this", exp.to_identifier(self.old_name(table.name.lower())))
        return self.old_key(node, tables)


class _SelectPair:
    """One select before and after; `scope` is the CTE it stands in."""

    def __init__(self, whole: _Comparison, scope: str, old: exp.Select, new: exp.Select) -> None:
        self.whole, self.counts = whole, whole.counts
        self.scope, self.old, self.new = scope, old, new
        self.old_key = partial(whole.old_key, tables=parts.tables_by_alias(old))
        tables = {alias: whole.old_name(table) for alias, table in parts.tables_by_alias(new).items()}
        self.new_key = partial(whole.new_key, tables=tables)

    def clauses(self) -> Iterator[Clause]:
        yield from self._from()
        yield from self._joins()
        yield from self._conditions("where")
        for clause in WHOLE:
            yield from self._clause(clause)
        o, n = self.old.args.get("order"), self.new.args.get("order")
        if (o and self.old_key(o)) != (n and self.new_key(n)):
            is_cut = bool(self.new.args.get("limit") or self.old.args.get("limit"))
            yield Clause("order-changed", self.scope, f"order by changed: {parts.change_text(o, n)}", is_cut)
        yield from self._columns()

    def _of_rows(self, kind: str, text: str, counts: Counts = (None, None)) -> Clause:
        return Clause(kind, self.scope, text, True, None, *counts)

    def _undoing(self, undo: Undo) -> Counts:
        return self.counts.undoing(self.scope, self.new, undo)

    def _clause(self, clause: str) -> Iterator[Clause]:
        o, n = self.old.args.get(clause), self.new.args.get(clause)
        if clause in ("having", "qualify") and o is not None and n is not None:
            yield from self._conditions(clause)
            return
        before, after = o and parts.spelled_out(o, self.old), n and parts.spelled_out(n, self.new)
        if (before and self.old_key(before)) == (after and self.new_key(after)):
            return
        how = "added" if o is None else "removed" if n is None else "changed"
        if clause == "group" and how == "changed":
            counts = self.counts.of_groups(self.scope, self.old, self.new)
        else:
            counts = self._undoing(restoring(clause, o))
        yield self._of_rows(f"{clause}-{how}", f"{clause} {how}: {parts.change_text(before, after)}", counts)

    def _from(self) -> Iterator[Clause]:
        o, n = self.old.args.get("from_"), self.new.args.get("from_")
        if o is None or n is None or isinstance(o.this, exp.Subquery):
            if (o and self.old_key(o)) != (n and self.new_key(n)):
                yield self._of_rows("from-changed", f"from changed: {parts.change_text(o, n)}")
            return
        before, after = parts.relation_name(o.this), parts.relation_name(n.this)
        if before != self.whole.old_name(after):
            yield self._of_rows(
                "from-changed", f"reads `{parts.short_name(after)}` instead of `{parts.short_name(before)}`"
            )

    def _joins(self) -> Iterator[Clause]:
        before = parts.joins_by_table(self.old, lambda name: name)
        after = parts.joins_by_table(self.new, self.whole.old_name)
        for table in [*before, *(k for k in after if k not in before)]:
            o, n = before.get(table), after.get(table)
            shown = f"`{parts.short_name(table[0])}`"
            if n is None:
                yield self._of_rows("join-removed", f"{parts.join_words(o)} {shown} removed")
                continue
            if o is None:
                kind, text = "join-added", f"{parts.join_words(n)} {shown} added"
            elif parts.join_words(o) != parts.join_words(n):
                kind, text = "join-kind", f"{parts.join_words(o)} {shown} became {parts.join_words(n)}"
            elif parts.join_condition(o, self.old_key) != parts.join_condition(n, self.new_key):
                change = parts.change_text(o.args.get("on"), n.args.get("on"))
                kind, text = "join-condition", f"condition of {parts.join_words(n)} {shown} changed: {change}"
            else:
                continue
            yield self._of_rows(kind, text, self.counts.of_join(self.scope, self.new, n, o))

    def _conditions(self, clause: str) -> Iterator[Clause]:
        before = {self.old_key(c): c for c in parts.conditions_of(self.old, clause)}
        after = {self.new_key(c): c for c in parts.conditions_of(self.new, clause)}
        removed = [c for key, c in before.items() if key not in after]
        added = [c for key, c in after.items() if key not in before]
        if removed and added:
            text = f"{clause} changed: {parts.change_text(exp.and_(*removed), exp.and_(*added))}"
            counts = self._undoing(restoring(clause, self.old.args.get(clause)))
            yield self._of_rows(f"{clause}-changed", text, counts)
            return
        for how, conditions, undo in (("added", added, dropping), ("removed", removed, adding)):
            for condition in conditions:
                text = f"{clause} {how}: `{parts.sql_text(condition)}`"
                yield self._of_rows(f"{clause}-{how}", text, self._undoing(undo(clause, condition)))

    def _columns(self) -> Iterator[Clause]:
        before, after = parts.outputs_of(self.old), parts.outputs_of(self.new)
        if ("*" in before) is not ("*" in after):  # which columns a star stands for is not known here
            shown = " → ".join(f"`{clip(', '.join(names), 100)}`" for names in (before, after))
            yield Clause("columns-changed", self.scope, f"columns changed: {shown}", False)
            before, after = (
                {n: c for n, c in side.items() if n in before and n in after} for side in (before, after)
            )
        for name, o in before.items():
            if name not in after:
                how = "unnest" if parts.multiplies_rows(o) else "column"
                yield Clause(f"{how}-removed", self.scope, f"column `{name}` removed", how == "unnest", name)
            elif self.old_key(o) != self.new_key(after[name]):
                yield from self._expression(name, o, after[name])
        for name, n in after.items():
            if name not in before:
                how = "unnest" if parts.multiplies_rows(n) else "column"
                text = f"column `{name}` added" + (
                    f": {parts.change_text(None, n)}" if how == "unnest" else ""
                )
                yield Clause(f"{how}-added", self.scope, text, how == "unnest", name)
        shared = [n for n in before if n in after], [n for n in after if n in before]
        moved = [f"`{n}` stands where `{o}` stood" for o, n in zip(*shared, strict=True) if o != n]
        if moved:
            text = f"order of columns changed: {', '.join(moved[:2])}{', …' if len(moved) > 2 else ''}"
            yield Clause("columns-reordered", self.scope, text, False)

    def _expression(self, name: str, old: exp.Expression, new: exp.Expression) -> Iterator[Clause]:
        windows = [list(side.find_all(exp.Window)) for side in (old, new)]
        if len(windows[0]) == len(windows[1]) == 1:
            before, after = windows[0][0], windows[1][0]
            for part, word in (("partition_by", "partition"), ("order", "order"), ("spec", "frame")):
                texts = [parts.sql_of(window.args.get(part)) for window in (before, after)]
                if texts[0] != texts[1]:
                    change = " → ".join(f"`{clip(t or 'none', 160)}`" for t in texts)
                    text = f"window {word} of `{name}` changed: {change}"
                    counts = self.counts.of_window(self.new, name, before.args.get(part), part)
                    yield Clause(f"window-{word}", self.scope, text, True, name, *counts)
            if parts.sql_text(before.this) == parts.sql_text(after.this) and type(old) is type(new):
                return
        text = f"`{name}` changed: {parts.change_text(old, new)}"
        if parts.multiplies_rows(old) or parts.multiplies_rows(new):

            def undo(query: exp.Query) -> None:
                parts.outputs_of(query)[name].replace(old.copy())  # type: ignore[arg-type]

            yield Clause("unnest-changed", self.scope, text, True, name, *self._undoing(undo))
        else:
            yield Clause("column-changed", self.scope, text, False, name)


def _tables(branches: list[exp.Query], count: int) -> str:
    return ", ".join(parts.source_of(b) for b in branches[:count])
