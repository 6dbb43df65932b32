"""The run store as tables of raw, schema `sluice`, where dbt reads it as a source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sluice.runs.store import RunStore
from sluice.sql import listed, literal

SCHEMA = "sluice"
TABLES = ("runs", "loads")


def copy_to_raw(con: duckdb.DuckDBPyConnection, store: RunStore, folder: Path) -> None:
    """Copy the runs that raw lacks, and those that had not ended when they were copied; times get their type.

    Neither through DuckDB's own reader of SQLite nor as Arrow tables: loading what these need takes longer than a
    load without news. `folder` is for scratch.
    """
    con.execute("begin")
    con.execute("create schema if not exists sluice")
    columns = {table: store.columns(table) for table in TABLES}
    if all(_names(con, table) == list(columns[table]) for table in TABLES):
        newest, unfinished = con.execute(
            "select coalesce(max(run_id), ''), coalesce(list(run_id) filter (status = 'running'), []) from sluice.runs"
        ).fetchone() or ("", [])
        if newest and not store.has_run(newest):  # the store was damaged or lost, and begun anew
            _restore(con, store, columns)
    else:  # raw is new, or its copy was made by an earlier version
        newest, unfinished = "", []
        for table in TABLES:
            con.execute(f"drop table if exists sluice.{table}")
    for table in TABLES:
        kinds = {
            name: pa.int64() if kind == "integer" else pa.string() for name, kind in columns[table].items()
        }
        fresh = pa.Table.from_pylist(
            store.since(table, newest, unfinished), schema=pa.schema(list(kinds.items()))
        )
        file = folder / f"run_store.{table}.parquet"
        pq.write_table(fresh, file)
        times = ", ".join(f"{name}::timestamptz as {name}" for name in ("started_at", "ended_at"))
        select = f"select * replace ({times}) from read_parquet({literal(str(file))})"
        con.execute(f"create table if not exists sluice.{table} as {select} limit 0")
        if unfinished:
            con.execute(f"delete from sluice.{table} where run_id in ({listed(unfinished)})")
        con.execute(f"insert into sluice.{table} {select}")
    con.execute("commit")


def _restore(
    con: duckdb.DuckDBPyConnection, store: RunStore, columns: Mapping[str, Mapping[str, str]]
) -> None:
    """Give the store the runs and loads that only raw has."""
    for table in TABLES:
        times = ", ".join(
            f"strftime({name} at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%f+00:00') as {name}"
            for name in ("started_at", "ended_at")
        )
        rows = con.execute(f"select * replace ({times}) from sluice.{table}").fetchall()
        store.restore(table, [dict(zip(columns[table], row, strict=True)) for row in rows])


def _names(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    found = con.execute(
        "select column_name from duckdb_columns() where database_name = current_database()"
        " and schema_name = 'sluice' and table_name = ? order by column_index",
        [table],
    ).fetchall()
    return [name for (name,) in found]
