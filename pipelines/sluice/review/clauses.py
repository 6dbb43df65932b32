"""Which clause of which select changed, and queries that count what each change costs in rows.

CTEs are matched by name, then by what they say (a renamed one), then by order; branches of a union by order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError

from sluice.review.meaning import DIALECT, parse, structure, without_parentheses

Scopes = dict[str, exp.Query]
FINAL = "final select"
RESULT = ("group", "having", "qualify", "distinct", "limit", "offset")
"""Clauses of a select that are compared whole."""


@dataclass(frozen=True)
class Clause:
    """A changed clause.

    `kind`: where-added, where-removed, where-changed, join-added, join-kind, union-branch-added, ...
    `scope`: the CTE it stands in. `affects_rows`: it decides which rows there are, not what is in them.
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
                cost = f": {before:,} → {after:,} rows of the model ({difference:+,}), {self.differ:,} are other ones"
        return f"{self.text}{cost}"


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
    """Write the definition of each named window where it is used: the window that changed is named by its column."""
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
    def __init__(self, old: exp.Query, new: exp.Query) -> None:
        self.new_tree = new
        self.old, self.new = _scopes(old), _scopes(new)
        self.pairs = _matched(self.old, self.new)
        self.renamed = {n: o for o, n in self.pairs}

    def clauses(self) -> Iterator[Clause]:
        for old_name, new_name in self.pairs:
            yield from self._query(new_name, self.old[old_name], self.new[new_name])

    def _query(self, scope: str, old: exp.Query, new: exp.Query) -> Iterator[Clause]:
        old_branches, new_branches = _branches(old), _branches(new)
        if len(old_branches) != len(new_branches) or [_operator(b) for b in old_branches] != [
            _operator(b) for b in new_branches
        ]:
            yield from self._branches(scope, old, new, old_branches, new_branches)
            return
        for o, n in zip(old_branches, new_branches, strict=True):
            if isinstance(o, exp.Select) and isinstance(n, exp.Select):
                yield from self._select(scope, o, n)

    def _branches(
        self, scope: str, old: exp.Query, new: exp.Query, before: list[exp.Query], after: list[exp.Query]
    ) -> Iterator[Clause]:
        old_texts, new_texts = (
            [self._key(b, {}, renamed=False) for b in before],
            [self._key(b, {}) for b in after],
        )
        added = [b for b, text in zip(after, new_texts, strict=True) if text not in old_texts]
        removed = [b for b, text in zip(before, old_texts, strict=True) if text not in new_texts]

        def undone(select: exp.Query) -> None:
            select.replace(old.copy())

        counts = self._counts(scope, new, undone)
        if len(after) > len(before):
            what = ", ".join(_source(b) for b in added[: len(after) - len(before)])
            yield Clause("union-branch-added", scope, f"union branch added: `{what}`", True, None, *counts)
        elif len(after) < len(before):
            what = ", ".join(_source(b) for b in removed[: len(before) - len(after)])
            yield Clause(
                "union-branch-removed", scope, f"union branch removed: `{what}`", True, None, *counts
            )
        else:
            ways = f"{_operators(before)} became {_operators(after)}"
            yield Clause("set-operation", scope, f"`{ways}`", True, None, *counts)

    def _select(self, scope: str, old: exp.Select, new: exp.Select) -> Iterator[Clause]:
        old_names, new_names = _sources(old), {a: self._old_name(s) for a, s in _sources(new).items()}

        def old_key(node: exp.Expression) -> str:
            return self._key(node, old_names, renamed=False)

        def new_key(node: exp.Expression) -> str:
            return self._key(node, new_names)

        yield from self._from(scope, old, new, old_key, new_key)
        yield from self._joins(scope, old, new, old_key, new_key)
        yield from self._conditions("where", scope, old, new, old_key, new_key)
        for clause in RESULT:
            o, n = old.args.get(clause), new.args.get(clause)
            if clause in ("having", "qualify") and o is not None and n is not None:
                yield from self._conditions(clause, scope, old, new, old_key, new_key)
            elif (o is not None and old_key(_spelled_out(o, old))) != (
                n is not None and new_key(_spelled_out(n, new))
            ):
                how = "added" if o is None else "removed" if n is None else "changed"
                text = (
                    f"{clause} {how}: {_change(*(c and _spelled_out(c, s) for c, s in ((o, old), (n, new))))}"
                )
                both_group = clause == "group" and o is not None and n is not None
                counts = (
                    self._group_counts(scope, old, new)
                    if both_group
                    else self._counts(scope, new, _setter(clause, o))
                )
                yield Clause(f"{clause}-{how}", scope, text, True, None, *counts)
        o, n = old.args.get("order"), new.args.get("order")
        if (o and old_key(o)) != (n and new_key(n)):
            is_cut = bool(new.args.get("limit") or old.args.get("limit"))
            yield Clause("order-changed", scope, f"order by changed: {_change(o, n)}", is_cut)
        yield from self._columns(scope, old, new, old_key, new_key)

    def _from(
        self,
        scope: str,
        old: exp.Select,
        new: exp.Select,
        old_key: Callable[[exp.Expression], str],
        new_key: Callable[[exp.Expression], str],
    ) -> Iterator[Clause]:
        o, n = old.args.get("from_"), new.args.get("from_")
        if o is None or n is None or isinstance(o.this, exp.Subquery):
            if (o and old_key(o)) != (n and new_key(n)):
                yield Clause("from-changed", scope, f"from changed: {_change(o, n)}", True)
            return
        before, after = _relation(o.this), self._old_name(_relation(n.this))
        if before != after:
            text = f"reads `{_short(_relation(n.this))}` instead of `{_short(before)}`"
            yield Clause("from-changed", scope, text, True)

    def _joins(
        self,
        scope: str,
        old: exp.Select,
        new: exp.Select,
        old_key: Callable[[exp.Expression], str],
        new_key: Callable[[exp.Expression], str],
    ) -> Iterator[Clause]:
        before = _keyed(old, lambda name: name)
        after = _keyed(new, self._old_name)
        for name in [*before, *(k for k in after if k not in before)]:
            o, n = before.get(name), after.get(name)
            shown = _short(name[0])
            if o is None and n is not None:
                counts = self._join_counts(scope, new, n, None)
                way = _way(n)
                yield Clause("join-added", scope, f"{way} `{shown}` added", True, None, *counts)
            elif n is None:
                yield Clause("join-removed", scope, f"{_way(o)} `{shown}` removed", True)
            elif o is not None:
                if _way(o) != _way(n):
                    text = f"{_way(o)} `{shown}` became {_way(n)}"
                    yield Clause("join-kind", scope, text, True, None, *self._join_counts(scope, new, n, o))
                elif _condition(o, old_key) != _condition(n, new_key):
                    text = f"condition of {_way(n)} `{shown}` changed: {_change(o.args.get('on'), n.args.get('on'))}"
                    counts = self._join_counts(scope, new, n, o)
                    yield Clause("join-condition", scope, text, True, None, *counts)

    def _conditions(
        self,
        clause: str,
        scope: str,
        old: exp.Select,
        new: exp.Select,
        old_key: Callable[[exp.Expression], str],
        new_key: Callable[[exp.Expression], str],
    ) -> Iterator[Clause]:
        before = {old_key(c): c for c in _conjuncts(old, clause)}
        after = {new_key(c): c for c in _conjuncts(new, clause)}
        removed = [c for key, c in before.items() if key not in after]
        added = [c for key, c in after.items() if key not in before]
        undo = _setter(clause, old.args.get(clause))
        if removed and added:
            text = f"{clause} changed: {_change(exp.and_(*removed), exp.and_(*added))}"
            yield Clause(f"{clause}-changed", scope, text, True, None, *self._counts(scope, new, undo))
            return
        for condition in added:
            counts = self._counts(scope, new, _without(clause, condition))
            yield Clause(
                f"{clause}-added", scope, f"{clause} added: `{_sql(condition)}`", True, None, *counts
            )
        for condition in removed:
            counts = self._counts(scope, new, _plus(clause, condition))
            yield Clause(
                f"{clause}-removed", scope, f"{clause} removed: `{_sql(condition)}`", True, None, *counts
            )

    def _columns(
        self,
        scope: str,
        old: exp.Select,
        new: exp.Select,
        old_key: Callable[[exp.Expression], str],
        new_key: Callable[[exp.Expression], str],
    ) -> Iterator[Clause]:
        before, after = _outputs(old), _outputs(new)
        for name, o in before.items():
            if name not in after:
                how = "unnest" if _multiplies(o) else "column"
                yield Clause(f"{how}-removed", scope, f"column `{name}` removed", how == "unnest", name)
            elif old_key(o) != new_key(after[name]):
                yield from self._expression(scope, new, name, o, after[name])
        for name in after:
            if name not in before:
                how = "unnest" if _multiplies(after[name]) else "column"
                text = f"column `{name}` added" + (
                    f": {_change(None, after[name])}" if how == "unnest" else ""
                )
                yield Clause(f"{how}-added", scope, text, how == "unnest", name)
        shared_before = [n for n in before if n in after]
        if shared_before != [n for n in after if n in before]:
            yield Clause("columns-reordered", scope, "order of columns changed", False)

    def _expression(
        self, scope: str, select: exp.Select, name: str, old: exp.Expression, new: exp.Expression
    ) -> Iterator[Clause]:
        before, after = list(old.find_all(exp.Window)), list(new.find_all(exp.Window))
        if len(before) == len(after) == 1:
            for part, word in (("partition_by", "partition"), ("order", "order"), ("spec", "frame")):
                texts = [_sql_of(w[0].args.get(part)) for w in (before, after)]
                if texts[0] != texts[1]:
                    text = f"window {word} of `{name}` changed: " + " → ".join(
                        f"`{t or 'none'}`" for t in texts
                    )
                    counts = self._window_counts(scope, select, name, before[0].args.get(part), part)
                    yield Clause(f"window-{word}", scope, text, True, name, *counts)
            bare = [_sql(w[0].this) for w in (before, after)]
            if bare[0] == bare[1] and (type(old) is type(new)):
                return
        text = f"`{name}` changed: {_change(old, new)}"
        if _multiplies(old) or _multiplies(new):

            def undo(query: exp.Query) -> None:
                _outputs(query)[name].replace(old.copy())  # type: ignore[arg-type]

            yield Clause("unnest-changed", scope, text, True, name, *self._counts(scope, select, undo))
        else:
            yield Clause("column-changed", scope, text, False, name)

    def _window_counts(
        self, scope: str, select: exp.Select, name: str, old: Any, part: str
    ) -> tuple[str | None, str | None, str | None]:
        """As _counts, but of the whole model, with the rows it has not without the change."""
        undone = select.copy()
        for window in _outputs(undone)[name].find_all(exp.Window):
            window.set(part, [o.copy() for o in old] if isinstance(old, list) else old and old.copy())
        with_it = _count(self.new_tree, FINAL, None, None)
        without = _count(self.new_tree, FINAL, select, undone)
        if with_it is None or without is None:
            return with_it, without, None
        rows = [text.replace("count(*)", "*", 1) for text in (with_it, without)]
        return with_it, without, f"select count(*) from ({rows[0]} except all {rows[1]}) as others"

    def _old_name(self, name: str) -> str:
        return self.renamed.get(name, name)

    def _key(self, node: exp.Expression, names: dict[str, str], renamed: bool = True) -> str:
        """Text of an expression with tables instead of their aliases, and without them where there is just one."""
        node = node.copy()
        for table in list(node.find_all(exp.Table)):
            if renamed and not table.db:
                table.set("this", exp.to_identifier(self._old_name(table.name.lower())))
            table.set("alias", None)
        for column in list(node.find_all(exp.Column)):
            if column.table:
                source = names.get(column.table.lower(), column.table.lower())
                column.set("table", None if len(names) == 1 else exp.to_identifier(source.replace(".", "_")))
        node = without_parentheses(node)
        for identifier in node.find_all(exp.Identifier):
            identifier.set("this", identifier.name.lower())
        for join in node.find_all(exp.Join):
            if (join.args.get("kind") or "").upper() in ("INNER", "OUTER"):
                join.set("kind", None)
        return structure(node)

    def _counts(
        self, scope: str, select: exp.Query, undo: Callable[[exp.Query], None]
    ) -> tuple[str | None, str | None]:
        """Two queries that count the rows of a scope: as it is, and with one change undone."""
        marked = select.copy()
        undo_holder = exp.Subquery(this=marked)
        undo(marked)
        changed = undo_holder.this
        return _count(self.new_tree, scope, None, None), _count(self.new_tree, scope, select, changed)

    def _group_counts(self, scope: str, old: exp.Select, new: exp.Select) -> tuple[str | None, str | None]:
        """As _counts, but of the groups alone: columns that are grouped by no longer could not be selected."""
        counts = []
        for select in (new, old):
            bare = _bare(new)
            bare.set("group", _spelled_out(select.args["group"], select))
            counts.append(_count(self.new_tree, scope, new, bare))
        return counts[0], counts[1]

    def _join_counts(
        self, scope: str, select: exp.Select, join: exp.Join, old: exp.Join | None
    ) -> tuple[str | None, str | None]:
        """As _counts, but of the rows between `from` and `group by`: columns of a join undone are not there."""
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
        return _count(self.new_tree, scope, select, bare), _count(self.new_tree, scope, select, without)


