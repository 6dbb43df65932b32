"""The project's loaded sources as discovery sees a source: what raw holds of them and what their files say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb

from sluice.config.declaration import Source, Table
from sluice.config.settings import Settings
from sluice.config.sources import read_sources
from sluice.discover.contract import DiscoveredColumn, DiscoveredSource, DiscoveredTable, Proposal
from sluice.engine.duckdb import attach
from sluice.sql import one_row, quoted

DATABASE = "loaded raw"
"""What raw is called in the scratch database."""
MOST_ROWS, SAMPLE = 2_000_000, 200_000
"""Tables with more rows are sampled, and how many rows are taken."""


def sources_in_raw(settings: Settings, con: duckdb.DuckDBPyConnection) -> list[DiscoveredSource]:
    """The project's loaded sources; raw is attached to `con`. Sources with mistakes in their files are left out.

    Raises LockedError while a load writes raw, and DamagedError.
    """
    if not settings.raw.is_file():
        return []
    attach(con, settings.raw, DATABASE, settings.lock_seconds)
    return read_raw_sources(con, read_sources(settings.sources)[0])


def read_raw_sources(
    con: duckdb.DuckDBPyConnection, sources: Iterable[Source[Any, Any]], database: str = DATABASE
) -> list[DiscoveredSource]:
    """Describe the declared sources whose tables are in `database`, which is attached to `con`.

    Tables that are not loaded yet, and sources without a loaded table, are left out; loading's own columns are, too.
    """
    found = []
    for source in sources:
        tables = [t for table in source.tables if (t := _table(con, database, table))]
        if tables:
            found.append(DiscoveredSource(source.name, {"kind": source.kind}, tables))
    return found


def _table(con: duckdb.DuckDBPyConnection, database: str, table: Table[Any]) -> DiscoveredTable | None:
    columns = con.execute(
        "select column_name, data_type from duckdb_columns() where database_name = ? and schema_name = ?"
        " and table_name = ? and not starts_with(column_name, '_') order by column_index",
        [database, table.schema, table.name],
    ).fetchall()
    if not columns:
        return None
    relation = f"{quoted(database)}.{quoted(table.schema)}.{quoted(table.name)}"
    rows = one_row(con, f"select count(*) from {relation}")[0]
    is_whole = rows <= MOST_ROWS
    if not is_whole:
        sample = quoted(f"sample of {table.qualified}")
        con.execute(
            f"create or replace temp table {sample} as from {relation}"
            f" using sample reservoir({SAMPLE} rows) repeatable (1)"
        )
        relation = sample
    classes = {table.raw_name(c.name): c.data_class for c in table.columns if c.data_class}
    key = tuple(map(table.raw_name, table.load.primary_key))
    declared = f"declared in {table.file.name}"
    return DiscoveredTable(
        table.name,
        [
            DiscoveredColumn(
                name,
                str(data_type).lower(),
                data_class=Proposal(classes[name], declared) if name in classes else None,
            )
            for name, data_type in columns
        ],
        relation,
        is_whole=is_whole,
        rows=rows,
        unique=[key] if key else [],
        has_primary_key=bool(key),
        primary_key=Proposal(key, declared) if key else None,
    )
