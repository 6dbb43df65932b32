"""How a system differs from its source file: what is new there, gone, or no longer fits what is declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import duckdb

from sluice.config.data_types import duckdb_type
from sluice.config.declaration import Source, Table
from sluice.discover.contract import (
    DiscoveredColumn,
    DiscoveredSource,
    DiscoveredTable,
    Limits,
    distinct_name,
)
from sluice.engine import engine
from sluice.sql import first_value, quoted

What = Literal[
    "new table", "new column", "new key", "new type", "gone table", "gone column", "unreadable table"
]
GONE = "is gone at the source; a load that expects it refuses the table. Take it out of the file, if that is meant"
PLACES = ("table", "path", "sheet", "members", "endpoint", "subject", "topic", "stream")
"""Keys of a table's load block that say where it is."""


@dataclass(frozen=True)
class Difference:
    """One thing that is otherwise than declared."""

    what: What
    place: str
    """`source.table`, `source.table.column`"""
    message: str
    line: int
    """Of the source file: the table's."""
    found: DiscoveredTable | None = None
    declared: Table[Any] | None = None
    column: DiscoveredColumn | None = None
    breaks: bool = False
    """Whether the next load fails, or lacks what it has brought so far."""


def differences(
    source: Source[Any, Any], found: DiscoveredSource, limits: Limits, con: duckdb.DuckDBPyConnection
) -> list[Difference]:
    """What differs, table by table; values are looked at where `found` has rows in `con`."""
    take_declared_names(found, source)
    there = {_place(table.load, table.name, source): table for table in found.tables}
    all_found: list[Difference] = []
    declared: set[str] = set()
    widens = found.keeps_types and source.kind == "database"
    for table in source.declared:
        place = _place(table.load.model_dump(exclude_defaults=True), table.name, source)
        declared.add(place)
        if not is_wanted(table, place, limits):
            continue
        if place in there:
            all_found += in_table(table, there[place], con, widens=widens)
        else:
            all_found.append(_missing(table, place, found.skipped))
    for place, new in there.items():
        if place not in declared:
            rows = "" if new.rows is None else f", {new.rows:,} rows"
            message = f"is new at the source: {len(new.columns)} columns{rows}"
            all_found.append(Difference("new table", f"{source.name}.{new.name}", message, source.line, new))
    return all_found


def take_declared_names(found: DiscoveredSource, source: Source[Any, Any]) -> None:
    """Name tables that are declared as their declaration does, and new ones as no other is named."""
    declared = {_place(t.load.model_dump(exclude_defaults=True), t.name, source): t for t in source.declared}
    taken = {table.name for table in source.declared}
    renamed: dict[str, str] = {}
    for table in found.tables:
        known = declared.get(_place(table.load, table.name, source))
        name = known.name if known else distinct_name(table.name, taken)
        if not known:
            taken.add(name)
        if name != table.name and source.kind == "database":
            renamed[table.name] = name
            table.load.setdefault("table", table.name)
        table.name = name
    for table in found.tables:
        table.foreign_keys = [(own, renamed.get(to, to), there) for own, to, there in table.foreign_keys]
        for column in table.columns:
            if column.references:
                to, there = column.references
                column.references = (renamed.get(to, to), there)


def _place(load: Mapping[str, Any], name: str, source: Source[Any, Any]) -> str:
    """Where a table is at its source."""
    if source.kind == "database":
        return str(load.get("table") or name).removeprefix("public.").removeprefix("main.")
    endpoint = load.get("endpoint")
    places = {**load, "endpoint": endpoint.get("path") if isinstance(endpoint, dict) else endpoint}
    return "|".join(str(places[key]) for key in PLACES if places.get(key)) or name


def is_wanted(table: Table[Any], place: str, limits: Limits) -> bool:
    """Whether a declared table, by its name or place at the source, is among those to look at."""
    schema, _, name = place.rpartition(".")
    if limits.schemas and (schema or "public") not in limits.schemas:
        return False
    names = (table.name, name.lower(), place.lower())
    return not limits.tables or any(fnmatchcase(n, p.lower()) for n in names for p in limits.tables)


