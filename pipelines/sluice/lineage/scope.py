"""Names: what a relation offers, what a scope sees, and to which columns a reference leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from sluice.lineage.functions import element_type, struct_fields
from sluice.lineage.query_lineage import ROWS, How, Influence, Kind, Unknown, ValueSource

MAX_PATH = 8
"""A recursive CTE may step into a document without end; paths stop growing here, which only widens the answer."""


@dataclass(frozen=True, slots=True)
class Dep:
    """What an expression depends on.

    `navigable`: a field of the expression is the same field of each of its sources.
    `fields`: the parts of a struct built in the query, so that `{'a': x, 'b': y}.a` leads to x alone.
    """

    values: frozenset[ValueSource] = frozenset()
    influences: frozenset[Influence] = frozenset()
    unknown: frozenset[Unknown] = frozenset()
    navigable: bool = False
    type: exp.DataType | None = field(default=None, compare=False)
    fields: tuple[tuple[str, Dep], ...] | None = None

    def computed(self, how: How = How.TRANSFORMATION) -> Dep:
        """The same sources, computed instead of unchanged."""
        order = list(How)
        values = frozenset(
            v if order.index(v.how) >= order.index(how) else replace(v, how=how) for v in self.values
        )
        return Dep(values, self.influences, self.unknown)

    def as_influence(self, kind: Kind) -> Dep:
        """The same sources, not as a value but as an influence of that kind."""
        turned = frozenset(Influence(v.table, v.column, kind, v.path) for v in self.values)
        return Dep(frozenset(), turned | self.influences, self.unknown)

    def step(self, name: str) -> Dep:
        """The field `name` of a struct or JSON value ("[]" for the elements of a list)."""
        kind = self._step_type(name)
        for part, dep in self.fields or ():
            if part.lower() == name.lower():
                return replace(dep, influences=dep.influences | self.influences)
        if self.fields is not None or not self.navigable:
            return replace(self.computed(), type=kind)
        values = frozenset(
            replace(v, path=(*v.path, name)) if len(v.path) < MAX_PATH else v for v in self.values
        )
        return replace(self, values=values, type=kind, fields=None)

    def _step_type(self, name: str) -> exp.DataType | None:
        if name.startswith("["):
            return element_type(self.type)
        for part, kind in struct_fields(self.type) or ():
            if part.lower() == name.lower():
                return kind
        return None

    def with_names(self, kind: exp.DataType | None) -> Dep:
        """A struct cast to a type: the fields of `row(a, row(b))` get their names from it, at any depth."""
        names = struct_fields(kind)
        if self.fields is None or not names:
            return self
        is_row = not any(name for name, _ in self.fields)
        fields = (
            zip((n for n, _ in names), (d for _, d in self.fields), strict=False) if is_row else self.fields
        )
        kinds = {name.lower(): part for name, part in names}
        return replace(self, fields=tuple((n, dep.with_names(kinds.get(n.lower()))) for n, dep in fields))

    def named(self, column: str) -> Dep:
        """For the column of an unknown table: the placeholder `*` becomes the column's name."""
        if all(v.column != ROWS for v in self.values):
            return self
        values = frozenset(replace(v, column=column) if v.column == ROWS else v for v in self.values)
        return replace(self, values=values)


EMPTY = Dep()


def union(deps: Iterable[Dep]) -> Dep:
    """Everything any of them depends on."""
    values: set[ValueSource] = set()
    influences: set[Influence] = set()
    unknown: set[Unknown] = set()
    for dep in deps:
        values |= dep.values
        influences |= dep.influences
        unknown |= dep.unknown
    return Dep(frozenset(values), frozenset(influences), frozenset(unknown))


def alternatives(deps: Iterable[Dep]) -> Dep:
    """One of them is taken as it is: fields lead to the fields of each (constants do not matter)."""
    parts = list(deps)
    sourced = [part for part in parts if part.values]
    kinds = [part.type for part in sourced if part.type is not None]
    return replace(
        union(parts),
        navigable=bool(sourced) and all(part.navigable and part.fields is None for part in sourced),
        type=kinds[0] if kinds else None,
    )


def unknown_dep(reason: str, node: exp.Expression | str) -> Dep:
    """A dependency that could not be resolved, and why."""
    return Dep(unknown=frozenset({unknown(reason, node)}))


