"""What rows show about tables: keys, cursors, deleted rows, classes, relationships; traps become questions."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from sluice.discover.contract import DiscoveredColumn, DiscoveredSource, DiscoveredTable
from sluice.discover.inference import infer
from sluice.sql import quoted


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        yield con


def source_of(con: duckdb.DuckDBPyConnection, name: str, **tables: str) -> DiscoveredSource:
    """A database with tables, each the result of a query."""
    found = []
    for table, query in tables.items():
        relation = quoted(f"{name} {table}")
        con.execute(f"create table {relation} as {query}")
        columns = con.execute(f"describe from {relation}").fetchall()
        found.append(
            DiscoveredTable(
                table, [DiscoveredColumn(column, str(kind)) for column, kind, *_ in columns], relation
            )
        )
    return DiscoveredSource(name, {"kind": "database"}, found)


def test_a_key_without_a_constraint(con: duckdb.DuckDBPyConnection) -> None:
    source = source_of(
        con, "shop", orders="select i as order_id, i % 7 as customer_id from range(91000) t(i)"
    )
    infer(con, source)
    (orders,) = source.tables
    assert orders.primary_key
    assert orders.primary_key.value == ("order_id",)
    assert "no constraint; unique and never null in all 91,000 rows" in orders.primary_key.reason
