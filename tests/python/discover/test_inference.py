"""What rows show about tables: keys, cursors, deleted rows, classes, relationships; traps become questions."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from sluice.discover.content_checks import prepare
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


def table_of(source: DiscoveredSource, name: str) -> DiscoveredTable:
    return next(table for table in source.tables if table.name == name)


def test_traps_of_keys_become_questions(con: duckdb.DuckDBPyConnection) -> None:
    """A key that repeats, two that are as likely, an empty table, and a key that a sample cannot prove."""
    source = source_of(
        con,
        "shop",
        scans="select case when i > 3990 then i - 500 else i end as scan_id, i % 6 as gate from range(4000) t(i)",
        items="select i as item_id, i + 5 as item_uuid, i % 3 as size from range(500) t(i)",
        drafts="select 1 as draft_id where false",
        orders="select i as order_id, i % 5 as state from range(1000) t(i)",
    )
    table_of(source, "orders").is_whole, table_of(source, "orders").rows = False, 90_000
    infer(con, source)
    scans, items, drafts, orders = source.tables
    assert scans.primary_key is None
    assert scans.questions == ["scan_id looks like a key, but 9 of 4,000 rows repeat a value: is it one?"]
    assert items.primary_key
    assert items.primary_key.confidence < 0.9
    assert "item_id and item_uuid look like keys: which of them identifies a row?" in items.questions
    assert drafts.questions == ["the table is empty: what identifies a row?"]
    assert orders.primary_key
    assert orders.primary_key.confidence < 0.9
    assert "a sample of 1,000 of 90,000 rows" in orders.primary_key.reason


def test_a_time_that_nobody_updates_is_a_question(con: duckdb.DuckDBPyConnection) -> None:
    time = "timestamp '2024-01-01' + to_hours(i::int)"
    source = source_of(
        con,
        "crm",
        contracts=f"select i as id, {time} as created_at, {time} as updated_at from range(500) t(i)",
        parcels=f"select i as id, {time} as updated_at, {time} + interval 3 day as shipped_at from range(500) t(i)",
        accounts=f"select i as id, case when i % 9 > 0 then {time} end as modified_at from range(500) t(i)",
        people="select i as id, timestamp '2024-01-01' as last_update from range(500) t(i)",
    )
    infer(con, source)
    assert [table.cursor for table in source.tables] == [None] * 4
    found = [question for table in source.tables for question in table.questions]
    assert "updated_at is never later than created_at in 500 rows" in found[0]
    assert "shipped_at is days later than it in 500 of 500 rows: does anybody update it?" in found[1]
    assert "56 of 500 rows are without a value" in found[2]
    assert "is the same in all 500 rows" in found[3]


def test_names_that_only_hint_at_a_change_need_the_values(con: duckdb.DuckDBPyConnection) -> None:
    made, later = (
        "timestamp '2024-01-01' + to_hours(i::int)",
        "timestamp '2024-01-01' + to_hours((i + i % 3)::int)",
    )
    query = f"select i as {{}}_id, {made} as {{}}, {later} as {{}} from range(300) t(i)"
    source = source_of(
        con,
        "plant",
        copies=query.format("copy", "begun", "sync_ts"),  # later than anything else that happened to the row
        readings=query.format("reading", "ts", "received"),  # when it was measured
        users=query.format("user", "created_at", "last_seen"),
        trips=query.format("trip", "left_at", "back_at"),
        parts="select i as part_id, 9000 - i as row_version, i % 4 as row_revision from range(300) t(i)",
        docs="select i as doc_id, i % 4 as row_version from range(300) t(i)",
    )
    infer(con, source)
    proposed = {table.name: table.cursor and table.cursor.value for table in source.tables}
    assert proposed == {
        "copies": "sync_ts",
        "readings": "received",  # at which rows were added
        "users": None,
        "trips": None,
        "parts": "row_version",
        "docs": None,
    }
    assert all(table.cursor.confidence < 0.9 for table in source.tables if table.cursor)  # comments only


def test_reasons_and_questions_hold_no_value(con: duckdb.DuckDBPyConnection) -> None:
    secret = "zz" + "secret"
    source = source_of(
        con,
        "crm",
        people=f"select i as person_id, '{secret}' || i || '@mail.example' as email, case when i % 9 = 0 then 'deleted'"
        " else 'open' end as status from range(300) t(i)",
        notes=f"select i as id, '{secret}' || (i * 2) || '@MAIL.example' as mail, '{secret}' as subject_type,"
        " i % 300 as subject_id from range(100) t(i)",
    )
    relationships = infer(con, source)
    assert any("status says of 34 of 300 rows that they are deleted" in q for q in source.tables[0].questions)
    shown = repr(source) + repr(relationships)
    assert secret not in shown


def test_a_system_that_is_loaded_is_compared(con: duckdb.DuckDBPyConnection) -> None:
    """Ids that count from 1 in both are not related; addresses in other letters are, and names of a column's odd."""
    crm = source_of(con, "crm", **{"Kunden Liste": "select i as id, upper('p' || i || '@mail.example') as \"E-Mail.1\" from range(1, 200) t(i)"})  # fmt: skip
    shop = source_of(
        con, "shop", customers="select i as id, 'p' || i || '@mail.example' as email from range(1, 900) t(i)"
    )
    (found,) = infer(con, crm, [shop])
    assert (found.columns, found.to_table, found.to_columns) == (
        ("E-Mail.1",),
        ("shop", "customers"),
        ("email",),
    )
    assert found.coverage == 1
    assert (
        "199 of 199 distinct values are in customers.email without case and punctuation, 0 exactly"
        in found.reason
    )


