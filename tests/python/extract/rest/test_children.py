"""Endpoints that are read for the records of another."""

from __future__ import annotations

from pathlib import Path

from sluice.extract import rest
from tests.python.extract.rest.api import (
    FAMILY,
    Answer,
    Api,
    Request,
    declaration,
    failure,
    records,
    shop,
)
from tests.python.extract.rig import declare, run


def test_a_parent_is_fetched_once_for_all_its_children(api: Api, tmp_path: Path) -> None:
    api.answer = shop
    assert rest.check(declare(declaration(api.url, FAMILY), tmp_path)) == []
    result = run(rest.extract, declaration(api.url, FAMILY), tmp_path)
    assert [r["id"] for r in records(result, "orders")] == [1, 2]
    assert [(r["_orders_id"], r["line"], r["sku"]) for r in records(result, "lines")] == [
        (1, 1, "s1"),
        (1, 2, "x"),
        (2, 1, "s2"),
        (2, 2, "x"),
    ]
    assert [r["note"] for r in records(result, "notes")] == ["a", "b"]
    assert sum(r.path == "/orders" for r in api.requests) == 1


def test_a_child_alone_fetches_its_parent_and_leaves_its_cursor(api: Api, tmp_path: Path) -> None:
    api.answer = shop
    result = run(rest.extract, declaration(api.url, FAMILY), tmp_path, only=["lines"])
    assert len(records(result, "lines")) == 4
    assert list(result.rows) == ["lines"]
    both = run(rest.extract, declaration(api.url, FAMILY), tmp_path)
    assert len(records(both, "orders")) == 2
    assert len(records(both, "lines")) == 4  # the parents come again, for orders' sake


def test_a_child_that_failed_gets_its_parents_again(api: Api, tmp_path: Path) -> None:
    def broken(request: Request) -> Answer:
        return Answer({}, 404) if request.path == "/orders/2/lines" else shop(request)

    api.answer = broken
    first = run(rest.extract, declaration(api.url, FAMILY), tmp_path)
    assert "GET" in failure(first, "lines")
    assert "/orders/2/lines answered 404" in failure(first, "lines")
    assert len(records(first, "orders")) == len(records(first, "notes")) == 2
    api.answer = shop
    second = run(rest.extract, declaration(api.url, FAMILY), tmp_path)
    assert len(records(second, "lines")) == 4
    third = run(rest.extract, declaration(api.url, FAMILY), tmp_path)
    assert [r["id"] for r in records(third, "orders")] == [2]
    assert len(records(third, "lines")) == 2


def test_a_child_whose_rows_were_refused_later_gets_its_parents_again(api: Api, tmp_path: Path) -> None:
    api.answer = shop
    run(rest.extract, declaration(api.url, FAMILY), tmp_path, failing_later=["lines"])
    second = run(rest.extract, declaration(api.url, FAMILY), tmp_path)
    assert len(records(second, "lines")) == 4


def test_a_parent_that_fails_takes_only_its_family_along(api: Api, tmp_path: Path) -> None:
    api.answer = lambda request: Answer({}, 404) if request.path == "/orders" else Answer([{"id": 9}])
    tables = {**FAMILY, "things": {"path": "things"}}
    result = run(rest.extract, declaration(api.url, tables), tmp_path)
    assert records(result) == [{"id": 9}]
    assert "api.orders: GET" in failure(result, "orders")
    assert "api.lines: not loaded, because orders" in failure(result, "lines")
