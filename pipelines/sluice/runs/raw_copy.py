"""The run store as tables of raw, schema `sluice`, where dbt reads it as a source."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sluice.runs.store import RunStore
from sluice.sql import literal

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
            con.execute(f"delete from sluice.{table} where run_id in ({', '.join(map(literal, unfinished))})")
        con.execute(f"insert into sluice.{table} {select}")
    con.execute("commit")


def _names(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    found = con.execute(
        "select column_name from duckdb_columns() where database_name = current_database()"
        " and schema_name = 'sluice' and table_name = ? order by column_index",
        [table],
    ).fetchall()
    return [name for (name,) in found]
