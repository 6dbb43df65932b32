"""What is asked of raw about a table and its quarantine."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sluice.config.declaration import DatabaseTable, Table
from sluice.engine.raw import RawTables

ORDERS = Table("till", "till", "orders", DatabaseTable(), (), Path("till.yml"), 1)
OTHERS = Table("till", "till", "others", DatabaseTable(), (), Path("till.yml"), 1)


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute("create schema till; create table till.orders (id integer, day date)")
    made.execute("insert into till.orders values (1, '2026-01-02'), (2, '2026-01-01')")
    made.execute("create table till.orders__quarantine (_file varchar, _line bigint)")
    made.execute("insert into till.orders__quarantine values ('a.csv', 3), ('a.csv', 4)")
    return made


def test_columns_are_looked_up_once(con: duckdb.DuckDBPyConnection) -> None:
    raw = RawTables(con)
    assert raw.columns(ORDERS) == {"id": "INTEGER", "day": "DATE"}
    assert raw.columns(OTHERS) == {}
    con.execute("alter table till.orders drop column day")
    assert "day" in raw.columns(ORDERS)
    raw.forget()
    assert raw.columns(ORDERS) == {"id": "INTEGER"}


def test_the_highest_value(con: duckdb.DuckDBPyConnection) -> None:
    raw = RawTables(con)
    assert raw.maximum(ORDERS, "id") == 2
    assert raw.maximum(ORDERS, "id", "day > '2026-01-01'") == 1
    assert raw.maximum(ORDERS, "id", "false") is None
    assert raw.maximum(ORDERS, "nowhere") is None
    assert raw.maximum(OTHERS, "id") is None


def test_what_is_quarantined(con: duckdb.DuckDBPyConnection) -> None:
    raw = RawTables(con)
    assert raw.quarantined_files(ORDERS) == {"a.csv"}
    assert raw.quarantined_files(OTHERS) == set()
    assert raw.is_quarantined(ORDERS, _file="a.csv", _line=3)
    assert not raw.is_quarantined(ORDERS, _file="a.csv", _line=5)
    assert not raw.is_quarantined(OTHERS, _line=3)


def test_of_an_ignored_table_only_the_quarantine_is_seen(con: duckdb.DuckDBPyConnection) -> None:
    raw = RawTables(con, is_ignored=lambda table: table.name == "orders")
    assert raw.columns(ORDERS) == {}
    assert raw.maximum(ORDERS, "id") is None
    assert raw.quarantine_columns(ORDERS) == {"_file": "VARCHAR", "_line": "BIGINT"}
