"""What the staging model of each declared table selects: columns by their plain names, the key, and what rows show."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import duckdb

from sluice.config.column_names import FILE, LINE, OFFSET, PARTITION, SEQUENCE, STREAM, TECHNICAL
from sluice.config.data_types import duckdb_type
from sluice.config.declaration import Column, Source, Table
from sluice.config.yaml_file import Lines, dig, read_yaml
from sluice.discover.contract import DiscoveredTable, distinct_name
from sluice.discover.staged_names import entity, is_identifier, kind, staged, words
from sluice.sql import first_value, quoted

POSITION_COLUMN = "row_position"
"""Numbers the rows of a table without a key."""
GROUPS = ("ids", "strings", "numbers", "booleans", "structures", "dates and times", "place in raw")
"""Headings of columns in a staging model, in order."""
HEADINGS = {
    "number": "numbers",
    "boolean": "booleans",
    "structure": "structures",
    "moment": "dates and times",
}
NAMES_OF_VALUES = ("status", "state", "type", "kind", "category", "channel", "method", "priority", "currency")
"""Last words of columns that hold one of a few values."""
MOST_VALUES = 12
"""Values that a column of a few may have."""
ROWS_PER_VALUE = 20
"""Rows that the source must have for each value, for all values to be known."""


@dataclass(frozen=True)
class StagedColumn:
    """A column of a staging model."""

    name: str
    raw: str
    """Raw's name; empty for the number of a row."""
    sql: str
    data_type: str
    """DuckDB's name; empty if it is not known."""
    group: str
    description: str
    data_class: str | None = None
    values: tuple[str, ...] = ()
    """All of its values, if they are few and certain."""

    @property
    def is_computed(self) -> bool:
        return " " in self.sql and not self.sql.startswith("cast(")

    @property
    def kind(self) -> str:
        return kind(self.data_type)


@dataclass(frozen=True)
class StagedTable:
    """The staging model of one source table."""

    source: str
    table: Table[Any]
    description: str
    """What the source file says of the table."""
    columns: tuple[StagedColumn, ...]
    """In the order in which they are selected."""
    key: tuple[str, ...]
    """Names of columns here."""
    rows: int | None = None
    """Of the source, as far as is known."""
    is_whole: bool = False
    """Whether discovery saw all rows."""

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def model(self) -> str:
        return f"stg_{self.source}__{self.name}"

    @property
    def entity(self) -> str:
        return entity(self.name)

    @property
    def leaves_out_deleted(self) -> bool:
        """Whether raw has rows that are gone at the source."""
        return bool(self.table.load.marks_deleted())

    @property
    def is_numbered(self) -> bool:
        """Whether the table has no key of its own."""
        return self.key == (POSITION_COLUMN,)

    @property
    def cursor(self) -> str | None:
        found = self.of_raw(self.table.raw_name(self.table.load.cursor)) if self.table.load.cursor else None
        return found.name if found else None

    @cached_property
    def _by_raw(self) -> Mapping[str, StagedColumn]:
        return {column.raw: column for column in self.columns if column.raw}

    def of_raw(self, raw: str) -> StagedColumn | None:
        """The column that raw calls so."""
        return self._by_raw.get(raw)

    def of_source(self, names: Sequence[str]) -> tuple[StagedColumn, ...]:
        """The columns that the source calls so; empty unless all are there."""
        found = [self.of_raw(self.table.raw_name(name)) for name in names]
        return tuple(column for column in found if column) if all(found) else ()

    def column(self, name: str) -> StagedColumn:
        return next(column for column in self.columns if column.name == name)

    @property
    def grain(self) -> str:
        """What one row is: "order item"."""
        if self.is_numbered:
            return f"row of {self.source}.{self.name}, which has no key"
        return words(self.entity)


@dataclass
class SeenRows:
    """What the rows that discovery saw say of a column, by raw's name; nothing where it saw none, or a sample."""

    con: duckdb.DuckDBPyConnection | None
    table: DiscoveredTable | None
    names: Mapping[str, str] = field(default_factory=dict)
    """The system's names by raw's."""

    @property
    def are_all(self) -> bool:
        return bool(self.con and self.table and self.table.relation and self.table.is_whole)

    def always(self, raw: str, condition: str) -> bool:
        """Whether the condition on `{}` holds for all rows with a value, of which there are some."""
        if not self.are_all or raw not in self.names or self.table is None:
            return False
        column = quoted(self.names[raw])
        select = (
            f"select bool_and(coalesce({condition.format(column, column)}, false)) from {self.table.relation}"
        )
        try:
            return bool(first_value(self.con, f"{select} where {column} is not null"))
        except duckdb.Error:  # a type that cannot be cast so
            return False

    def few_values(self, raw: str) -> tuple[str, ...]:
        """All values of a column, sorted, if they are few in many rows; else nothing."""
        if not self.are_all or raw not in self.names or self.table is None or self.con is None:
            return ()
        column = quoted(self.names[raw])
        found = self.con.execute(
            f"select cast({column} as varchar) as value, count(*) from {self.table.relation}"
            f" where {column} is not null group by all order by value limit {MOST_VALUES + 1}"
        ).fetchall()
        rows = sum(count for _, count in found)
        if len(found) > MOST_VALUES or rows < ROWS_PER_VALUE * len(found):
            return ()
        return tuple(str(value) for value, _ in found)