def _scopes(tree: exp.Query) -> Scopes:
    """CTEs by name in lower case, and the select below them."""
    found: Scopes = {}
    for cte in tree.ctes:
        if isinstance(cte.this, exp.Query):
            found[cte.alias.lower()] = cte.this
    found[FINAL] = tree
    return found


def _matched(old: Scopes, new: Scopes) -> list[tuple[str, str]]:
    pairs = [(name, name) for name in old if name in new]
    left = [n for n in old if n not in new]
    right = [n for n in new if n not in old]
    for name in list(left):
        for other in list(right):
            if _sql(old[name]) == _sql(new[other]):
                pairs.append((name, other))
                left.remove(name)
                right.remove(other)
                break
    if len(left) == len(right):
        pairs += list(zip(left, right, strict=True))
    order = {name: i for i, name in enumerate(new)}
    return sorted(pairs, key=lambda pair: order[pair[1]])


def _branches(query: exp.Query) -> list[exp.Query]:
    if isinstance(query, exp.SetOperation):
        return [*_branches(query.left), *_branches(query.right)]
    if isinstance(query, exp.Subquery) and isinstance(query.this, exp.Query):
        return _branches(query.this)
    return [query]


def _operator(branch: exp.Query) -> str:
    """What joins a branch to those before it, e.g. `union all`."""
    parent = branch.parent
    while isinstance(parent, exp.Subquery):
        parent = parent.parent
    if not isinstance(parent, exp.SetOperation):
        return ""
    return f"{parent.key}{'' if parent.args.get('distinct') else ' all'}"


