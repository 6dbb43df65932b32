"""What makes two builds of the same SQL differ is found, and nothing else."""

from __future__ import annotations

import duckdb
import pytest

from sluice.engine.differing import Queries

KNOWN = {"warehouse.marts.orders"}


@pytest.fixture(scope="module")
def queries() -> Queries:
    con = duckdb.connect()
    con.execute("create macro weekday_of(d) as dayofweek(d)")
    return Queries(con)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("select now()", "now() is another"),
        ("select current_date as today", "current_date is another"),
        ("select * from marts.orders where ordered_at > today() - 7", "today() is another"),
        ("select random() from marts.orders", "random() is another"),
        ("select uuid() as id from marts.orders", "uuid() is another"),
        ("select nextval('s')", "nextval() is another"),
        ("select list_transform([1], x -> x + random())", "random() is another"),
        (
            "select 1 from marts.orders qualify row_number() over (order by random()) = 1",
            "random() is another",
        ),
        ("with o as (select * from marts.orders using sample 10) from o", "a sample"),
        ("select * from marts.orders tablesample 10%", "a sample"),
        ("from read_csv('a.csv')", "read_csv() reads"),
        ("from 'a.parquet'", "reads a.parquet"),
        ("select getenv('HOME')", "getenv() reads"),
        ("select getvariable('x')", "getvariable() reads"),
        ("select weekday_of(ordered_at) from marts.orders", "weekday_of() is not a function"),
        ("select of_a_plugin(id) from marts.orders", "of_a_plugin() is not a function"),
        ("select * from marts.customers", "reads marts.customers"),
        ("select * from orders", "reads orders"),
        ("with orders as (select * from orders) from orders", "reads orders"),
        ("select (select max(id) from marts.other) from marts.orders", "reads marts.other"),
        ("select 1; select 2", "does not tell"),
        ("create table t as select 1", "does not tell"),
    ],
)
def test_a_reason_is_found(queries: Queries, sql: str, reason: str) -> None:
    assert reason in queries.differing(sql, KNOWN)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from marts.orders",
        'select * from "warehouse"."marts"."orders" as o join marts.orders using (id)',
        "with a as (select 1 as n), b as (select n from a) select * from b, a",
        "with recursive n as (select 1 as i union all select i + 1 from n where i < 9) select i from n",
        "select 'now()' as text, \"random\" from marts.orders -- current_date",
        "select unnest([1, 2]), i from range(3) as r (i)",
        "select case when id is null then error('no id') else id end from marts.orders",
        "select current_database()",
        "values (1), (2)",
        "select sum(amount) over (partition by id order by ordered_at) from marts.orders",
    ],
)
def test_nothing_is_found(queries: Queries, sql: str) -> None:
    assert queries.differing(sql, KNOWN) == ""