def stage_source(
    source: Source[Any, Any],
    found: Mapping[str, DiscoveredTable] | None = None,
    con: duckdb.DuckDBPyConnection | None = None,
) -> list[StagedTable]:
    """The staging models of a source; `found` are its tables as discovery saw them, with rows in `con`."""
    lines = read_yaml(source.file)
    entries = dig(lines.value, "sources") or [] if isinstance(lines, Lines) else []
    entry: Any = next((entry for entry in entries if dig(entry, "name") == source.name), {})
    described = {dig(table, "name"): dig(table, "description") or "" for table in dig(entry, "tables") or []}
    tables = [
        _stage(
            source, table, " ".join(described.get(table.name, "").split()), (found or {}).get(table.name), con
        )
        for table in source.tables
    ]
    return [table for table in tables if table.columns]


def _stage(
    source: Source[Any, Any],
    table: Table[Any],
    description: str,
    found: DiscoveredTable | None,
    con: duckdb.DuckDBPyConnection | None,
) -> StagedTable:
    names = {table.raw_name(column.name): column.name for column in found.columns} if found else {}
    rows = SeenRows(con, found, names)
    key = tuple(map(table.raw_name, table.load.primary_key)) or _position(source)
    types = _types(table, found)
    declared = {table.raw_name(column.name): column for column in table.columns}
    chosen = [raw for raw in declared if table.is_chosen(declared[raw].name, raw)]
    columns = _columns(table, [*dict.fromkeys([*chosen, *key])] if chosen else [], declared, types, rows)
    by_raw = {column.raw: column for column in columns}
    names_of_key = tuple(by_raw[raw].name for raw in key if raw in by_raw)
    columns = [_in_group(column, key) for column in columns]
    if columns and not names_of_key:
        numbered = _free(POSITION_COLUMN, {column.name for column in columns})
        names_of_key = (numbered,)
        text = "Number of the row in raw. It may change with every load."
        columns.append(StagedColumn(numbered, "", "row_number() over ()", "BIGINT", GROUPS[-1], text))
    order = {group: place for place, group in enumerate(GROUPS)}
    columns.sort(key=lambda column: (order[column.group], column.is_computed))
    count, whole = (found.rows, found.is_whole) if found else (None, False)
    return StagedTable(source.name, table, description, tuple(columns), names_of_key, count, whole)


def _position(source: Source[Any, Any]) -> tuple[str, ...]:
    """Raw's columns that say where a row was at its source, for tables without a declared key."""
    if source.kind == "files":
        return (FILE, LINE)
    if source.kind == "stream":
        return (STREAM, SEQUENCE) if source.load.protocol == "nats" else (STREAM, PARTITION, OFFSET)
    return ()


def _types(table: Table[Any], found: DiscoveredTable | None) -> dict[str, str]:
    """DuckDB's names of the types, by raw's names; of the declaration, else of what discovery saw."""
    types = {name: column.data_type for name, column in TECHNICAL.items()}
    if found:
        types |= {table.raw_name(c.name): c.data_type for c in found.columns if c.data_type}
    return {name: duckdb_type(data_type) for name, data_type in (types | table.data_types).items()}


def _columns(
    table: Table[Any],
    raw_names: Sequence[str],
    declared: Mapping[str, Column],
    types: Mapping[str, str],
    rows: SeenRows,
) -> list[StagedColumn]:
    """The columns by plain names, each once; a column that keeps raw's name has it before all others."""
    of = entity(table.name)
    plain = {raw: staged(raw, types.get(raw, ""), of, partial(rows.always, raw)) for raw in raw_names}
    taken: dict[str, str] = {}
    for raw in sorted(raw_names, key=lambda raw: plain[raw].name != raw):
        spare = raw if re.match("[a-z]", raw) and plain[raw].sql == raw else ""
        taken[raw] = _free(plain[raw].name, taken.values(), spare)
    columns = []
    for raw in raw_names:
        entry = declared.get(raw)
        data_class = entry.data_class if entry else None
        is_one_of_few = plain[raw].data_type == "VARCHAR" and raw.rpartition("_")[2] in NAMES_OF_VALUES
        columns.append(
            StagedColumn(
                taken[raw],
                raw,
                plain[raw].sql,
                plain[raw].data_type,
                HEADINGS.get(kind(plain[raw].data_type), "strings"),
                _description(entry, raw),
                data_class,
                rows.few_values(raw) if is_one_of_few and not data_class else (),
            )
        )
    return columns


def _in_group(column: StagedColumn, key: Sequence[str]) -> StagedColumn:
    if column.group in ("strings", "numbers") and (column.raw in key or is_identifier(column.name)):
        return StagedColumn(**{**column.__dict__, "group": "ids"})
    return column


def _free(name: str, taken: Collection[str], spare: str = "") -> str:
    """The name; where it is taken, the spare one if there is one, or the name with a number."""
    is_spared = spare and name in taken and spare not in taken
    return spare if is_spared else distinct_name(name, taken)


def _description(entry: Column | None, raw: str) -> str:
    if raw in TECHNICAL and entry is None:
        return TECHNICAL[raw].description
    said = (entry.model_extra or {}).get("description") if entry else None
    return " ".join(str(said).split()) if said else "Not described at the source."