def unknown(reason: str, node: exp.Expression | str) -> Unknown:
    """An Unknown with the SQL of the node, shortened."""
    text = node if isinstance(node, str) else node.sql(dialect="duckdb", comments=False)
    return Unknown(reason, text if len(text) <= 200 else text[:199] + "…")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a relation. `auto`: the engine made up its name, so a reference may spell it differently."""

    name: str
    dep: Dep
    auto: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """What a table or query yields.

    `rows`: what decides which rows there are. `order`: what the order of the rows follows, latent until something
    depends on the order. `open`: what a column not listed depends on; None if all columns are listed.
    """

    columns: tuple[Column, ...] = ()
    rows: Dep = EMPTY
    order: Dep = EMPTY
    open: Dep | None = None

    def get(self, name: str) -> Dep | None:
        """The listed column of that name."""
        wanted = name.lower()
        for column in self.columns:
            if column.name.lower() == wanted:
                return column.dep
        return None

    def as_value(self) -> Dep:
        """The relation used as a scalar or list: its values, with its rows as influences."""
        dep = union([self.every_column(), self.rows])
        if len(self.columns) == 1 and self.open is None:
            only = self.columns[0].dep
            return replace(dep, navigable=only.navigable, type=only.type, fields=only.fields)
        return dep

    def every_column(self) -> Dep:
        """All columns together, listed or not."""
        return union([*(column.dep for column in self.columns), *([self.open] if self.open else [])])

    def influenced(self, *deps: Dep) -> Relation:
        """The same relation whose rows depend on more."""
        return replace(self, rows=union([self.rows, *deps]))


def relabel(dep: Dep, kind: Kind) -> Dep:
    """The same influences under another kind."""
    return replace(dep, influences=frozenset(replace(i, kind=kind) for i in dep.influences))


def rename_duplicates(relation: Relation) -> Relation:
    """Within a subquery DuckDB calls the second column `a` `a_1`."""
    seen: dict[str, int] = {}
    columns = []
    for column in relation.columns:
        key = column.name.lower()
        count = seen.get(key, 0)
        seen[key] = count + 1
        columns.append(replace(column, name=f"{column.name}_{count}") if count else column)
    return replace(relation, columns=tuple(columns))


def rename_columns(relation: Relation, names: list[str], node: exp.Expression) -> Relation:
    """`as t(a, b)`: the first columns get new names, the rest keep theirs.

    Of a table whose columns are not all known, nobody knows which ones are the first.
    """
    if relation.open is not None and names:
        lost = unknown_dep("which columns get these names is not known", node)
        dep = union([relation.every_column(), lost])
        return replace(relation, columns=tuple(Column(name, dep) for name in names), open=dep)
    columns = [
        replace(column, name=names[i], auto=False) if i < len(names) else column
        for i, column in enumerate(relation.columns)
    ]
    return replace(relation, columns=tuple(columns))


@dataclass(frozen=True, slots=True)
class Item:
    """One table of a FROM clause. `qualifier`: the parts a reference may put before a column, lower case."""

    qualifier: tuple[str, ...]
    relation: Relation
    hidden: frozenset[str] = frozenset()
    """Columns that `*` leaves out because USING merged them into another table's."""

    def answers_to(self, parts: tuple[str, ...]) -> bool:
        """True if `parts` name this table: `contacts`, or `crm.contacts` for raw.crm.contacts."""
        return bool(parts) and self.qualifier[-len(parts) :] == parts


