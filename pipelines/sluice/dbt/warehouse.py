"""Read-only sight of raw and warehouse under the names the models use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import duckdb

from sluice.config.settings import Settings
from sluice.dbt.manifest import Project
from sluice.engine import engine


@contextmanager
def open_warehouse(settings: Settings, wait: float = 0) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """A connection with `raw` and `warehouse` attached read-only; None where neither file exists.

    Raises LockedError if a process still writes to one of them after `wait` seconds.
    """
    files = {"raw": settings.raw, "warehouse": settings.warehouse}
    there = {name: file for name, file in files.items() if file.is_file()}
    if not there:
        yield None
        return
    with engine().open_read_only(there, settings.home / "tmp", wait) as connection:
        yield connection


def catalog_of(connection: duckdb.DuckDBPyConnection | None, project: Project) -> dict[str, Any]:
    """The columns of every table that exists, in the shape of dbt's catalog.json."""
    if connection is None:
        return {}
    by_name = {_bare(t.relation): t for t in project.tables.values() if t.relation}
    found: dict[str, dict[str, Any]] = {"nodes": {}, "sources": {}}
    rows = connection.execute(
        "select lower(database_name || '.' || schema_name || '.' || table_name), column_name, data_type, column_index"
        " from duckdb_columns() where database_name in ('raw', 'warehouse') order by 1, 4"
    ).fetchall()
    for name, column, sql_type, index in rows:
        if table := by_name.get(name):
            section = found["sources" if table.kind == "source" else "nodes"]
            columns = section.setdefault(table.id, {"columns": {}})["columns"]
            columns[column] = {"name": column, "type": sql_type, "index": index}
    return found


def _bare(relation: str) -> str:
    return relation.replace('"', "").lower()


def newest(connection: duckdb.DuckDBPyConnection, relation: str, column: str) -> str:
    """The highest time in a column, as ISO text in UTC; empty where there is none."""
    try:
        row = connection.execute(f"select max(cast({column} as timestamptz)) from {relation}").fetchone()
    except duckdb.Error:
        return ""
    return row[0].astimezone(UTC).isoformat() if row and row[0] else ""


def count_rows(connection: duckdb.DuckDBPyConnection, relation: str) -> int | None:
    """Rows of a table or view; None if it does not exist or cannot be read."""
    try:
        row = connection.execute(f"select count(*) from {relation}").fetchone()
    except duckdb.Error:
        return None
    return int(row[0]) if row else None
