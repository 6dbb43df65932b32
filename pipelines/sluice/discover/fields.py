"""The columns of a discovered source and the fields nested in them, with what their values are like.

A field's values are text, integers, … whatever the column's type: numbers and times that are kept as text count as what
they are. Values stay in the scratch database; what leaves it are counts, lengths and limits of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import duckdb

from sluice.discover.column_words import is_identifier
from sluice.discover.contract import DiscoveredSource, DiscoveredTable
from sluice.sql import literal, one_row, quoted

Kind = Literal["integer", "decimal", "text", "date", "timestamp", "boolean", "other"]
STRUCTURE_ROWS, NESTED_FIELDS, DEPTH = 2_000, 60, 4
"""Rows whose structure is looked at; and how many fields of a column, how deep, are looked at."""


@dataclass(frozen=True)
class Field:
    """A column, or a field in a column of JSON or structs, with the facts of its values; empty texts are null."""

    source: str
    table: str
    name: str
    """The column; below it a path: session.customer_id, lines[].sku."""
    relation: str
    expression: str
    """SQL over `relation` that gives the values; a list is unnested, so that there are more values than rows."""
    kind: Kind
    rows: int
    values: int
    """Rows that are not null."""
    distinct: int
    column: str
    """The column that holds the field."""
    lowest: int | None = None
    highest: int | None = None
    """Of integers the values, of other texts the lengths."""
    is_whole: bool = True
    is_text: bool = False
    """Whether the column itself is text, whatever its values are."""

    @property
    def is_nested(self) -> bool:
        return self.name != self.column

    @property
    def is_unique(self) -> bool:
        """Never null and never twice, as far as the rows go."""
        return self.rows > 0 and self.distinct == self.values == self.rows

    @property
    def select(self) -> str:
        """A query of the values that are not null, as `v`."""
        return f"select v from (select {self.expression} as v from {self.relation}) where v is not null"


@dataclass(frozen=True)
class TableFields:
    """The fields of a table whose rows can be looked at."""

    table: DiscoveredTable
    relation: str
    rows: int
    fields: tuple[Field, ...]

    @property
    def columns(self) -> tuple[Field, ...]:
        """The fields that are columns."""
        return tuple(field for field in self.fields if not field.is_nested)

    def column(self, name: str | None) -> Field | None:
        """The column of this name."""
        return next((field for field in self.columns if field.name == name), None)


def read_fields(con: duckdb.DuckDBPyConnection, source: DiscoveredSource) -> dict[str, TableFields]:
    """The fields of every table with rows to look at, by the table's name."""
    found = {}
    for table in source.tables:
        if table.relation is None:
            continue
        rows = one_row(con, f"select count(*) from {table.relation}")[0]
        known = {column.name for column in table.columns}
        types = [
            (name, str(kind))
            for name, kind, *_ in con.execute(f"describe from {table.relation}").fetchall()
            if name in known
        ]
        fields = [*_columns(con, source.name, table, types), *_nested(con, source.name, table, types)]
        found[table.name] = TableFields(table, table.relation, rows, tuple(fields))
    return found


def stored_kind(data_type: str) -> Kind:
    """What values of a DuckDB type are."""
    base = data_type.partition("(")[0]
    if data_type.endswith("]") or base in ("STRUCT", "MAP", "JSON", "BLOB", "UNION", "VARIANT"):
        return "other"
    if base.endswith(("INT", "INTEGER")):
        return "integer"
    if base in ("DECIMAL", "DOUBLE", "FLOAT"):
        return "decimal"
    if base.startswith("TIMESTAMP"):
        return "timestamp"
    kinds: dict[str, Kind] = {
        "DATE": "date",
        "BOOLEAN": "boolean",
        "VARCHAR": "text",
        "ENUM": "text",
        "UUID": "text",
    }
    return kinds.get(base, "other")


def _columns(
    con: duckdb.DuckDBPyConnection, source: str, table: DiscoveredTable, types: Sequence[tuple[str, str]]
) -> Iterator[Field]:
    assert table.relation
    wanted = [(name, _value(quoted(name), stored_kind(kind)), stored_kind(kind)) for name, kind in types]
    if not wanted:
        return
    aggregates = [", ".join(_aggregates(value, kind)) for _, value, kind in wanted]
    row = one_row(con, f"select count(*), {', '.join(aggregates)} from {table.relation}")
    for index, (name, value, kind) in enumerate(wanted):
        facts = row[1 + index * 7 : 8 + index * 7]
        yield _field(source, table, (name, value), kind, row[0], facts)


def _value(column: str, kind: Kind) -> str:
    """The value in SQL: without spaces around it, and null where nothing is left of it."""
    return f"nullif(trim({column}::varchar), '')" if kind == "text" else column