def _operators(branches: list[exp.Query]) -> str:
    return ", ".join(sorted({_operator(b) for b in branches} - {""}))


def _source(branch: exp.Query) -> str:
    from_ = branch.args.get("from_")
    return _short(_relation(from_.this)) if from_ is not None else _sql(branch)[:60]


def _relation(node: exp.Expression) -> str:
    if isinstance(node, exp.Table):
        return ".".join(part.name.lower() for part in node.parts)
    return _sql(node)


def _short(name: str) -> str:
    return name.split(".")[-1] if len(name) < 100 else name[:97] + "..."


def _sources(select: exp.Select) -> dict[str, str]:
    """Alias to table of what a select reads."""
    nodes = [j.this for j in select.args.get("joins") or []]
    if (from_ := select.args.get("from_")) is not None:
        nodes.insert(0, from_.this)
    names: dict[str, str] = {}
    for node in nodes:
        name = _relation(node)
        # the same table twice: the second is told from the first by its number
        number = sum(1 for v in names.values() if v.split("#")[0] == name)
        names[node.alias_or_name.lower()] = f"{name}#{number}" if number else name
    return {alias: name.replace("#", "_again_") for alias, name in names.items()}


def _keyed(select: exp.Select, name_of: Callable[[str], str]) -> dict[tuple[str, int], exp.Join]:
    found: dict[tuple[str, int], exp.Join] = {}
    for join in select.args.get("joins") or []:
        name, number = name_of(_relation(join.this)), 0
        while (name, number) in found:
            number += 1
        found[(name, number)] = join
    return found


