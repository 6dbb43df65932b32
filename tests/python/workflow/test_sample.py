"""A sample of raw: which rows are taken, and that no reference leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sluice.workflow.raw_relationships import RawColumn, RawRelationship
from sluice.workflow.sample import _Choice

TABLES = """
create schema raw.shop;
create table raw.shop.countries as select 'c' || i as code from range(5) t(i);
create table raw.shop.customers as
    select i as id, 'c' || i % 5 as country, case when i % 7 = 0 then i + 1 end as referred_by,
        date '2026-01-01' + i::integer as updated
    from range(300) t(i);
create table raw.shop.products as select i as sku, date '2026-01-01' as updated from range(200) t(i);
create table raw.shop.orders as
    select i as id, (i % 300)::varchar as customer, date '2026-01-01' + (i % 90)::integer as updated from range(900) t(i);
create table raw.shop.lines as
    select i as id, i % 900 as order_id, case when i % 11 = 0 then 9999 else i * 7 % 200 end as sku from range(2700) t(i);
create table raw.shop.eggs as select i as id, (i + 1) % 30 as hen from range(30) t(i);
create table raw.shop.hens as select i as id, i as egg from range(30) t(i);
create table raw.shop.notes as select i as id from range(5000) t(i);
create table raw.shop._dlt_loads as select 1 as load_id;
create schema raw.sluice;
create table raw.sluice.runs as select i as run_id from range(2000) t(i);
"""
LINKS = [
    ("customers.country", "countries.code"),
    ("customers.referred_by", "customers.id"),
    ("orders.customer", "customers.id"),
    ("lines.order_id", "orders.id"),
    ("lines.sku", "products.sku"),
    ("eggs.hen", "hens.id"),
    ("hens.egg", "eggs.id"),
]


def column(name: str) -> RawColumn:
    table, _, field = name.partition(".")
    return RawColumn("shop", table, field)


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute(f"attach '{tmp_path / 'production.duckdb'}' as raw")
        con.execute(TABLES)
        yield con


def take(con: duckdb.DuckDBPyConnection, file: Path, **options: object) -> dict[str, tuple[int, int]]:
    """The sample, which stays attached as `s`."""
    choice = _Choice(con, [RawRelationship(column(a), column(b)) for a, b in LINKS])
    times = {("shop", "orders"): "updated"} if "days" in options else {}
    choice.choose(options.get("rows"), times, options.get("days", 0))  # type: ignore[arg-type]
    rows = choice.write(file, options.get("rows"), options.get("days"))  # type: ignore[arg-type]
    con.execute(f"attach '{file}' as s")
    return rows


def count(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    return con.execute(f"select count(*) from {sql}").fetchall()[0][0]  # type: ignore[no-any-return]


def lost(con: duckdb.DuckDBPyConnection) -> int:
    """References of the sample that lead nowhere, though production has the row."""
    return sum(
        count(
            con,
            f"s.shop.{a.split('.')[0]} c where not exists (from s.shop.{b.split('.')[0]} p"
            f" where p.{b.split('.')[1]}::varchar = c.{a.split('.')[1]}::varchar)"
            f" and exists (from raw.shop.{b.split('.')[0]} p where p.{b.split('.')[1]}::varchar = c.{a.split('.')[1]}::varchar)",
        )
        for a, b in LINKS
    )


def test_rows_with_all_their_children_and_parents(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rows = take(con, tmp_path / "sample.duckdb", rows=20)
    assert lost(con) == 0
    assert rows["shop.countries"] == (5, 5)
    assert rows["shop.notes"] == (20, 5000)
    assert 20 <= rows["shop.customers"][0] < 300
    assert rows["shop.eggs"] == (30, 30), "they refer to each other in a circle"
    assert "shop._dlt_loads" not in rows
    assert count(con, "s.sluice.runs") == 2000
    started = "(select id from raw.shop.customers order by hash(rowid), rowid limit 20)"
    whole = f"raw.shop.orders where customer::bigint in {started}"
    assert count(con, whole) == count(con, whole.replace("raw.shop.orders", "s.shop.orders")) > 0
    lines = f"raw.shop.lines where order_id in (select id from {whole})"
    assert count(con, lines) == count(con, lines.replace("raw.shop.lines", "s.shop.lines")) > 0
    orphans = "shop.lines where sku = 9999"
    assert count(con, f"s.{orphans}") > 0, "what refers to nothing in production stays as it is"


def test_the_last_days_with_all_their_children_and_parents(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rows = take(con, tmp_path / "sample.duckdb", days=7)
    assert lost(con) == 0
    newest = "raw.shop.orders where updated >= date '2026-01-01' + 89 - interval 7 day"
    assert rows["shop.orders"][0] == count(con, newest)
    assert rows["shop.lines"][0] == count(con, f"raw.shop.lines where order_id in (select id from {newest})")
    assert rows["shop.notes"] == (5000, 5000), "unrelated and without a time: whole"
    assert rows["shop.customers"] == (300, 300), "small and without a time: whole"


def test_the_same_sample_each_time(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    take(con, tmp_path / "one.duckdb", rows=20)
    first = con.execute("select list(id order by id) from s.shop.orders").fetchall()
    con.execute("detach s")
    for (name,) in con.execute("select table_name from duckdb_tables() where temporary").fetchall():
        con.execute(f"drop table temp.{name}")
    take(con, tmp_path / "two.duckdb", rows=20)
    assert con.execute("select list(id order by id) from s.shop.orders").fetchall() == first