def _missing(table: Table[Any], place: str, skipped: Mapping[str, str]) -> Difference:
    reason = next((skipped[key] for key in (place, f"public.{place}", table.name) if key in skipped), None)
    if reason:
        return Difference(
            "unreadable table", table.qualified, f"cannot be loaded: {reason}", table.line, breaks=True
        )
    message = (
        "is gone at the source; raw keeps its rows. Take it out of the file, or let the source bring it back"
    )
    return Difference("gone table", table.qualified, message, table.line, declared=table, breaks=True)


def in_table(
    table: Table[Any], found: DiscoveredTable, con: duckdb.DuckDBPyConnection, *, widens: bool
) -> Iterator[Difference]:
    """What differs in a declared table; `widens`: also types that only may become too narrow."""
    there = {table.raw_name(column.name): column for column in found.columns}
    named = [*table.load.primary_key, *filter(None, [table.load.cursor, table.load.soft_delete])]
    known = {table.raw_name(column.name): column for column in table.columns}
    for name in dict.fromkeys([*known, *map(table.raw_name, named)]):
        if name not in there and not name.startswith("_"):
            yield Difference("gone column", f"{table.qualified}.{name}", GONE, table.line, breaks=True)
    for name, column in there.items():
        if column.data_type is None or not table.is_chosen(column.name, name):
            continue
        if name in known:
            if wanted := known[name].data_type:
                yield from (
                    d for d in _of_type(table, found, column, name, wanted, con) if d.breaks or widens
                )
        elif known and column.is_partial:
            message = "is new in some of the files. Loads add it to raw; declared, it would be required in all files"
            yield Difference("new column", f"{table.qualified}.{name}", message, table.line)
        elif known:
            message = f"is new at the source: {column.data_type}"
            yield Difference(
                "new column", f"{table.qualified}.{name}", message, table.line, found, table, column
            )
    key = found.unique[0] if found.has_primary_key and not table.load.primary_key else ()
    if key and (not known or all(table.raw_name(name) in known for name in key)):
        message = f"has a primary key at the source that is not declared: {', '.join(key)}"
        yield Difference("new key", table.qualified, message, table.line, found, table)


def _of_type(
    table: Table[Any],
    found: DiscoveredTable,
    column: DiscoveredColumn,
    name: str,
    wanted: str,
    con: duckdb.DuckDBPyConnection,
) -> Iterator[Difference]:
    """A type that has changed: values that do not fit the declared one, or a wider number."""
    own, declared = (engine().declared_type(kind).name for kind in (str(column.data_type), wanted))
    if own == declared:
        return
    place = f"{table.qualified}.{name}"
    cast = engine().cast(quoted(column.name), own, declared)
    if cast.keeps is None or declared in ("VARCHAR", "JSON"):
        return
    if found.relation:
        bad = f"select count(*) from {found.relation} where {quoted(column.name)} is not null"
        misfits = int(first_value(con, f"{bad} and not coalesce({cast.keeps}, false)"))
        if misfits:
            message = (
                f"is {column.data_type} at the source, and values do not fit the declared {wanted} ({misfits:,} "
                "of those looked at): a load would refuse them. With another data_type, load once with --full-refresh"
            )
            yield Difference("new type", place, message, table.line, found, table, column, breaks=True)
            return
    if own != "VARCHAR" and _is_number(own) == _is_number(declared):
        message = (
            f"is {column.data_type} at the source and declared as {wanted}, which may become too narrow. With another "
            "data_type, load once with --full-refresh"
        )
        yield Difference("new type", place, message, table.line, found, table, column)


def _is_number(kind: str) -> bool:
    return kind in ("DOUBLE", "TINYINT", "SMALLINT", "INTEGER", "BIGINT") or kind.startswith("DECIMAL")


def conflicts(source: Source[Any, Any], found: DiscoveredSource) -> Sequence[str]:
    """Tables, as `found` names them at the source, whose values decide whether they still fit what is declared."""
    places = {_place(t.load.model_dump(exclude_defaults=True), t.name, source): t for t in source.declared}
    wanted = []
    for found_table in found.tables:
        table = places.get(_place(found_table.load, found_table.name, source))
        types = table.data_types if table else {}
        for column in found_table.columns:
            declared = types.get(table.raw_name(column.name)) if table else None
            if declared and column.data_type and duckdb_type(declared) != duckdb_type(column.data_type):
                wanted.append(str(found_table.load.get("table", found_table.name)))
                break
    return wanted