def _way(join: exp.Join | None) -> str:
    if join is None:
        return "join"
    words = [join.args.get(key) or "" for key in ("method", "side", "kind")]
    text = " ".join(word.lower() for word in words if word and word.upper() not in ("OUTER", "INNER"))
    if not text and not join.args.get("on") and not join.args.get("using"):
        return "cross join"
    return f"{text or 'inner'} join"


def _condition(join: exp.Join, key: Callable[[exp.Expression], str]) -> str:
    on = join.args.get("on")
    parts = sorted(_operands(c, key) for c in _flat(on)) if on is not None else []
    return " and ".join([*parts, *(key(u) for u in join.args.get("using") or [])])


def _operands(condition: exp.Expression, key: Callable[[exp.Expression], str]) -> str:
    if isinstance(condition, exp.EQ):
        return " = ".join(sorted([key(condition.left), key(condition.right)]))
    return key(condition)


def _flat(node: exp.Expression) -> list[exp.Expression]:
    node = node.unnest()
    return (
        [part for side in (node.left, node.right) for part in _flat(side)]
        if isinstance(node, exp.And)
        else [node]
    )


def _conjuncts(select: exp.Select, clause: str) -> list[exp.Expression]:
    node = select.args.get(clause)
    return [] if node is None else _flat(node.this)


