"""What makes a difference between two queries, and which clause it is."""

from __future__ import annotations

import pytest

from sluice.review.clauses import changed_clauses
from sluice.review.query_equivalence import same_meaning

COLUMNS = {
    "w.s.orders": {"id": "bigint", "customer_id": "bigint", "amount": "double", "note": "text"},
    "w.s.customers": {"id": "bigint", "name": "text"},
}
BASE = """
with orders as (select * from w.s.orders), customers as (select * from w.s.customers),
paid as (select orders.id, orders.amount, customers.name from orders
         inner join customers on orders.customer_id = customers.id
         where orders.amount > 0 and orders.note is null)
select * from paid
"""

SAME = {
    "case, comments, layout": BASE.upper().replace("\n", " /* x */ ") + "-- y",
    "quotes": BASE.replace("orders.id", '"orders"."id"'),
    "name of a CTE": BASE.replace("paid", "settled"),
    "alias": BASE.replace("join customers on", "join customers as c on")
    .replace("= customers.id", "= c.id")
    .replace("customers.name", "c.name"),
    "order of conditions": BASE.replace(
        "orders.amount > 0 and orders.note is null", "orders.note is null and orders.amount > 0"
    ),
    "turned equality": BASE.replace("orders.customer_id = customers.id", "customers.id = orders.customer_id"),
    "parentheses": BASE.replace("orders.amount > 0", "((orders.amount) > (0))"),
    "no CTEs for imports": BASE.replace(
        "with orders as (select * from w.s.orders), customers as (select * from w.s.customers),", "with"
    )
    .replace("from orders", "from w.s.orders")
    .replace("join customers", "join w.s.customers"),
    "star written out": BASE.replace("select * from paid", "select id, amount, name from paid"),
    "a CTE written where it is read": BASE.replace(
        ", customers as (select * from w.s.customers)", ""
    ).replace("join customers on", "join (select * from w.s.customers) as customers on"),
    "a CTE nobody reads": BASE.replace("with ", "with unread as (select 1 as x), "),
    "word inner": BASE.replace("inner join", "join"),
}
OTHER = {
    "constant": BASE.replace("> 0", "> 1"),
    "boundary": BASE.replace("> 0", ">= 0"),
    "or": BASE.replace("> 0 and", "> 0 or"),
    "left join": BASE.replace("inner join", "left join"),
    "column": BASE.replace("orders.amount, ", "orders.amount * 2 as amount, "),
    "name of a column": BASE.replace("orders.amount, ", "orders.amount as total, "),
    "order of columns": BASE.replace("orders.id, orders.amount", "orders.amount, orders.id"),
    "distinct": BASE.replace("select * from paid", "select distinct * from paid"),
    "limit": BASE + " limit 10",
    "text in another case": BASE.replace("orders.note is null", "orders.note = 'A'"),
    "another table": BASE.replace("from w.s.customers", "from w.s.orders").replace(
        "customers.name", "customers.note as name"
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_writing_makes_no_difference(what: str) -> None:
    assert SAME[what] != BASE
    assert same_meaning(BASE, SAME[what], COLUMNS, COLUMNS)


@pytest.mark.parametrize("what", OTHER)
def test_meaning_does(what: str) -> None:
    assert OTHER[what] != BASE
    assert not same_meaning(BASE, OTHER[what], COLUMNS, COLUMNS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(a or b) and c", "a or (b and c)"),
        ("(a + b) * c", "a + (b * c)"),
        ("a - (b - c)", "(a - b) - c"),
        ("not (a or b)", "(not a) or b"),
        ("x = 'A'", "x = 'a'"),
    ],
)
def test_parentheses_that_matter_do(before: str, after: str) -> None:
    tables = {"t": dict.fromkeys("abcx", "text")}
    assert not same_meaning(f"select {before} as r from t", f"select {after} as r from t", tables, tables)
    assert not same_meaning(
        f"select a from t where {before}", f"select a from t where {after}", tables, tables
    )


def test_a_star_means_other_columns_when_the_table_has() -> None:
    wider = {**COLUMNS, "w.s.orders": {**COLUMNS["w.s.orders"], "extra": "text"}}
    assert same_meaning(BASE, BASE, COLUMNS, wider)  # it names the columns it takes
    assert not same_meaning("select * from w.s.orders", "select * from w.s.orders", COLUMNS, wider)


def test_what_cannot_be_parsed_is_compared_as_it_is_written() -> None:
    assert same_meaning("selec x frm", "selec   x frm -- y", {}, {})
    assert not same_meaning("selec x frm", "selec y frm", {}, {})


WINDOW = "select id, row_number() over (partition by customer_id order by amount) as n from w.s.orders"
NAMED = "select id, rank() over w as n from w.s.orders window w as (partition by note order by amount)"
CLAUSES = {
    "where-added": (BASE, BASE.replace("is null)", "is null and orders.id > 7)")),
    "where-removed": (BASE, BASE.replace(" and orders.note is null", "")),
    "where-changed": (BASE, OTHER["boundary"]),
    "join-kind": (BASE, OTHER["left join"]),
    "join-condition": (BASE, BASE.replace("= customers.id", "= customers.id and customers.name > 'a'")),
    "column-changed": (BASE, OTHER["column"]),
    "distinct-added": (BASE, OTHER["distinct"]),
    "limit-added": (BASE, OTHER["limit"]),
    "window-order": (WINDOW, WINDOW.replace("order by amount", "order by amount desc")),
    "window-partition": (WINDOW, WINDOW.replace("customer_id", "note")),
    "window-frame": (WINDOW, WINDOW.replace("amount)", "amount rows between 1 preceding and current row)")),
    "window-order in a named window": (NAMED, NAMED.replace("order by amount", "order by amount desc")),
    "qualify-added": (WINDOW, WINDOW + " qualify n = 1"),
    "union-branch-added": (WINDOW, WINDOW + " union all select id, 1 from w.s.customers"),
    "set-operation": (
        "select id from a union all select id from b",
        "select id from a union select id from b",
    ),
    "unnest-changed": (
        "select id, unnest(range(3)) as n from w.s.orders",
        "select id, unnest(range(4)) as n from w.s.orders",
    ),
    "group-changed by ordinal": (
        "select note, count(*) as n from w.s.orders group by 1",
        "select upper(note) as note, count(*) as n from w.s.orders group by 1",
    ),
    "group-changed by all": (
        "select note, count(*) as n from w.s.orders group by all",
        "select note, id, count(*) as n from w.s.orders group by all",
    ),
    "unnest-added": ("select id from w.s.orders", "select id, unnest(range(3)) as n from w.s.orders"),
    "from-changed": ("select id from w.s.orders", "select id from w.s.customers"),
    "group-changed": (
        "select note, count(*) as n from w.s.orders group by note",
        "select note, count(*) as n from w.s.orders group by note, id",
    ),
}


@pytest.mark.parametrize("kind", CLAUSES)
def test_the_changed_clause_is_named(kind: str) -> None:
    before, after = CLAUSES[kind]
    assert before != after
    found = [clause.kind for clause in changed_clauses(before, after)]
    columns = {"column-changed", "column-added"} if kind.startswith("group-changed by") else set()
    assert [k for k in found if k not in columns] == [kind.split()[0]]