def _aggregates(value: str, kind: Kind) -> list[str]:
    """Seven aggregates: values, distinct ones, lowest, highest, and how many are integers, times, dates."""
    if kind == "other":
        return [f"count({value})", "0", "null", "null", "0", "0", "0"]
    both = [f"count({value})", f"count(distinct {value})"]
    if kind == "integer":
        return [*both, f"min({value})::hugeint", f"max({value})::hugeint", f"count({value})", "0", "0"]
    if kind == "decimal":
        whole = f"count(*) filter ({value} = floor({value}) and abs({value}) < 1e15)"
        return [*both, f"min({value})", f"max({value})", whole, "0", "0"]
    if kind != "text":
        return [*both, "null", "null", "0", "0", "0"]
    times = f"count(*) filter (regexp_matches({value}, '^\\d{{4}}-\\d\\d-\\d\\d[T ]\\d\\d:\\d\\d'))"
    dates = f"count(*) filter (regexp_full_match({value}, '\\d{{4}}-\\d\\d-\\d\\d'))"
    whole = f"count(*) filter (regexp_full_match({value}, '\\d{{1,18}}'))"
    return [*both, f"min(length({value}))", f"max(length({value}))", whole, times, dates]


def _field(
    source: str, table: DiscoveredTable, named: tuple[str, str], stored: Kind, rows: int, facts: Sequence[Any]
) -> Field:
    """From `facts`, the result of `_aggregates`."""
    assert table.relation
    values, distinct, lowest, highest, whole, times, dates = facts
    kind = stored
    if stored == "text" and values:
        kind = (
            "integer"
            if whole == values
            else "timestamp"
            if times == values
            else "date"
            if dates == values
            else "text"
        )
    if stored == "decimal":  # identifiers that a spreadsheet made numbers with a decimal point
        kind = "integer" if values and whole == values and is_identifier(named[0]) else "decimal"
    is_number = kind == "integer" and stored != "text" and lowest is not None
    return Field(
        source,
        table.name,
        named[0],
        table.relation,
        f"cast({named[1]} as bigint)" if kind == "integer" and stored == "decimal" else named[1],
        kind,
        rows,
        values,
        distinct,
        named[0],
        int(lowest) if is_number or (stored == "text" and lowest is not None) else None,
        int(highest) if is_number or (stored == "text" and highest is not None) else None,
        table.is_whole,
        stored == "text",
    )


def _nested(
    con: duckdb.DuckDBPyConnection, source: str, table: DiscoveredTable, types: Sequence[tuple[str, str]]
) -> Iterator[Field]:
    """The fields of columns with JSON, structs or lists of them, parsed once into temporary tables."""
    for name, data_type in types:
        is_json = data_type == "JSON"
        if not is_json and not data_type.startswith("STRUCT(") and not data_type.endswith("[]"):
            continue
        column = quoted(name) if is_json else f"to_json({quoted(name)})"
        readable = f"{column} is not null" + (f" and json_valid({column})" if is_json else "")
        sample = f"select {column} as j from {table.relation} where {readable} limit {STRUCTURE_ROWS}"
        structure = one_row(con, f"select json_group_structure(j) from ({sample})")[0]
        paths = list(_paths(json.loads(structure), "$", name, 0))[:NESTED_FIELDS] if structure else []
        single = [(path, shown) for path, shown in paths if "[*]" not in path]
        values = f"case when {readable} then {column} end"
        for number, group in enumerate([single, *([pair] for pair in paths if "[*]" in pair[0])]):
            if group:
                relation = quoted(f"fields of {source}.{table.name}.{name} {number}")
                yield from _parsed(con, (source, table), relation, (name, values), group)


def _parsed(
    con: duckdb.DuckDBPyConnection,
    owner: tuple[str, DiscoveredTable],
    relation: str,
    read: tuple[str, str],
    paths: Sequence[tuple[str, str]],
) -> Iterator[Field]:
    """The fields at JSON paths of a column, in a new table `relation`; `read` is the column and its values in SQL.

    A path that goes through a list, whose items are rows, is alone.
    """
    (source, table), (column, values) = owner, read
    texts = ", ".join(f"nullif(trim(j[{i}]), '') as f{i}" for i in range(1, len(paths) + 1))
    listed = f"[{', '.join(literal(path) for path, _ in paths)}]"
    if "[*]" in paths[0][0]:
        texts, listed = "nullif(trim(unnest(j)), '') as f1", literal(paths[0][0])
    con.execute(
        f"create or replace temp table {relation} as"
        f" select {texts} from (select json_extract_string({values}, {listed}) as j from {table.relation})"
    )
    aggregates = ", ".join(", ".join(_aggregates(f"f{i}", "text")) for i in range(1, len(paths) + 1))
    row = one_row(con, f"select count(*), {aggregates} from {relation}")
    for index, (_, shown) in enumerate(paths):
        facts = row[1 + index * 7 : 8 + index * 7]
        field = _field(source, table, (shown, f"f{index + 1}"), "text", row[0], facts)
        yield replace(field, relation=relation, column=column)


def _paths(structure: Any, path: str, shown: str, depth: int) -> Iterator[tuple[str, str]]:
    """JSON paths of the scalar fields, and how they are called."""
    if depth > DEPTH:
        return
    if isinstance(structure, dict):
        for key, value in structure.items():
            if '"' not in key:
                yield from _paths(value, f'{path}."{key}"', f"{shown}.{key}", depth + 1)
    elif isinstance(structure, list) and structure and "[*]" not in path:
        yield from _paths(structure[0], f"{path}[*]", f"{shown}[]", depth + 1)
    elif isinstance(structure, str) and path != "$" and structure not in ("NULL", "JSON", "BOOLEAN"):
        yield path, shown
