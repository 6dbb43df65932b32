"""The world is the same each time, a longer one begins like a shorter one, and its numbers hang together."""

import datetime as dt
import time
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from sandbox import shop, stores, world

DAY = dt.date(2026, 3, 15)
LATER = dt.date(2026, 4, 4)


def generated(until: dt.date, *, seed: int = 42, scale: float = 0.01) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    world.generate(con, seed=seed, scale=scale, until=until)
    return con


@pytest.fixture(scope="module")
def short() -> Iterator[duckdb.DuckDBPyConnection]:
    with generated(DAY) as con:
        yield con


@pytest.fixture(scope="module")
def full() -> Iterator[duckdb.DuckDBPyConnection]:
    """The world at the default size, with the truth."""
    started = time.perf_counter()
    with generated(dt.date(2026, 9, 30), scale=1) as con:
        made = time.perf_counter()
        world.truth(con, date=dt.date(2026, 9, 30))
        done = time.perf_counter()
        print(f"\nscale 1: events in {made - started:.1f} s, truth in {done - made:.1f} s")  # noqa: T201
        yield con


def content(con: duckdb.DuckDBPyConnection, *schemas: str) -> dict[str, list[tuple[object, ...]]]:
    tables = con.execute(
        "select schema_name || '.' || table_name from duckdb_tables() where list_contains(?, schema_name)",
        [list(schemas)],
    ).fetchall()
    return {table: con.execute(f"from {table} order by all").fetchall() for (table,) in tables}


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return con.execute(sql).fetchall()


def test_same_seed_gives_the_same_world(short: duckdb.DuckDBPyConnection) -> None:
    with generated(DAY) as again:
        assert content(again, "events") == content(short, "events")


def test_another_seed_gives_another_world(short: duckdb.DuckDBPyConnection) -> None:
    with generated(DAY, seed=43) as other:
        mine, theirs = content(short, "events"), content(other, "events")
        assert all(
            mine[table] != theirs[table] for table in mine if "orders" in table or table == "events.parties"
        )


def test_longer_world_begins_with_the_shorter_one(short: duckdb.DuckDBPyConnection) -> None:
    with generated(LATER) as longer:
        for con in (short, longer):
            world.truth(con, date=DAY)
            shop.project(con, date=DAY)
            stores.project(con, date=DAY)
        schemas = ("truth", "shop", "stores")
        assert content(short, *schemas) == content(longer, *schemas)

        # and every canonical row known by then is already as it will stay
        cutoff = f"timestamp '{world.cutoff(DAY)}'"
        tables = rows(
            short,
            "select table_name from duckdb_columns() where schema_name = 'events' and column_name = 'known_at'",
        )
        assert len(tables) == 16
        for (table,) in tables:
            known = f"from events.{table} where known_at < {cutoff} order by all"
            assert rows(longer, known) == rows(short, known), table
        for table, parent, key in (
            ("market_lines", "market_files", "settlement_date"),
            ("wholesale_lines", "wholesale_invoices", "invoice_id"),
        ):
            known = (
                f"select * from events.{table} where {key} in"
                f" (select {key} from events.{parent} where known_at < {cutoff}) order by all"
            )
            assert rows(longer, known) == rows(short, known), table


@pytest.mark.parametrize(("until", "scale"), [(dt.date(2024, 9, 30), 1.0), (DAY, 0.0)])
def test_impossible_world_is_refused(until: dt.date, scale: float) -> None:
    with duckdb.connect() as con, pytest.raises(ValueError, match=r"The world begins on 2024-10-01"):
        world.generate(con, seed=42, scale=scale, until=until)


def test_scale_1_has_the_size_that_was_promised(full: duckdb.DuckDBPyConnection) -> None:
    orders: dict[str, int] = dict(
        rows(full, "select channel, count(distinct order_id) from truth.order_lines group by channel")
    )
    assert 50_000 < orders["shop"] < 65_000
    assert 27_000 < orders["stores"] < 37_000
    assert 10_000 < orders["marketplace"] < 15_000
    assert 2_700 < orders["wholesale"] < 3_500
    assert 90_000 < rows(full, "select count(*) from truth.page_views")[0][0] < 110_000


