"""Declared data types, as SQL writes them."""

from __future__ import annotations

import re
from functools import cache

import duckdb


@cache
def duckdb_type(data_type: str) -> str:
    """DuckDB's own name of a declared `data_type`, e.g. INTEGER for int; raises ValueError for no SQL type."""
    if not re.fullmatch(r"[A-Za-z0-9_ (),\[\]]+", data_type):
        raise ValueError("is not an SQL type")
    try:
        with _in_memory().cursor() as con:
            row = con.execute(f"describe select cast(null as {data_type}) as c").fetchone()
    except duckdb.Error:
        raise ValueError(
            "is not an SQL type; write e.g. text, bigint, decimal(18,2), double, boolean, date, timestamp, "
            "timestamp with time zone, json"
        ) from None
    assert row is not None
    return str(row[1])


@cache
def _in_memory() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:")