def test_keys_of_two_systems_that_count_up_are_a_question(con: duckdb.DuckDBPyConnection) -> None:
    """Whether numbers of two systems mean the same, nothing in them says; names only suggest it."""
    crm = source_of(
        con,
        "crm",
        customers="select i as id, 'c' || i as label from range(1, 301) t(i)",
        visits="select i as id, 1 + i % 300 as customer_id from range(1, 900) t(i)",
    )
    infer(con, crm)
    shop = source_of(
        con,
        "shop",
        orders="select i as order_id, 1 + i % 700 as customer_id from range(1, 2001) t(i)",
        customers="select i as customer_id, i % 3 as size from range(1, 701) t(i)",
        boxes="select i as id, i % 4 as size from range(1, 301) t(i)",
    )
    relationships = infer(con, shop, [crm])
    assert {(r.table, r.to_table) for r in relationships} == {(("shop", "orders"), ("shop", "customers"))}
    (asked,) = table_of(shop, "customers").questions
    assert asked.startswith("customer_id and crm.customers (id) are named as the same thing. Both count up")
    assert not table_of(shop, "orders").questions  # it refers to the customers of its own system
    assert not table_of(shop, "boxes").questions

    alone = source_of(
        con, "alone", orders="select i as order_id, 1 + i % 700 as customer_id from range(1, 2001) t(i)"
    )
    assert infer(con, alone, [crm]) == []
    (asked,) = table_of(alone, "orders").questions
    assert asked.startswith("customer_id and crm.customers (id) are named as the same thing")


def test_odd_tables_are_looked_at(con: duckdb.DuckDBPyConnection) -> None:
    """No row, no value, types that are not compared, names with quotes, broken JSON, deep and wide records."""
    source = source_of(
        con,
        "odd",
        nothing="select null::varchar as a, null::json as b, null::int as id where false",
        nulls="select null::varchar as deleted_at, null::timestamp as updated_at, null::json as j from range(50)",
        types="select i as \"a\"\"b\", 'x'::blob as c, [i] as d, {'e': {'f': [{'g': i}]}} as h, map {'k': i} as m,"
        " i::double as n, interval 1 day as o, time '10:00' as p, uuid() as q from range(50) t(i)",
        one="select 1 as id",
    )
    infer(con, source)
    assert table_of(source, "one").primary_key
    assert table_of(source, "nulls").primary_key is None


def test_checksums(con: duckdb.DuckDBPyConnection) -> None:
    prepare(con)
    found = con.execute(
        "select is_iban('GB82 WEST 1234 5698 7654 32'), is_iban('GB82 WEST 1234 5698 7654 33'),"
        " is_card('4111 1111 1111 1111'), is_card('4111 1111 1111 1112'), is_vat('DE136695976'), is_vat('DE136695977'),"
        " is_vat('BE0403019261'), is_vat('BE0403019262'), is_vat('IT00743110157'), is_vat('IT00743110158')"
    ).fetchone()
    assert found == (True, False) * 5
