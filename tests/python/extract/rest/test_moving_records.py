"""Records that move between pages while they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.extract import rest
from tests.python.extract.rest.api import (
    Answer,
    Api,
    Request,
    declaration,
    failure,
    records,
)
from tests.python.extract.rig import run


class Shelf:
    """Records in an order; each of `changes` happens between two pages."""

    def __init__(self, count: int, *changes: Callable[[list[dict[str, Any]]], None]) -> None:
        self.rows: list[dict[str, Any]] = [{"id": n, "v": 0} for n in range(count)]
        self.changes = iter(changes)

    def __call__(self, request: Request) -> Answer:
        page = int(request.query["page"])
        answer = Answer({"items": self.rows[page * 5 : page * 5 + 5], "total": -(-len(self.rows) // 5)})
        next(self.changes, lambda _: None)(self.rows)
        return answer


def touch_the_first(rows: list[dict[str, Any]]) -> None:
    """What is changed goes to the end, where an API sorts by time of change."""
    first = rows.pop(0)
    rows.append({**first, "v": first["v"] + 1})


def remove_five(rows: list[dict[str, Any]]) -> None:
    del rows[:5]


def append_one(rows: list[dict[str, Any]]) -> None:
    rows.append({"id": 1000 + len(rows), "v": 0})


SHELF = {
    "path": "things",
    "data_selector": "items",
    "paginator": {"type": "page_number", "base_page": 0, "total_path": "total"},
}


@pytest.mark.parametrize("change", [touch_the_first, remove_five])
def test_records_that_move_between_pages_are_read_again(api: Api, tmp_path: Path, change: Any) -> None:
    api.answer = shelf = Shelf(20, change)
    tables = {"things": {"primary_key": "id", "endpoint": SHELF}}
    result = run(rest.extract, declaration(api.url, tables), tmp_path)
    assert sorted(r["id"] for r in records(result)) == sorted(r["id"] for r in shelf.rows)
    assert result.read["things"] == len(shelf.rows)


def test_new_records_at_the_end_are_no_reason_to_read_again(api: Api, tmp_path: Path) -> None:
    api.answer = Shelf(20, *[append_one] * 12)
    tables = {"things": {"primary_key": "id", "endpoint": SHELF}}
    assert len(records(run(rest.extract, declaration(api.url, tables), tmp_path))) >= 20
    assert len(api.requests) < 10


def test_records_that_never_rest_are_refused(api: Api, tmp_path: Path) -> None:
    api.answer = Shelf(20, *[touch_the_first] * 99)
    tables = {"things": {"primary_key": "id", "endpoint": SHELF}}
    text = failure(run(rest.extract, declaration(api.url, tables), tmp_path))
    assert "records moved between pages while they were read, 3 times over" in text


def one_more_in_front(rows: list[dict[str, Any]]) -> None:
    rows.insert(0, {"id": 1000 + len(rows), "v": 0})


def remove_one(rows: list[dict[str, Any]]) -> None:
    del rows[0]


def with_counts(shelf: Shelf, *path: str) -> Callable[[Request], Answer]:
    """The shelf's answers, which also say the number of records."""

    def answer(request: Request) -> Answer:
        count: Any = len(shelf.rows)
        body = json.loads(shelf(request).body)
        for name in reversed(path):
            count = {name: count}
        return Answer({"page": int(request.query["page"]), "count": len(body["items"]), **body, **count})

    return answer


@pytest.mark.parametrize("path", [("totalItems",), ("meta", "total"), ("meta", "pages", "elements")])
@pytest.mark.parametrize("key", [{"primary_key": "id"}, {}], ids=["key", "no key"])
def test_a_count_beside_the_records_shows_what_pages_do_not(
    api: Api, tmp_path: Path, path: tuple[str, ...], key: dict[str, str]
) -> None:
    shelf = Shelf(23, remove_one)  # 5 pages before and after
    api.answer = with_counts(shelf, *path)
    result = run(rest.extract, declaration(api.url, {"things": {**key, "endpoint": {**SHELF}}}), tmp_path)
    assert records(result) == shelf.rows


def test_numbers_that_count_something_else_are_no_reason_to_read_again(api: Api, tmp_path: Path) -> None:
    left = iter(range(20, 0, -5))

    def answer(request: Request) -> Answer:
        page = int(request.query["page"])
        rows = [{"id": n} for n in range(page * 5, min(page * 5 + 5, 18))]
        more = {"remaining": next(left), "to": page * 5 + len(rows), "sum": 900 - 100 * page, "n": len(rows)}
        return Answer({"items": rows, "total": 4, **more})

    api.answer = answer
    table = {"things": {"primary_key": "id", "endpoint": SHELF}}
    assert len(records(run(rest.extract, declaration(api.url, table), tmp_path))) == 18
    assert len(api.requests) == 4


def test_a_record_without_a_key_that_comes_twice_is_noticed(api: Api, tmp_path: Path) -> None:
    shelf = Shelf(23, one_more_in_front)
    api.answer = with_counts(shelf, "all")
    result = run(rest.extract, declaration(api.url, {"things": SHELF}), tmp_path)
    assert records(result) == shelf.rows


def test_equal_records_without_a_key_are_no_reason_to_read_again(api: Api, tmp_path: Path) -> None:
    rows = [{"v": "same"}] * 5
    pages = [rows, [{"v": "same"}, {"v": "other"}]]
    api.answer = lambda request: Answer({"items": pages[int(request.query["page"])], "total": 2, "all": 7})
    assert len(records(run(rest.extract, declaration(api.url, {"things": SHELF}), tmp_path))) == 7
    assert len(api.requests) == 2


def test_children_that_move_between_pages_are_read_again(api: Api, tmp_path: Path) -> None:
    shelf = Shelf(20, lambda _: None, touch_the_first)

    def answer(request: Request) -> Answer:
        return shelf(request) if request.path.startswith("/boxes/") else Answer([{"id": 7}])

    api.answer = answer
    things = {
        **SHELF,
        "path": "boxes/{box}",
        "params": {"box": {"type": "resolve", "resource": "boxes", "field": "id"}},
    }
    tables = {
        "boxes": {"primary_key": "id", "endpoint": {"path": "boxes", "paginator": "single_page"}},
        "things": {"primary_key": "id", "endpoint": things},
    }
    result = run(rest.extract, declaration(api.url, tables), tmp_path)
    assert sorted(r["id"] for r in records(result)) == list(range(20))
    assert len(records(result, "boxes")) == 1
