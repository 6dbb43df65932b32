"""The lineage of a query: sources of a value, influences on it, and what could not be resolved.

Two relations are kept apart because a reviewer asks two questions. A *value* source (OpenLineage: direct) is a column
whose content ends up in the output ("where does this number come from?"). An *influence* (OpenLineage: indirect)
decides which rows exist or which value is picked without being copied itself ("what else can change it?").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

Path = tuple[str, ...]

ROWS = "*"
"""Pseudo column: the rows of a table as such. `count(*)` depends on it and on no real column.

As the column of a *value* source it stands for "the column of the same name" of a table whose columns are not
known; this occurs only in `QueryLineage.open`.
"""


class How(StrEnum):
    """How a value travels: unchanged, computed row by row, or computed from several rows."""

    IDENTITY = "identity"
    TRANSFORMATION = "transformation"
    AGGREGATION = "aggregation"


class Kind(StrEnum):
    """The clause through which a column influences rows or values."""

    ROWS = "rows"
    FILTER = "filter"
    JOIN = "join"
    GROUP = "group"
    HAVING = "having"
    QUALIFY = "qualify"
    DISTINCT = "distinct"
    WINDOW_PARTITION = "window_partition"
    WINDOW_ORDER = "window_order"
    WINDOW_FRAME = "window_frame"
    ORDER_LIMIT = "order_limit"
    AGGREGATE_ORDER = "aggregate_order"
    SET_OPERATION = "set_operation"
    EXISTS = "exists"
    IN_SUBQUERY = "in_subquery"
    CONDITION = "condition"
    UNNEST = "unnest"
    PIVOT = "pivot"
    TABLE_FUNCTION = "table_function"
    SNAPSHOT = "snapshot"


_HOWS = {how.value: how for how in How}
_KINDS = {kind.value: kind for kind in Kind}
"""Read in a third of the time that a call of the class takes, for each column of a project."""


def field_path(column: str, path: Path) -> str:
    """`page` and ("group",) -> `page.group`; list steps carry no dot: `lines[].sku`."""
    return column + "".join(step if step.startswith("[") else f".{step}" for step in path)


def paths_overlap(a: Path, b: Path) -> bool:
    """True if one field contains the other. `[]`, any element, is taken to match any step.

    Compared in lower case and split at dots, since struct fields ignore case and the parser reads the bare key
    `'a.b'` as two steps. Both can only make two fields overlap that do not.
    """
    return all(x == y or "[]" in (x, y) for x, y in zip(_steps(a), _steps(b), strict=False))


def _steps(path: Path) -> list[str]:
    return ".".join(path).lower().split(".") if path else []


@dataclass(frozen=True, order=True, slots=True)
class ValueSource:
    """A column (or a field inside it) whose content ends up in the output."""

    table: str
    column: str
    path: Path = ()
    how: How = How.IDENTITY


@dataclass(frozen=True, order=True, slots=True)
class Influence:
    """A column (or the rows of a table, column `*`) that decides which rows or values there are."""

    table: str
    column: str
    kind: Kind
    path: Path = ()


@dataclass(frozen=True, order=True, slots=True)
class Unknown:
    """A fragment of SQL whose lineage could not be resolved, and why."""

    reason: str
    sql: str


@dataclass(frozen=True)
class ColumnLineage:
    """One output column. `own` are the influences on this column alone, `rows` those on every column."""

    name: str
    values: frozenset[ValueSource] = frozenset()
    own: frozenset[Influence] = frozenset()
    rows: frozenset[Influence] = frozenset()
    unknown: frozenset[Unknown] = frozenset()
    navigable: bool = False
    """True if a field of this column is the same field of each of its sources (paths may be appended)."""
    unresolved: frozenset[Unknown] = frozenset()
    """Those of `unknown` that may hide where its value comes from; the others concern its rows alone."""

    @cached_property
    def influences(self) -> frozenset[Influence]:
        """Everything that influences this column, its rows included."""
        return self.own | self.rows

    @property
    def value_columns(self) -> frozenset[tuple[str, str]]:
        """The (table, column) pairs its value comes from."""
        return frozenset((v.table, v.column) for v in self.values)

    @property
    def influence_columns(self) -> frozenset[tuple[str, str]]:
        """The (table, column) pairs that influence it; `*` stands for the rows of the table."""
        return frozenset((i.table, i.column) for i in self.influences)

    def to_json(self) -> dict[str, Any]:
        """Shape: {name, values: [[table, column, path, how]], own: [[table, column, kind, path]], unknown, ...}."""
        return {
            "name": self.name,
            "values": sorted([v.table, v.column, list(v.path), v.how.value] for v in self.values),
            "own": _influences_to_json(self.own),
            "unknown": _unknown_to_json(self.unknown),
            "navigable": self.navigable,
            "unresolved": _unknown_to_json(self.unresolved),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], rows: frozenset[Influence]) -> ColumnLineage:
        """The inverse of to_json; the row influences are kept once per query, not per column."""
        return cls(
            name=data["name"],
            values=frozenset(ValueSource(t, c, tuple(p), _HOWS[h]) for t, c, p, h in data["values"]),
            own=_influences_from_json(data["own"]),
            rows=rows,
            unknown=_unknown_from_json(data["unknown"]),
            navigable=data["navigable"],
            unresolved=_unknown_from_json(data["unresolved"]),
        )


@dataclass(frozen=True)
class QueryLineage:
    """The lineage of one query.

    `rows` are the influences on which rows there are; every column repeats them. `open` is set when the query
    has output columns whose names cannot be known from the SQL and the schema (a dynamic pivot, `select *` of
    an unknown table): what is known about any such column. `unknowns` collects all that could not be resolved.
    """

    columns: tuple[ColumnLineage, ...]
    rows: frozenset[Influence] = frozenset()
    open: ColumnLineage | None = None
    unknowns: tuple[Unknown, ...] = field(default=())

    def column(self, name: str) -> ColumnLineage | None:
        """The column of that name (case does not matter), else what is known of unnamed ones, else None."""
        wanted = name.lower()
        for column in self.columns:
            if column.name.lower() == wanted:
                return column
        if self.open is None:
            return None
        values = frozenset(replace(v, column=wanted) if v.column == ROWS else v for v in self.open.values)
        return replace(self.open, name=name, values=values)

    def to_json(self) -> dict[str, Any]:
        """Shape: {columns: [...], rows: [[table, column, kind, path]], open: {...}|null, unknowns: [[reason, sql]]}."""
        return {
            "columns": [column.to_json() for column in self.columns],
            "rows": _influences_to_json(self.rows),
            "open": self.open.to_json() if self.open else None,
            "unknowns": [[u.reason, u.sql] for u in self.unknowns],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> QueryLineage:
        """The inverse of to_json."""
        rows = _influences_from_json(data["rows"])
        return cls(
            columns=tuple(ColumnLineage.from_json(column, rows) for column in data["columns"]),
            rows=rows,
            open=ColumnLineage.from_json(data["open"], rows) if data["open"] else None,
            unknowns=tuple(Unknown(reason, sql) for reason, sql in data["unknowns"]),
        )


def merged(lineages: Sequence[QueryLineage]) -> QueryLineage:
    """The lineage of a table whose rows several queries wrote: their columns meet by name.

    A query of which nothing is known, without columns, is the result: any column may hold its values.
    """
    if len(lineages) == 1:
        return replace(lineages[0], unknowns=tuple(sorted(set(lineages[0].unknowns))))
    for lineage in lineages:
        if not lineage.columns and lineage.open is None:
            return lineage
    names = dict.fromkeys(column.name.lower() for lineage in lineages for column in lineage.columns)
    rows = frozenset[Influence]().union(*(lineage.rows for lineage in lineages))
    openings = [lineage.open for lineage in lineages if lineage.open]
    return QueryLineage(
        tuple(_together([c for line in lineages if (c := line.column(name))], rows) for name in names),
        rows,
        _together(openings, rows) if openings else None,
        tuple(sorted({unknown for lineage in lineages for unknown in lineage.unknowns})),
    )


def _together(columns: Sequence[ColumnLineage], rows: frozenset[Influence]) -> ColumnLineage:
    return ColumnLineage(
        columns[0].name,
        frozenset(value for column in columns for value in column.values),
        frozenset(influence for column in columns for influence in column.own),
        rows,
        frozenset(unknown for column in columns for unknown in column.unknown),
        all(column.navigable for column in columns),
        frozenset(unknown for column in columns for unknown in column.unresolved),
    )


def _influences_to_json(influences: frozenset[Influence]) -> list[list[Any]]:
    return sorted([i.table, i.column, i.kind.value, list(i.path)] for i in influences)


def _influences_from_json(data: list[list[Any]]) -> frozenset[Influence]:
    return frozenset(Influence(t, c, _KINDS[k], tuple(p)) for t, c, k, p in data) if data else frozenset()


def _unknown_to_json(unknown: frozenset[Unknown]) -> list[list[str]]:
    return sorted([u.reason, u.sql] for u in unknown)


def _unknown_from_json(data: list[list[str]]) -> frozenset[Unknown]:
    return frozenset(Unknown(reason, sql) for reason, sql in data) if data else frozenset()