@pytest.mark.parametrize(
    ("child", "parent", "key"),
    [
        ("shop_orders", "shop_customers", "customer_id"),
        ("shop_order_items", "shop_orders", "order_id"),
        ("shop_refunds", "shop_order_items", "order_item_id"),
        ("store_sales", "stores", "store_id"),
        ("store_sale_lines", "store_sales", "sale_id"),
        ("store_sales", "store_members", "member_id"),
        ("market_lines", "market_buyers", "buyer_id"),
        ("wholesale_invoices", "wholesale_accounts", "account_id"),
        ("wholesale_lines", "wholesale_invoices", "invoice_id"),
        ("page_views", "shop_customers", "customer_id"),
        ("shop_order_items", "product_versions", "product_id"),
        ("store_sale_lines", "product_versions", "ean"),
        ("market_lines", "product_versions", "sku"),
        ("wholesale_lines", "product_versions", "sku"),
        ("shop_customers", "parties", "party_id"),
        ("store_members", "parties", "party_id"),
        ("wholesale_accounts", "parties", "party_id"),
    ],
)
def test_references_hold(full: duckdb.DuckDBPyConnection, child: str, parent: str, key: str) -> None:
    orphans = f"select count(*) from events.{child} where {key} not in (select {key} from events.{parent})"
    assert rows(full, orphans) == [(0,)]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("events.parties", "party_id"),
        ("events.parties", "email"),
        ("events.shop_orders", "order_id"),
        ("events.shop_order_items", "order_item_id"),
        ("events.shop_order_items", "(order_id, line_number)"),
        ("events.shop_refunds", "order_item_id"),
        ("events.store_sales", "sale_id"),
        ("events.store_sale_lines", "line_id"),
        ("events.market_buyers", "buyer_id"),
        ("events.market_files", "(settlement_date, revision)"),
        ("events.wholesale_invoices", "invoice_id"),
        ("events.wholesale_invoices", "number"),
        ("events.page_views", "event_id"),
        ("truth.products", "ean"),
        ("truth.order_lines", "(channel, order_id, line_number, kind)"),
        ("truth.party_records", "(system, record_id)"),
        ("truth.parties", "party_id"),
    ],
)
def test_keys_are_unique(full: duckdb.DuckDBPyConnection, table: str, key: str) -> None:
    assert rows(full, f"select count(*) - count(distinct {key}) from {table}") == [(0,)]


def test_eans_carry_a_right_check_digit(full: duckdb.DuckDBPyConnection) -> None:
    for (ean,) in rows(full, "select distinct ean from events.product_versions"):
        digits = [int(digit) for digit in str(ean)]
        assert len(digits) == 13
        assert sum(digits[0::2]) % 10 == -3 * sum(digits[1::2]) % 10


def test_line_ids_of_the_tills_rise_as_lines_become_known(full: duckdb.DuckDBPyConnection) -> None:
    earlier = "known_at < lag(known_at) over (order by line_id)"
    assert rows(full, f"select 1 from events.store_sale_lines qualify {earlier}") == []


def test_every_line_has_euros_and_some_rest_on_a_stale_rate(full: duckdb.DuckDBPyConnection) -> None:
    assert rows(full, "select count(*) from truth.order_lines where amount_eur is null") == [(0,)]
    stale = rows(full, "select distinct currency from truth.order_lines where business_date > rate_date + 5")
    assert stale == [("BGN",)]


def test_what_is_taken_back_was_sold(full: duckdb.DuckDBPyConnection) -> None:
    too_much = """
        select order_id, line_number from truth.order_lines where channel in ('shop', 'stores', 'marketplace')
        group by channel, order_id, line_number, sku having sum(quantity) < 0
    """
    # a correction that arrived later than its refund may have changed the price, never the pieces
    lonely = rows(full, too_much)
    hidden = rows(full, "select count(*) from events.market_lines where first_revision = 1")
    assert len(lonely) <= hidden[0][0]
    assert all("-" in str(order) and len(str(order)) == 19 for order, _ in lonely)


def test_personal_data_is_reserved_for_fiction(full: duckdb.DuckDBPyConnection) -> None:
    domains = rows(full, "select distinct split_part(email, '@', 2) from events.parties order by 1")
    assert domains == [("example.com",), ("example.net",), ("example.org",)]


@pytest.mark.parametrize("key", ["lower(events.fold(name)), postal_code, country_code", "phone"])
def test_people_can_be_told_apart(full: duckdb.DuckDBPyConnection, key: str) -> None:
    """Of 28,000 parties, those who share name and postal code, or the phone, are fewer than one in 250."""
    shared = rows(
        full,
        f"""
        with groups as (select count(*) as n from truth.parties where phone is not null group by {key})
        select coalesce(sum(n), 0) from groups where n > 1
        """,
    )
    assert shared[0][0] < 110