@dataclass(slots=True)
class Scope:
    """What the expressions of a select, or a table of its FROM, see. A subquery's parent is the scope around it."""

    parent: Scope | None = None
    items: list[Item] = field(default_factory=list)
    merged: dict[str, Dep] = field(default_factory=dict)
    """Columns merged by USING: which side's value the bare name means."""
    ctes: dict[str, Relation] = field(default_factory=dict)
    windows: dict[str, exp.Window] = field(default_factory=dict)
    aliases: dict[str, Callable[[], Dep]] = field(default_factory=dict)
    aliases_first: bool = False
    """ORDER BY looks at the output's names first, all other clauses at the columns of FROM."""
    parameters: Mapping[str, Dep] = field(default_factory=dict)
    rows: Dep = EMPTY
    order: Dep = EMPTY

    def child(self) -> Scope:
        """The scope of a subquery."""
        return Scope(parent=self)

    def with_parameters(self, parameters: Mapping[str, Dep]) -> Scope:
        """The same scope inside a lambda, list comprehension or macro."""
        return replace(self, parameters={**self.parameters, **parameters})

    def cte(self, name: str) -> Relation | None:
        """The common table expression of that name, innermost first."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.ctes:
                return scope.ctes[name]
            scope = scope.parent
        return None

    def resolve(self, parts: tuple[str, ...], node: exp.Expression) -> Dep:
        """The column that `a`, `t.a`, `schema.t.a` or `a.field.field` means."""
        scope: Scope | None = self
        guesses: list[Dep] = []
        while scope is not None:
            found, sure = scope._lookup(parts)
            if found is not None and sure and not guesses:
                return found
            if found is not None:
                guesses.append(found)
                if sure:
                    break
            scope = scope.parent
        if len(guesses) == 1 and not self._ambiguous(parts):
            return guesses[0]
        if guesses:
            return union([*guesses, unknown_dep("more than one column may be meant", node)])
        made_up = self._made_up(parts)
        return made_up or unknown_dep("no such column", node)

    def _lookup(self, parts: tuple[str, ...]) -> tuple[Dep | None, bool]:
        """The meaning in this scope alone; the flag is False if an unknown table may or may not have the column."""
        first = parts[0].lower()
        if first in self.parameters:
            return walk(self.parameters[first], parts[1:]), True
        alias = self.aliases.get(first)
        if self.aliases_first and alias is not None and len(parts) == 1:
            return alias(), True
        qualified = self._qualified(parts)
        if qualified is not None:
            return qualified, True
        column = self._column(first)
        if column is not None:
            return walk(column, parts[1:]), True
        openings = [item.relation.open for item in self.items if item.relation.open is not None]
        if alias is not None:
            dep = walk(alias(), parts[1:])
            return (union([dep, *(o.named(first) for o in openings)]), False) if openings else (dep, True)
        row = self._whole_row(parts)
        if row is not None:
            return (union([row, *(o.named(first) for o in openings)]), False) if openings else (row, True)
        if first == "rowid" and self.items:
            return replace(self.items[0].relation.rows, values=frozenset()), True
        if openings:
            return alternatives(walk(o.named(parts[0]), parts[1:]) for o in openings), False
        return None, False

    def _qualified(self, parts: tuple[str, ...]) -> Dep | None:
        for length in range(len(parts) - 1, 0, -1):
            prefix = tuple(part.lower() for part in parts[:length])
            for item in self.items:
                if not item.answers_to(prefix):
                    continue
                dep = item.relation.get(parts[length])
                if dep is None and item.relation.open is not None:
                    dep = item.relation.open.named(parts[length])
                if dep is None and parts[length].lower() == "rowid":
                    dep = replace(item.relation.rows, values=frozenset())
                if dep is not None:
                    return walk(dep, parts[length + 1 :])
        return None

    def _column(self, name: str) -> Dep | None:
        if name in self.merged:
            return self.merged[name]
        found = [dep for item in self.items if (dep := item.relation.get(name)) is not None]
        if not found:
            return None
        # DuckDB refuses an ambiguous name, so more than one candidate means that the schema given is not the real.
        return found[0] if len(found) == 1 else replace(alternatives(found), navigable=False)

    def _whole_row(self, parts: tuple[str, ...]) -> Dep | None:
        """`select t from t`: the row as a struct."""
        for item in self.items:
            if item.answers_to((parts[0].lower(),)):
                columns = item.relation.columns
                if len(parts) > 1 and item.relation.get(parts[1]) is None:
                    continue
                row = replace(item.relation.every_column(), fields=tuple((c.name, c.dep) for c in columns))
                return walk(row, parts[1:])
        return None

    def _made_up(self, parts: tuple[str, ...]) -> Dep | None:
        """A name that matches nothing may be a made-up one, `"sum(amount)"`, spelled as the engine does."""
        made_up = [column.dep for item in self.items for column in item.relation.columns if column.auto]
        return union(made_up) if made_up and len(parts) <= 2 else None

    def _ambiguous(self, parts: tuple[str, ...]) -> bool:
        """True if the name was guessed although several unknown tables, or an alias and one, may have it."""
        if len(parts) > 1 and self._qualified(parts) is not None:
            return False
        candidates = sum(item.relation.open is not None for item in self.items)
        return candidates + (parts[0].lower() in self.aliases) > 1


def walk(dep: Dep, path: Iterable[str]) -> Dep:
    """The nested field of a value."""
    for name in path:
        dep = dep.step(name)
    return dep
