"""The shop's database advances to exactly what a new one would hold, and adds up to the truth."""

import datetime as dt
from collections.abc import Iterator

import duckdb
import pytest

from sandbox import shop, world

FIRST = dt.date(2026, 9, 1)
DATES = (FIRST, dt.date(2026, 9, 8), dt.date(2026, 9, 30))


@pytest.fixture(scope="module")
def reader(postgres_url: str, small_world: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own with the shop's server attached as `pg`, in which `test_shop_*` databases are made."""
    import duckdb_extensions

    with duckdb.connect() as con:
        duckdb_extensions.import_extension("postgres_scanner", con=con)
        con.execute("load postgres_scanner")
        con.execute("set timezone = 'UTC'")
        con.execute(f"attach '{postgres_url}' as pg (type postgres)")
        yield con


def database(reader: duckdb.DuckDBPyConnection, postgres_url: str, name: str) -> str:
    """Make an empty database beside the one of `postgres_url`; its URL."""
    reader.execute(f"call postgres_execute('pg', 'create database {name}', use_transaction => false)")
    return f"{postgres_url.rsplit('/', 1)[0]}/{name}"


def content(reader: duckdb.DuckDBPyConnection, url: str) -> dict[str, list[tuple[object, ...]]]:
    reader.execute(f"attach '{url}' as held (type postgres, read_only)")
    try:
        tables = reader.execute(
            "from postgres_query('held', $$select tablename from pg_tables where schemaname = 'public'$$)"
        ).fetchall()
        return {name: reader.execute(f"from held.public.{name} order by 1").fetchall() for (name,) in tables}
    finally:
        reader.execute("detach held")


@pytest.fixture(scope="module")
def advanced(
    reader: duckdb.DuckDBPyConnection, postgres_url: str, small_world: duckdb.DuckDBPyConnection
) -> tuple[str, dict[dt.date, dict[str, list[tuple[object, ...]]]], dict[str, int]]:
    """A database brought over all of DATES: its URL, what it held at each date, what the last step wrote."""
    url = database(reader, postgres_url, "test_shop_advanced")
    held, written, previous = {}, {}, None
    for date in DATES:
        written = shop.write(small_world, url, date=date, previous=previous)
        held[date] = content(reader, url)
        previous = date
    return url, held, written


def test_advanced_shop_equals_a_new_one(
    advanced: tuple[str, dict[dt.date, dict[str, list[tuple[object, ...]]]], dict[str, int]],
    reader: duckdb.DuckDBPyConnection,
    postgres_url: str,
    small_world: duckdb.DuckDBPyConnection,
) -> None:
    new = database(reader, postgres_url, "test_shop_new")
    shop.write(small_world, new, date=DATES[-1], previous=None)
    _, held, written = advanced
    assert set(held[DATES[-1]]) == set(shop.TABLES), "no table of the writer's own stays behind"
    assert held[DATES[-1]] == content(reader, new)
    assert written["orders"] > 0


def test_a_second_step_to_the_same_date_changes_nothing(
    advanced: tuple[str, dict[dt.date, dict[str, list[tuple[object, ...]]]], dict[str, int]],
    reader: duckdb.DuckDBPyConnection,
    small_world: duckdb.DuckDBPyConnection,
) -> None:
    url, held, written = advanced
    assert shop.write(small_world, url, date=DATES[-1], previous=DATES[-2]) == written
    assert content(reader, url) == held[DATES[-1]]


def test_updated_at_rises_whenever_a_row_changes(small_world: duckdb.DuckDBPyConnection) -> None:
    shop.project(small_world, date=dt.date(2026, 1, 31), schema="shop_then")
    shop.project(small_world, date=dt.date(2026, 2, 28), schema="shop_now")
    changed = {}
    for table, key in shop.TABLES.items():
        steps = small_world.execute(f"""
            select now.updated_at > before.updated_at and now.updated_at >= timestamptz '2026-02-01 00:00:00+00'
            from shop_now.{table} as now join shop_then.{table} as before using ({key})
            where now is distinct from before
        """).fetchall()
        assert all(rises for (rises,) in steps), table
        changed[table] = len(steps)
        late = (
            f"select count(*) from shop_now.{table} where updated_at >= timestamptz '2026-03-01 00:00:00+00'"
        )
        assert small_world.execute(late).fetchone() == (0,)
    assert changed["orders"] > 0
    small_world.execute("drop schema shop_then cascade; drop schema shop_now cascade")


def test_orders_and_addresses_are_deleted_for_good(small_world: duckdb.DuckDBPyConnection) -> None:
    def one(sql: str) -> int:
        row = small_world.execute(sql).fetchone()
        assert row
        return int(row[0])

    shop.project(small_world, date=dt.date(2024, 12, 31), schema="shop_then")
    shop.project(small_world, date=dt.date(2026, 9, 30), schema="shop_now")
    purged = "(select order_id from events.shop_orders where purged_at < timestamp '2026-10-01')"
    assert one(f"select count(*) from {purged}") > 0
    for table in ("orders", "order_items", "payments"):
        assert one(f"select count(*) from shop_now.{table} where order_id in {purged}") == 0, table
        assert (
            one(f"select count(*) from shop_now.{table} anti join shop_now.orders using (order_id)") == 0
        ), table
    assert one("select count(*) from shop_then.addresses anti join shop_now.addresses using (address_id)") > 0
    assert one("select count(*) from shop_now.customers where deleted_at is not null") > 0
    small_world.execute("drop schema shop_then cascade; drop schema shop_now cascade")


def test_database_adds_up_to_the_truth(
    advanced: tuple[str, dict[dt.date, dict[str, list[tuple[object, ...]]]], dict[str, int]],
    reader: duckdb.DuckDBPyConnection,
    small_world: duckdb.DuckDBPyConnection,
) -> None:
    url, _, _ = advanced
    world.truth(small_world, date=DATES[-1])
    reader.execute(f"attach '{url}' as books (type postgres, read_only)")
    booked = reader.execute("""
        from postgres_query('books', $$
            with items as (
                select o.*, i.order_item_id, i.quantity, i.quantity * i.unit_price - i.discount_amount as net
                from orders o join order_items i on i.order_id = o.order_id
            ), lines as (
                select 'sale' as kind, ordered_at as at, shipping_country as country, currency, quantity, net from items
                union all
                select 'cancellation', cancelled_at, shipping_country, currency, -quantity, -net from items
                where status = 'cancelled'
                union all
                select 'return', r.refunded_at, i.shipping_country, i.currency, -r.quantity, -r.amount
                from refunds r join items i on i.order_item_id = r.order_item_id
            )
            select kind, (at at time zone 'UTC')::date as day, country, currency, count(*) as n,
                sum(quantity)::bigint as pieces, sum(net)::numeric(18, 2) as amount
            from lines group by 1, 2, 3, 4
        $$) order by all
    """).fetchall()
    reader.execute("detach books")
    true = small_world.execute("""
        select kind, business_date, country_code, currency, count(*), sum(quantity)::bigint, sum(amount)::decimal(18, 2)
        from truth.order_lines where channel = 'shop' group by all order by all
    """).fetchall()
    assert {row[0] for row in true} == {"sale", "cancellation", "return"}
    assert booked == true
