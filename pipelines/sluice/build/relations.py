"""What is in the warehouse that dbt has open: rows of tables, SQL of views, columns."""

from __future__ import annotations

import re
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager

from sluice.dbt.build_state import digest
from sluice.dbt.manifest import bare
from sluice.sql import literal, quoted

EQUAL_BUT_DIFFERENT = re.compile(r"INTERVAL|TIME WITH TIME ZONE|VARIANT|(DOUBLE|FLOAT).")
"""Types with values that DuckDB takes for equal and that read differently (30 days and a month), and nested ones."""


def look(relation: str, is_view: bool) -> str:
    """The SQL of a view, or the fingerprint of columns and rows, in any order; empty where there is none."""
    if is_view:
        return _value(f"select sql from duckdb_views() where {_is('view_name', relation)}")
    with cursor() as con:
        columns = con.execute(
            "select column_name, data_type from duckdb_columns()"
            f" where {_is('table_name', relation)} order by column_index"
        ).fetchall()
    if not columns:
        return ""
    values = ", ".join(value for name, kind in columns for value in _compared(quoted(name), kind))
    rows = _value(
        f"select count(*) || ' ' || coalesce(sum(hash({values})::hugeint), 0)::varchar from {relation}"
    )
    return f"{rows} {digest(columns)}"


def types(relation: str) -> str:
    """The columns of a relation with their types, as text."""
    columns = "string_agg(column_name || ' ' || data_type, ', ' order by column_index)"
    return _value(f"select {columns} from duckdb_columns() where {_is('table_name', relation)}")


def read_from(relation: str, source: str) -> None:
    """Make a relation a view that reads `source`, in place of the table or view that has its name."""
    with cursor() as con:
        con.execute("begin")
        drop(con, relation)
        con.execute(f"create view {relation} as select * from {source}")
        con.execute("commit")


def drop(con: duckdb.DuckDBPyConnection, relation: str) -> None:
    """Drop the table or view that has this name, if there is one."""
    for kind in ("table", "view"):
        if con.execute(f"select 1 from duckdb_{kind}s() where {_is(f'{kind}_name', relation)}").fetchone():
            con.execute(f"drop {kind} {relation}")


def cursor() -> Any:
    """A connection of its own: what dbt's have not committed is not looked at."""
    return DuckDBConnectionManager.env().conn.cursor()  # type: ignore[attr-defined]


def _value(sql: str) -> str:
    with cursor() as con:
        row = con.execute(sql).fetchone()
    return str(row[0]) if row and row[0] is not None else ""


def _is(name: str, relation: str) -> str:
    """The condition by which DuckDB's catalog has a relation; `name`: the column with its name."""
    return f"lower(concat_ws('.', database_name, schema_name, {name})) = {literal(bare(relation))}"


def _compared(name: str, kind: str) -> list[str]:
    """What tells a column's values apart."""
    if kind in ("DOUBLE", "FLOAT"):
        return [name, f"signbit({name})"]
    return [f"cast({name} as varchar)"] if EQUAL_BUT_DIFFERENT.search(kind) else [name]