def _bare(select: exp.Select) -> exp.Select:
    """The rows of a select between `from` and `group by`, without columns."""
    bare = select.copy()
    for clause in ("group", "having", "qualify", "distinct", "limit", "offset", "order"):
        bare.set(clause, None)
    bare.set("expressions", [exp.alias_(exp.Literal.number(1), "one")])
    return bare


def _spelled_out(clause: exp.Expression, select: exp.Select) -> exp.Expression:
    """A `group by` with expressions for its ordinals and for the aliases of the select; other clauses as they are."""
    if not isinstance(clause, exp.Group):
        return clause
    outputs, copy = _outputs(select), clause.copy()
    keys: list[exp.Expression] = []
    for key in copy.expressions:
        if isinstance(key, exp.Literal) and key.is_int and int(key.name) <= len(select.expressions):
            key = select.expressions[int(key.name) - 1].unalias().copy()
        elif isinstance(key, exp.Column) and not key.table and key.name.lower() in outputs:
            key = outputs[key.name.lower()].copy()
        keys.append(key)
    if copy.args.get("all"):
        keys += [o.copy() for o in outputs.values() if not o.find(exp.AggFunc)]
        copy.set("all", None)
    copy.set("expressions", sorted(keys, key=_sql))
    return copy


def _multiplies(column: exp.Expression) -> bool:
    """True if one row makes several: `unnest(tags) as tag`."""
    return column.find(exp.Unnest, exp.Explode) is not None


def _outputs(select: exp.Select) -> dict[str, exp.Expression]:
    return {(node.alias_or_name or _sql(node)).lower(): node.unalias() for node in select.expressions}


def _sql_of(part: exp.Expression | list[exp.Expression] | None) -> str:
    if isinstance(part, list):
        return ", ".join(_sql(p) for p in part)
    return _sql(part) if part is not None else ""


def _sql(node: exp.Expression) -> str:
    return node.sql(dialect=DIALECT, comments=False, normalize_functions="lower").strip()


def _change(old: exp.Expression | None, new: exp.Expression | None) -> str:
    texts = [_clip(_sql(node)) if node is not None else "" for node in (old, new)]
    return " → ".join(f"`{text}`" for text in texts if text)


def _clip(text: str) -> str:
    return text if len(text) <= 160 else text[:157] + "..."


def _setter(clause: str, old: exp.Expression | None) -> Callable[[exp.Query], None]:
    def undo(select: exp.Query) -> None:
        select.set(clause, old.copy() if old is not None else None)

    return undo


def _without(clause: str, condition: exp.Expression) -> Callable[[exp.Query], None]:
    def undo(select: exp.Query) -> None:
        node = select.args[clause]
        left = [c for c in _flat(node.this) if c != condition]
        select.set(clause, type(node)(this=exp.and_(*left)) if left else None)

    return undo


def _plus(clause: str, condition: exp.Expression) -> Callable[[exp.Query], None]:
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


def counted(clause: Clause, count: Callable[[str], int]) -> Clause:
    """The clause with its rows, if both queries can be counted."""
    if clause.with_it is None or clause.without is None:
        return clause
    rows = count(clause.without), count(clause.with_it)
    return replace(clause, rows=rows, differ=count(clause.differing) if clause.differing else None)
