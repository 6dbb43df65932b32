"""The tills' SQLite file advances in place to exactly what a new one would hold, and adds up to the truth."""

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from sandbox import stores, world

DATES = (dt.date(2026, 1, 31), dt.date(2026, 2, 17), dt.date(2026, 9, 30))


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as till:
        return till.execute(sql).fetchall()


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    tables = query(path, "select name from sqlite_master where type = 'table'")
    return {str(name): query(path, f"select * from {name} order by 1") for (name,) in tables}


@pytest.fixture(scope="module")
def advanced(tmp_path_factory: pytest.TempPathFactory, small_world: duckdb.DuckDBPyConnection) -> Path:
    path = tmp_path_factory.mktemp("stores") / "stores.sqlite"
    previous = None
    for date in DATES:
        written = stores.write(small_world, path, date=date, previous=previous)
        assert written["sales"] > 0
        previous = date
    return path


def test_advanced_tills_equal_new_ones(
    advanced: Path, tmp_path: Path, small_world: duckdb.DuckDBPyConnection
) -> None:
    new = tmp_path / "stores.sqlite"
    stores.write(small_world, new, date=DATES[-1], previous=None)
    held = content(advanced)
    assert set(held) == set(stores.TABLES)
    assert held == content(new)

    # writing it anew over what is there gives the same again
    stores.write(small_world, new, date=DATES[-1], previous=None)
    assert held == content(new)


def test_file_is_changed_in_place(tmp_path: Path, small_world: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "stores.sqlite"
    stores.write(small_world, path, date=DATES[0], previous=None)
    before = path.stat().st_ino
    stores.write(small_world, path, date=DATES[1], previous=DATES[0])
    assert path.stat().st_ino == before
    assert query(path, "select currency, updated_at from stores where store_id = 'SOF1'") == [
        ("EUR", "2026-02-16T03:00:00Z")
    ]


def test_updated_at_rises_whenever_a_row_changes(small_world: duckdb.DuckDBPyConnection) -> None:
    stores.project(small_world, date=dt.date(2025, 1, 31), schema="stores_then")
    stores.project(small_world, date=dt.date(2026, 2, 28), schema="stores_now")
    changed = {}
    for table in ("stores", "members", "sales"):
        steps = small_world.execute(f"""
            select now.updated_at > before.updated_at and now.updated_at >= '2025-02-01'
            from stores_now.{table} as now join stores_then.{table} as before using ({stores.TABLES[table]})
            where now is distinct from before
        """).fetchall()
        assert all(rises for (rises,) in steps), table
        changed[table] = len(steps)
    small_world.execute("drop schema stores_then cascade; drop schema stores_now cascade")
    assert changed["stores"] == 1


def test_till_adds_up_to_the_truth(advanced: Path, small_world: duckdb.DuckDBPyConnection) -> None:
    world.truth(small_world, date=DATES[-1])
    booked = query(
        advanced,
        """
        with lines as (
            select s.*, t.country_code, l.quantity, l.quantity * l.unit_price_cents - l.discount_cents as cents
            from sales s join sale_lines l on l.sale_id = s.sale_id join stores t on t.store_id = s.store_id
        ), booked as (
            select 'sale' as kind, substr(sold_at, 1, 10) as day, country_code, currency, quantity, cents from lines
            union all
            select 'cancellation', substr(voided_at, 1, 10), country_code, currency, -quantity, -cents from lines
            where voided_at is not null
        )
        select kind, day, country_code, currency, count(*), sum(quantity), sum(cents)
        from booked group by 1, 2, 3, 4 order by 1, 2, 3, 4
        """,
    )
    true = small_world.execute("""
        select kind, business_date::text, country_code, currency, count(*), sum(quantity)::bigint,
            (sum(amount) * 100)::bigint
        from truth.order_lines where channel = 'stores' group by all order by all
    """).fetchall()
    assert {row[0] for row in true} == {"sale", "cancellation"}
    assert booked == true


def test_totals_of_receipts_are_the_sums_of_their_lines(advanced: Path) -> None:
    wrong = """
        select s.sale_id from sales s join sale_lines l on l.sale_id = s.sale_id group by s.sale_id
        having s.total_cents <> sum(l.quantity * l.unit_price_cents - l.discount_cents)
    """
    assert query(advanced, wrong) == []
    assert query(
        advanced, "select count(*) from sales where sale_id not in (select sale_id from sale_lines)"
    ) == [(0,)]
