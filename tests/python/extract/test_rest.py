"""The rest kind: against PocketBase, and against a small server that does what PocketBase cannot."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from servers import PocketBase
from sluice.errors import ConnectionError, LoadError
from sluice.extract import exact_json, rest, retries
from sluice.extract.rest import http as rest_http
from tests.python.extract.rig import Result, declare, run

SECRET = "k3y-that-must-not-be-shown"


class Request:
    """What the server was asked."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.method = handler.command
        self.path = parts.path
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.headers = {key.lower(): value for key, value in handler.headers.items()}
        self.body = handler.rfile.read(int(self.headers.get("content-length", 0)))


class Answer:
    """What it answers; `raw` bypasses the length header, to break off in the middle."""

    def __init__(
        self,
        body: Any = None,
        status: int = 200,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status = status
        self.headers = headers or {}
        self.raw = raw


class Api:
    """A server on loopback whose answers a test writes as a function of the request."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], Answer] = lambda _: Answer([])
        self.requests: list[Request] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                request = Request(self)
                api.requests.append(request)
                answer = api.answer(request)
                if answer.raw is not None:
                    self.wfile.write(answer.raw)
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(answer.body))}
                for key, value in (headers | answer.headers).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    api = Api()
    yield api
    api.server.shutdown()
    api.server.server_close()


def declaration(
    base_url: str, tables: dict[str, dict[str, Any]], client: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A source `api` with these tables; a table is its `endpoint`, or a load block that has one."""
    loads = {name: t if "endpoint" in t else {"endpoint": t} for name, t in tables.items()}
    return {
        "sources": [
            {
                "name": "api",
                "database": "raw",
                "schema": "api",
                "config": {
                    "meta": {"load": {"kind": "rest", "client": {"base_url": base_url, **(client or {})}}}
                },
                "tables": [
                    {"name": name, "config": {"meta": {"load": load}}} for name, load in loads.items()
                ],
            }
        ]
    }


def records(result: Result, table: str = "things") -> list[Any]:
    if table in result.errors:
        raise result.errors[table]
    return [json.loads(row["_record"]) for row in result.rows[table]]


def failure(result: Result, table: str = "things") -> str:
    return str(result.errors[table])


SECRETS = {"api": {"token": SECRET, "username": "reader", "password": "pa$$word-{1}", "api_key": SECRET}}
PAGES = [[{"id": 1}, {"id": 2}], [{"id": 3}, {"id": 4}], [{"id": 5}]]
ALL = [{"id": n} for n in range(1, 6)]


# -- pages -----------------------------------------------------------------------------------------------


def by_page(request: Request) -> Answer:
    page = int(request.query.get("page", 1))
    return Answer({"items": PAGES[page - 1] if page <= 3 else [], "pages": 3, "more": page < 3})


def by_offset(request: Request) -> Answer:
    offset, limit = int(request.query.get("offset", 0)), int(request.query["limit"])
    return Answer({"items": ALL[offset : offset + limit], "total": 5})


def by_cursor(request: Request) -> Answer:
    page = int(request.query.get("after", "p0")[1:])
    return Answer({"items": PAGES[page], "next": f"p{page + 1}" if page < 2 else None})


def by_body_link(request: Request) -> Answer:
    page = int(request.query.get("p", 0))
    link = f"{request.headers['host']}/things?p={page + 1}"
    return Answer({"items": PAGES[page], "links": {"next": f"http://{link}" if page < 2 else None}})


def by_header_link(request: Request) -> Answer:
    page = int(request.query.get("p", 0))
    link = f'<http://{request.headers["host"]}/things?p={page + 1}>; rel="next"'
    return Answer({"items": PAGES[page]}, headers={"Link": link} if page < 2 else {})


def by_header_cursor(request: Request) -> Answer:
    page = int(request.query.get("cursor", 0))
    return Answer({"items": PAGES[page]}, headers={"X-Next": str(page + 1)} if page < 2 else {})


def in_body(request: Request) -> Answer:
    page = json.loads(request.body).get("page", 0)
    return Answer({"items": PAGES[page], "pages": 3})


@pytest.mark.parametrize(
    ("answer", "paginator", "more"),
    [
        (by_page, {"type": "page_number", "base_page": 1, "total_path": "pages"}, {}),
        (by_page, {"type": "page_number", "base_page": 1, "total_path": None}, {}),
        (by_page, {"type": "page_number", "base_page": 1, "total_path": None, "has_more_path": "more"}, {}),
        (by_offset, {"type": "offset", "limit": 2, "total_path": "total"}, {}),
        (by_cursor, {"type": "cursor", "cursor_path": "next", "cursor_param": "after"}, {}),
        (by_body_link, {"type": "json_link", "next_url_path": "links.next"}, {}),
        (by_header_link, {"type": "header_link"}, {}),
        (by_header_link, "header_link", {}),
        (by_header_cursor, {"type": "header_cursor", "cursor_key": "X-Next", "cursor_param": "cursor"}, {}),
        (
            in_body,
            {
                "type": "page_number",
                "base_page": 0,
                "total_path": "pages",
                "page_body_path": "page",
                "page_param": "",
            },
            {"method": "POST", "json": {"size": 2}},
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_every_paginator(api: Api, tmp_path: Path, answer: Any, paginator: Any, more: dict[str, Any]) -> None:
    api.answer = answer
    table = {"path": "things", "data_selector": "items", "paginator": paginator, **more}
    assert rest.check(declare(declaration(api.url, {"things": table}), tmp_path)) == []
    assert records(run(rest.extract, declaration(api.url, {"things": table}), tmp_path)) == ALL


def test_an_api_that_ignores_the_page_is_noticed(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"items": PAGES[0], "pages": 1000})
    table = {
        "path": "things",
        "data_selector": "items",
        "paginator": {"type": "page_number", "total_path": "pages"},
    }
    assert "the same page again and again" in failure(
        run(rest.extract, declaration(api.url, {"things": table}), tmp_path)
    )
    assert len(api.requests) == 2


def test_nothing_is_an_empty_table(api: Api, tmp_path: Path) -> None:
    result = run(rest.extract, declaration(api.url, {"things": {"path": "things"}}), tmp_path)
    assert records(result) == []


def test_many_pages_are_landed_once_each(api: Api, tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        page = int(request.query["page"])
        return Answer(
            {"items": [{"id": page * 1000 + i, "text": "ä" * 20} for i in range(1000)], "pages": 45}
        )

    api.answer = answer
    table = {
        "path": "things",
        "data_selector": "items",
        "paginator": {"type": "page_number", "base_page": 0, "total_path": "pages"},
    }
    result = run(rest.extract, declaration(api.url, {"things": table}), tmp_path)
    assert sorted(r["id"] for r in records(result)) == list(range(45_000))
    assert result.read == {"things": 45_000}


# -- numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [
        "0.1", "1.5e3", "12345678901234567890", "123456789012345678901234567890", "-9223372036854775809",
        "0.12345678901234567890123", "1234567890.12345678901", "1e400", "-1.5E-400", "0.30000000000000004",
        "9007199254740993", "100000000000000000000.01",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_number_is_never_altered(api: Api, tmp_path: Path, number: str, kind: str) -> None:
    body = f'[{{"id": 1, "v": {number}, "w": {{"deep": [{number}, "{number}"]}}}}]'.encode()
    api.answer = lambda _: Answer(body, headers={"Content-Type": kind})
    result = run(rest.extract, declaration(api.url, {"things": {"path": "things"}}), tmp_path)
    text = result.rows["things"][0]["_record"]
    parsed = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert parsed["v"] == Decimal(number)
    assert parsed["w"]["deep"] == [Decimal(number), number]


def test_ordinary_pages_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("slow"))
    for text in [
        '[{"a": 0.30000000000000004, "b": "12345678901234567890123", "c": 1e5, "d": 1234567890123456789}]',
        '[{"id": "3e0e0e1e-00e1-4e00-8000-000000000000", "at": "2026-09-30T12:34:56.123456789Z"}]',
    ]:
        assert exact_json.loads(text.encode()) == orjson.loads(text)


# -- children --------------------------------------------------------------------------------------------


def shop(request: Request) -> Answer:
    orders: list[dict[str, Any]] = [
        {"id": 1, "updated": 10, "name": "a"},
        {"id": 2, "updated": 20, "name": "b"},
    ]
    if request.path == "/orders":
        since = int(request.query.get("since", 0))
        return Answer([o for o in orders if o["updated"] >= since])
    if request.path.startswith("/orders/"):
        order = int(request.path.split("/")[2])
        return Answer([{"line": 1, "sku": f"s{order}"}, {"line": 2, "sku": "x"}])
    return Answer([{"note": request.query["order"]}])


FAMILY: dict[str, dict[str, Any]] = {
    "lines": {
        "primary_key": ["_orders_id", "line"],
        "include_from_parent": ["id"],
        "endpoint": {
            "path": "orders/{order_id}/lines",
            "params": {"order_id": {"type": "resolve", "resource": "orders", "field": "id"}},
        },
    },
    "orders": {
        "primary_key": "id",
        "endpoint": {
            "path": "orders",
            "data_selector": "$",
            "params": {"since": "{incremental.start_value}"},
            "incremental": {"cursor_path": "updated", "initial_value": 0},
        },
    },
    "notes": {
        "primary_key": "note",
        "endpoint": {"path": "notes", "params": {"order": "{resources.orders.name}"}},
    },
}


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


# -- cursors ---------------------------------------------------------------------------------------------

STORE = [{"id": n, "updated": f"2026-09-{n:02} 00:00:00Z"} for n in range(1, 6)]


def since(request: Request) -> Answer:
    begin = request.query.get("since", "")
    return Answer([row for row in STORE if str(row["updated"]) >= begin])


@pytest.mark.parametrize(
    "endpoint",
    [
        {
            "path": "things",
            "params": {"since": "{incremental.start_value}"},
            "incremental": {"cursor_path": "updated", "initial_value": "2026-09-02 00:00:00Z"},
        },
        {
            "path": "things",
            "incremental": {
                "cursor_path": "updated",
                "initial_value": "2026-09-02 00:00:00Z",
                "start_param": "since",
            },
        },
        {
            "path": "things",
            "params": {
                "since": {
                    "type": "incremental",
                    "cursor_path": "updated",
                    "initial_value": "2026-09-02 00:00:00Z",
                }
            },
        },
    ],
    ids=["placeholder", "start_param", "param"],
)
def test_a_cursor_goes_on_at_its_last_value_included(
    api: Api, tmp_path: Path, endpoint: dict[str, Any]
) -> None:
    api.answer = since
    tables = {"things": {"primary_key": "id", "endpoint": endpoint}}
    assert rest.check(declare(declaration(api.url, tables), tmp_path)) == []
    assert [r["id"] for r in records(run(rest.extract, declaration(api.url, tables), tmp_path))] == [
        2,
        3,
        4,
        5,
    ]
    # rows that share the last value come again, for one of them may have been late
    second = run(rest.extract, declaration(api.url, tables), tmp_path)
    assert [r["id"] for r in records(second)] == [5]
    assert api.requests[-1].query["since"] == "2026-09-05 00:00:00Z"
    refused = run(rest.extract, declaration(api.url, tables), tmp_path, full_refresh=True)
    assert [r["id"] for r in records(refused)] == [2, 3, 4, 5]


def test_a_load_that_breaks_off_leaves_the_cursor(api: Api, tmp_path: Path) -> None:
    table = {
        "path": "things",
        "data_selector": "items",
        "paginator": {"type": "page_number", "base_page": 0, "total_path": "pages"},
        "incremental": {"cursor_path": "id", "initial_value": 0},
    }
    tables = {"things": {"primary_key": "id", "endpoint": table}}

    def broken(request: Request) -> Answer:
        page = int(request.query["page"])
        return Answer({"items": PAGES[page], "pages": 3}) if page < 2 else Answer({}, 403)

    api.answer = broken
    assert "answered 403" in failure(run(rest.extract, declaration(api.url, tables), tmp_path))
    api.answer = lambda request: Answer({"items": PAGES[int(request.query["page"])], "pages": 3})
    assert len(records(run(rest.extract, declaration(api.url, tables), tmp_path))) == 5


def test_a_window_reads_a_range_and_leaves_the_cursor(api: Api, tmp_path: Path) -> None:
    api.answer = since
    endpoint = {
        "path": "things",
        "params": {"since": "{incremental.start_value}"},
        "incremental": {"cursor_path": "updated", "initial_value": "2026-09-01 00:00:00Z"},
    }
    source = declaration(api.url, {"things": {"primary_key": "id", "endpoint": endpoint}})
    run(rest.extract, source, tmp_path)
    window = run(rest.extract, source, tmp_path, window=("2026-09-02", "2026-09-04 00:00:00Z"))
    assert [r["id"] for r in records(window)] == [2, 3]
    open_end = run(rest.extract, source, tmp_path, window=("2026-09-04", None))
    assert [r["id"] for r in records(open_end)] == [4, 5]
    assert [r["id"] for r in records(run(rest.extract, source, tmp_path))] == [5]


@pytest.mark.parametrize("has_key", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        # an API that leaves out a fraction of zero, and one that tells times in several zones
        ["2026-09-01T00:00:00Z", "2026-09-01T00:00:00.5Z", "2026-09-01T00:00:01Z", "2026-09-01T00:00:01.25Z"],
        [
            "2026-09-01T02:00:00+02:00",
            "2026-09-01T00:30:00Z",
            "2026-08-31T20:31:00-04:00",
            "2026-09-01 00:32",
        ],
        ["9", "10", "101"],
        ["b", "c", "ca"],
    ],
    ids=["fractions", "zones", "numbers", "texts"],
)
def test_a_cursor_rises_by_what_its_texts_mean(
    api: Api, tmp_path: Path, values: list[str], has_key: bool
) -> None:
    rows: list[dict[str, Any]] = []
    api.answer = lambda request: Answer(rows)
    endpoint = {
        "path": "things",
        "data_selector": "$",
        "incremental": {"cursor_path": "at", "initial_value": values[0], "start_param": "since"},
    }
    source = declaration(
        api.url, {"things": {"endpoint": endpoint, **({"primary_key": "id"} if has_key else {})}}
    )
    for number, value in enumerate(values):
        rows.append({"id": number, "at": value})
        read = [row["id"] for row in records(run(rest.extract, source, tmp_path))]
        assert number in read
        assert len(read) <= 2  # those at the last value may come again, those before it not
        assert number == 0 or api.requests[-1].query["since"] == values[number - 1]
    if has_key:
        window = run(rest.extract, source, tmp_path, window=(values[1], values[2]))
        assert [row["id"] for row in records(window)] == [1]


def test_a_lag_steps_back_from_the_latest_time(api: Api, tmp_path: Path) -> None:
    api.answer = lambda request: Answer(
        [{"id": 1, "at": "2026-09-01T00:00:20.5Z"}, {"id": 2, "at": "2026-09-01T00:00:20Z"}]
    )
    endpoint = {
        "path": "things",
        "data_selector": "$",
        "incremental": {
            "cursor_path": "at", "initial_value": "2026-09-01T00:00:00Z", "start_param": "since", "lag": 10
        },
    }  # fmt: skip
    source = declaration(api.url, {"things": {"endpoint": endpoint, "primary_key": "id"}})
    for _ in range(2):
        assert len(records(run(rest.extract, source, tmp_path))) == 2
    assert api.requests[-1].query["since"].startswith("2026-09-01T00:00:10.5")


def test_records_without_a_cursor_need_a_key(api: Api, tmp_path: Path) -> None:
    incremental = {"cursor_path": "at", "initial_value": 0, "on_cursor_value_missing": "include"}
    endpoint = {"path": "things", "incremental": incremental}
    problems = rest.check(declare(declaration(api.url, {"things": endpoint}), tmp_path))
    assert "needs a primary_key to know them by" in problems[0][1]


def test_events_without_a_key_come_once(api: Api, tmp_path: Path) -> None:
    rows = [{"at": 1, "what": "a"}, {"at": 2, "what": "b"}]
    api.answer = lambda request: Answer([r for r in rows if int(str(r["at"])) >= int(request.query["since"])])
    endpoint = {
        "path": "things",
        "data_selector": "$",
        "incremental": {"cursor_path": "at", "initial_value": 0, "start_param": "since"},
    }
    source = declaration(api.url, {"things": endpoint})
    assert len(records(run(rest.extract, source, tmp_path))) == 2
    rows.append({"at": 2, "what": "late"})
    assert records(run(rest.extract, source, tmp_path)) == [{"at": 2, "what": "late"}]


# -- records that move while they are read ---------------------------------------------------------------


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


# -- credentials -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "accepts"),
    [
        (
            {"type": "bearer", "token": "${api.token}"},
            lambda r: r.headers.get("authorization") == f"Bearer {SECRET}",
        ),
        (
            {"type": "api_key", "name": "X-Key", "api_key": "${api.api_key}", "location": "header"},
            lambda r: r.headers.get("x-key") == SECRET,
        ),
        (
            {"type": "api_key", "name": "key", "api_key": "${api.api_key}", "location": "query"},
            lambda r: r.query.get("key") == SECRET,
        ),
        (
            {"type": "http_basic", "username": "${api.username}", "password": "${api.password}"},
            lambda r: (
                r.headers.get("authorization") == "Basic " + base64.b64encode(b"reader:pa$$word-{1}").decode()
            ),
        ),
    ],
    ids=["bearer", "api key in header", "api key in query", "basic"],
)
def test_auth(api: Api, tmp_path: Path, auth: dict[str, Any], accepts: Callable[[Request], bool]) -> None:
    def answer(request: Request) -> Answer:
        # an API that repeats what it was sent must not bring it into our log
        return (
            Answer(ALL)
            if accepts(request)
            else Answer({"sent": str(request.headers), "q": request.query}, 401)
        )

    api.answer = answer
    source = declaration(api.url, {"things": {"path": "things"}}, {"auth": auth})
    assert rest.check(declare(source, tmp_path)) == []
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
    wrong = {
        "api": {
            "token": "wr0ng-token",
            "username": "reader",
            "password": "wr0ng-word",
            "api_key": "wr0ng-key",
        }
    }
    refused = run(rest.extract, source, tmp_path, values=wrong)
    assert isinstance(refused.errors["things"], ConnectionError)
    assert "answered 401" in failure(refused)
    assert "The credentials were refused" in failure(refused)
    assert "wr0ng" not in failure(refused)
    assert base64.b64encode(b"reader:wr0ng-word").decode() not in failure(refused)


class Tokens:
    """An API whose tokens serve for a number of requests."""

    def __init__(self, uses: int, jwt_seconds: float | None = None, page_seconds: float = 0) -> None:
        self.uses = uses
        self.page_seconds = page_seconds
        self.jwt_seconds = jwt_seconds
        self.logins: list[Request] = []
        self.valid: dict[str, int] = {}

    def __call__(self, request: Request) -> Answer:
        if request.path in ("/login", "/oauth/token"):
            self.logins.append(request)
            token = f"t0ken-{len(self.logins)}"
            if self.jwt_seconds is not None:
                now = time.time()
                claims = json.dumps(
                    {"iat": now, "exp": now + self.jwt_seconds, "n": len(self.logins)}
                ).encode()
                token = f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"
            self.valid = {token: self.uses}
            return Answer({"data": {"token": token}, "access_token": token, "expires_in": 3600})
        token = request.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("Token ")
        left = self.valid.get(token, 0)
        if left == 0:
            return Answer({"message": f"{token} expired"}, 401)
        self.valid[token] = left - 1
        time.sleep(self.page_seconds)
        return by_page(request)


LOGIN = {
    "type": "login",
    "path": "login",
    "body": {"identity": "${api.username}", "password": "${api.password}"},
    "token_path": "data.token",
}
PAGED = {
    "path": "things",
    "data_selector": "items",
    "paginator": {"type": "page_number", "base_page": 1, "total_path": "pages"},
}


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        (LOGIN, b'{"identity": "reader", "password": "pa$$word-{1}"}'),
        ({**LOGIN, "scheme": ""}, b'{"identity": "reader", "password": "pa$$word-{1}"}'),
        (
            {
                **{k: v for k, v in LOGIN.items() if k != "body"},
                "scheme": "Token",
                "form": {"p": "${api.password}"},
            },
            b"p=pa%24%24word-%7B1%7D",
        ),
        (
            {
                "type": "oauth2_client_credentials",
                "access_token_url": "URL/oauth/token",
                "client_id": "${api.username}",
                "client_secret": "${api.password}",
            },
            b"client_id=reader&client_secret=pa%24%24word-%7B1%7D&grant_type=client_credentials",
        ),
    ],
    ids=["json", "bare token", "form", "oauth2"],
)
def test_a_token_that_expires_between_pages_is_renewed_once(
    api: Api, tmp_path: Path, auth: dict[str, Any], sent: bytes
) -> None:
    api.answer = tokens = Tokens(uses=2)
    auth = {k: v.replace("URL", api.url) if isinstance(v, str) else v for k, v in auth.items()}
    source = declaration(api.url, {"things": PAGED}, {"auth": auth})
    assert rest.check(declare(source, tmp_path)) == []
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
    assert [login.body for login in tokens.logins] == [sent, sent]
    assert [r.query["page"] for r in api.requests if r.path == "/things"] == ["1", "2", "3", "3"]


def test_a_token_that_says_when_it_ends_is_renewed_before(api: Api, tmp_path: Path) -> None:
    """PocketBase answers an expired token with an empty list, so waiting for a 401 would lose records."""
    api.answer = tokens = Tokens(uses=99, jwt_seconds=0.01, page_seconds=0.02)
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
    assert len(tokens.logins) >= 3


def test_a_token_that_is_refused_at_once_fails_without_a_loop(api: Api, tmp_path: Path) -> None:
    api.answer = tokens = Tokens(uses=0)
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    result = run(rest.extract, source, tmp_path, values=SECRETS)
    assert isinstance(result.errors["things"], ConnectionError)
    assert "answered 401" in failure(result)
    assert "t0ken" not in failure(result)
    assert len(tokens.logins) == 2


def test_a_refused_login_is_told_from_a_refused_page(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"message": "Failed to authenticate."}, 400)
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    text = failure(run(rest.extract, source, tmp_path, values=SECRETS))
    assert "POST" in text
    assert "/login answered 400" in text
    assert "the login was refused" in text


class Blind:
    """An API that shows nothing to a token that has ended, instead of refusing it, as PocketBase does."""

    def __init__(self, uses: int, rows: list[dict[str, int]]) -> None:
        self.uses = uses
        self.rows = rows
        self.logins = 0

    def __call__(self, request: Request) -> Answer:
        if request.path == "/login":
            self.logins += 1
            return Answer({"data": {"token": f"t0ken-{self.logins}"}})
        dead = request.headers["authorization"] == "Bearer t0ken-1" and self.uses == 0
        self.uses -= 1 if self.uses else 0
        at = 2 * int(request.query["page"])
        return Answer({"items": [] if dead else self.rows[at : at + 2]})


@pytest.mark.parametrize("uses", [0, 1, 2])
def test_an_empty_page_is_believed_only_with_a_new_token(api: Api, tmp_path: Path, uses: int) -> None:
    api.answer = Blind(uses, ALL)
    uncounted = {"type": "page_number", "base_page": 0, "total_path": None}
    table = {"path": "things", "data_selector": "items", "paginator": uncounted}
    source = declaration(api.url, {"things": table}, {"auth": LOGIN})
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL


def test_a_table_without_records_is_one(api: Api, tmp_path: Path) -> None:
    api.answer = blind = Blind(99, [])
    uncounted = {"type": "page_number", "base_page": 0, "total_path": None}
    table = {"path": "things", "data_selector": "items", "paginator": uncounted}
    source = declaration(api.url, {"things": table}, {"auth": LOGIN})
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == []
    assert blind.logins == 2


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "bearer", "token": "${api.token}"}, "authorization"),
        ({"type": "api_key", "name": "X-Key", "api_key": "${api.api_key}", "location": "header"}, "x-key"),
        (
            {"type": "http_basic", "username": "${api.username}", "password": "${api.password}"},
            "authorization",
        ),
        ({**LOGIN, "header": "X-Session", "scheme": ""}, "x-session"),
    ],
    ids=["bearer", "api key", "basic", "login"],
)
def test_a_redirect_to_another_host_takes_no_credentials_along(
    api: Api, tmp_path: Path, auth: dict[str, Any], header: str
) -> None:
    other = Api()
    try:
        other.answer = lambda _: Answer(ALL)

        def answer(request: Request) -> Answer:
            if request.path == "/login":
                return Answer({"data": {"token": "t0ken-of-the-login"}})
            assert header in request.headers
            return Answer({}, 307, {"Location": f"{other.url}/elsewhere"})

        api.answer = answer
        source = declaration(api.url, {"things": {"path": "things"}}, {"auth": auth})
        assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
        (request,) = other.requests
        assert header not in request.headers
        assert SECRET not in str(request.headers)
    finally:
        other.server.shutdown()
        other.server.server_close()


def test_a_login_is_not_sent_on_to_another_host(api: Api, tmp_path: Path) -> None:
    other = Api()
    try:
        api.answer = lambda _: Answer({}, 307, {"Location": f"{other.url}/login"})
        source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
        text = failure(run(rest.extract, source, tmp_path, values=SECRETS))
        assert "the server sends this request on to another host" in text
        assert not other.requests
    finally:
        other.server.shutdown()
        other.server.server_close()


def test_a_failing_redirect_is_tried_no_more_often_than_any_other_request(api: Api, tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        if request.path == "/things":
            return Answer({}, 302, {"Location": f"{api.url}/elsewhere"})
        return Answer({}, 503)

    api.answer = answer
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "answered 503" in text
    assert len(api.requests) == 2 * rest_http.ATTEMPTS


def test_a_login_without_a_token_is_named(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"welcome": True})
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    assert "has no token at data.token" in failure(run(rest.extract, source, tmp_path, values=SECRETS))


def test_a_missing_secret_says_where_it_may_be_set(api: Api, tmp_path: Path) -> None:
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    assert "CONNECTIONS__API__USERNAME" in failure(run(rest.extract, source, tmp_path))


# -- networks --------------------------------------------------------------------------------------------


def flaky(trouble: Callable[[int], Answer | None]) -> Callable[[Request], Answer]:
    """Pages of `by_page`, each preceded by what `trouble` answers to the n-th request."""
    count = 0

    def answer(request: Request) -> Answer:
        nonlocal count
        count += 1
        return trouble(count) or by_page(request)

    return answer


WHOLE = json.dumps({"items": PAGES[0], "pages": 3}).encode()


@pytest.mark.parametrize(
    "trouble",
    [
        Answer({}, 503),
        Answer({}, 500),
        Answer({}, 429),
        Answer({}, 408),
        Answer({}, 429, {"Retry-After": "0"}),
        Answer(raw=b""),
        Answer(
            raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            + WHOLE[:9]
        ),
        Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + WHOLE[:9]),
        Answer(
            raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"
            + WHOLE
        ),
        Answer(b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=[
        "503",
        "500",
        "429",
        "408",
        "retry-after 0",
        "reset",
        "cut off",
        "cut off, no length",
        "chunks",
        "bad gzip",
    ],
)
def test_what_passes_is_tried_again(api: Api, tmp_path: Path, trouble: Answer) -> None:
    api.answer = flaky(lambda n: trouble if n % 3 else None)
    assert records(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path)) == ALL


@pytest.mark.parametrize("body", [{"error": {"code": 17}}, {"errors": ["shard 3 is away"], "items": []}])
def test_an_error_with_status_200_is_no_end_of_the_pages(
    api: Api, tmp_path: Path, body: dict[str, Any]
) -> None:
    api.answer = lambda request: Answer(body) if request.query.get("after") else by_cursor(request)
    table = {
        "path": "things",
        "data_selector": "items",
        "paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "after"},
    }
    text = failure(run(rest.extract, declaration(api.url, {"things": table}), tmp_path))
    assert "the answer says there was an error, with status 200" in text


def test_a_gateways_page_is_tried_again(api: Api, tmp_path: Path) -> None:
    page = Answer(b"<html>back soon</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    api.answer = flaky(lambda n: page if n % 3 else None)
    assert records(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path)) == ALL


def test_retries_end_and_are_counted(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"detail": "maintenance"}, 503)
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "answered 503 Service Unavailable after 6 tries" in text
    assert "maintenance" in text
    assert "load again later" in text
    assert len(api.requests) == rest_http.ATTEMPTS


def test_an_own_mistake_is_not_tried_again(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"message": "unknown filter"}, 400)
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "answered 400" in text
    assert "unknown filter" in text
    assert len(api.requests) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(api: Api, tmp_path: Path, form: str) -> None:
    asked: list[float] = []

    def answer(request: Request) -> Answer:
        asked.append(time.time())
        # an HTTP date has whole seconds, so the wait it asks for is between one and two
        value = "1" if form == "seconds" else formatdate(int(time.time()) + 2, usegmt=True)
        return Answer({}, 429, {"Retry-After": value}) if len(asked) == 1 else by_page(request)

    api.answer = answer
    assert records(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path)) == ALL
    assert 1.0 <= asked[1] - asked[0] < 5


def test_a_server_that_asks_for_too_much_patience_is_left_alone(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({}, 429, {"Retry-After": "86400"})
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "asks to wait 86400 seconds" in text
    assert len(api.requests) == 1


def test_a_timeout_is_told(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_http, "TIMEOUT_SECONDS", (0.2, 0.05))
    monkeypatch.setattr(rest_http, "ATTEMPTS", 2)

    def answer(request: Request) -> Answer:
        time.sleep(0.3)
        return by_page(request)

    api.answer = answer
    result = run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path)
    assert isinstance(result.errors["things"], ConnectionError)
    assert "was not answered in time after 2 tries" in failure(result)


def test_a_server_that_does_not_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    result = run(rest.extract, declaration("http://127.0.0.1:9", {"things": PAGED}), tmp_path)
    assert "no connection after 6 tries. Check client.base_url" in failure(result)


def test_an_answer_that_is_no_json_is_told(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer(b"<html>login</html>", headers={"Content-Type": "text/html"})
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "is not whole JSON" in text


def test_a_secret_in_the_url_is_never_shown(api: Api, tmp_path: Path) -> None:
    api.answer = lambda request: Answer({"url": request.query}, 404)
    source = declaration(
        api.url, {"things": {"path": "things/${api.token}", "params": {"page": 7, "q": "a ${api.token}"}}}
    )
    text = failure(run(rest.extract, source, tmp_path, values=SECRETS))
    assert SECRET not in text
    assert "/things/***?page=7&q=***" in text


def test_braces_in_a_secret_are_no_placeholder(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer(ALL)
    table = {
        "path": "things",
        "params": {"word": "${api.password}"},
        "headers": {"X-Word": "${api.password}"},
    }
    source = declaration(api.url, {"things": table})
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
    assert api.requests[0].query["word"] == api.requests[0].headers["x-word"] == "pa$$word-{1}"


def test_a_response_may_be_ignored(api: Api, tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        return Answer({"message": "gone"}, 404) if request.path == "/orders/2/lines" else shop(request)

    api.answer = answer
    lines = FAMILY["lines"]
    lines = {
        **lines,
        "endpoint": {**lines["endpoint"], "response_actions": [{"status_code": 404, "action": "ignore"}]},
    }
    tables = {**FAMILY, "lines": lines}
    assert rest.check(declare(declaration(api.url, tables), tmp_path)) == []
    assert len(records(run(rest.extract, declaration(api.url, tables), tmp_path), "lines")) == 2


# -- the check -------------------------------------------------------------------------------------------

ENDPOINT = ["tables", 0, "config", "meta", "load", "endpoint"]
CLIENT = ["config", "meta", "load", "client"]


@pytest.mark.parametrize(
    ("table", "client", "path", "message"),
    [
        ({"pth": "x"}, {}, [*ENDPOINT, "pth"], "is not a key here; allowed are auth, data"),
        (
            {"path": "x", "paginator": "pages"},
            {},
            [*ENDPOINT, "paginator"],
            "is 'pages'; allowed are auto, cursor",
        ),
        (
            {"path": "x", "paginator": {"type": "page_number", "page_parm": "p"}},
            {},
            [*ENDPOINT, "paginator", "page_parm"],
            "Is it page_param?",
        ),
        ({"path": "x", "paginator": {"type": "offset"}}, {}, [*ENDPOINT, "paginator"], "does not work"),
        (
            {"path": "x", "paginator": {"type": "page_number", "base_page": "1"}},
            {},
            [*ENDPOINT, "paginator", "base_page"],
            "is '1'; it has to be a whole number",
        ),
        ({"path": 5}, {}, [*ENDPOINT, "path"], "is 5; it has to be a text"),
        ({"path": "x", "method": "FETCH"}, {}, [*ENDPOINT, "method"], "one of GET, POST"),
        ({"path": "x", "data_selector": "a[["}, {}, [*ENDPOINT, "data_selector"], "is not a JSON path"),
        (
            {"path": "x", "params": {"since": {"type": "increment"}}},
            {},
            [*ENDPOINT, "params", "since"],
            "allowed are resolve",
        ),
        (
            {"path": "x", "incremental": {"cursor": "u"}},
            {},
            [*ENDPOINT, "incremental", "cursor"],
            "Is it cursor_path?",
        ),
        (
            {"path": "x", "incremental": {"cursor_path": "u", "lag": 60}},
            {},
            ENDPOINT[:-1],
            "needs a primary_key",
        ),
        ({"path": "x/{id}"}, {}, ENDPOINT, "requires a param named 'id'"),
        ({"path": "x/{resources.nobody.id}"}, {}, ENDPOINT, "nobody"),
        ({"path": "x"}, {"base_url": None}, [*CLIENT, "base_url"], "it has to be a text"),
        (
            {"path": "x"},
            {"auth": {"type": "basic"}},
            [*CLIENT, "auth", "type"],
            "allowed are api_key, bearer, http_basic",
        ),
        ({"path": "x"}, {"auth": {"type": "bearer"}}, [*CLIENT, "auth"], "auth bearer needs token"),
        (
            {"path": "x"},
            {"auth": {"type": "login", "path": "l"}},
            [*CLIENT, "auth"],
            "auth login needs token_path",
        ),
        (
            {"path": "x"},
            {"auth": {"type": "login", "token_path": "t"}},
            [*CLIENT, "auth"],
            "needs either path",
        ),
        (
            {"path": "x"},
            {"session": "s"},
            [*CLIENT, "session"],
            "is not a key here; allowed are auth, base_url",
        ),
    ],
)
def test_the_check_says_which_key_is_wrong(
    tmp_path: Path, table: dict[str, Any], client: dict[str, Any], path: list[Any], message: str
) -> None:
    found = rest.check(declare(declaration("http://127.0.0.1", {"things": table}, client), tmp_path))
    assert found[0][0] == path, found
    assert message in found[0][1]


def test_children_of_an_incremental_parent_need_a_key(api: Api, tmp_path: Path) -> None:
    api.answer = shop
    tables = {**FAMILY, "lines": {k: v for k, v in FAMILY["lines"].items() if k != "primary_key"}}
    source = declare(declaration(api.url, tables), tmp_path)
    (problem,) = rest.problems(source)
    why = "reads only what is new in orders, so it needs a primary_key by which new records replace old ones"
    assert (problem.where, problem.message) == ("api.lines", why)
    assert source.file.read_text().splitlines()[problem.line - 1].strip() == "load:"
    assert why in failure(run(rest.extract, declaration(api.url, tables), tmp_path), "lines")


# -- PocketBase ------------------------------------------------------------------------------------------


def pocketbase_call(server: PocketBase, method: str, path: str, body: Any, token: str = "") -> Any:
    request = urllib.request.Request(
        server.base_url + path,
        json.dumps(body).encode(),
        method=method,
        headers={"Content-Type": "application/json", "Authorization": token},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read() or b"null")


def test_pocketbase_by_login_page_and_cursor(pocketbase: PocketBase, tmp_path: Path) -> None:
    login = {"identity": pocketbase.admin["username"], "password": pocketbase.admin["password"]}
    token = pocketbase_call(pocketbase, "POST", "/api/collections/_superusers/auth-with-password", login)[
        "token"
    ]
    rule = "@request.auth.id != ''"
    fields = [
        {"name": "number", "type": "number"},
        {"name": "lines", "type": "json"},
        {"name": "changed", "type": "text"},
    ]
    made = {"name": "rest_orders", "type": "base", "listRule": rule, "viewRule": rule, "fields": fields}
    pocketbase_call(pocketbase, "POST", "/api/collections", made, token)

    def put(first: int, last: int) -> None:
        requests = [
            {
                "method": "POST",
                "url": "/api/collections/rest_orders/records",
                "body": {"number": n, "lines": [{"sku": f"s{n}", "price": 9.99}], "changed": f"2026-{n:05}"},
            }
            for n in range(first, last)
        ]
        pocketbase_call(pocketbase, "POST", "/api/batch", {"requests": requests}, token)

    put(0, 120)
    source = declaration(
        "${pb.base_url}",
        {
            "orders": {
                "primary_key": "id",
                "endpoint": {
                    "path": "/api/collections/rest_orders/records",
                    "data_selector": "items",
                    "params": {
                        "perPage": 50,
                        "sort": "changed,id",
                        "filter": "changed >= '{incremental.start_value}'",
                    },
                    "incremental": {"cursor_path": "changed", "initial_value": "0"},
                },
            }
        },
        {
            "auth": {
                "type": "login",
                "path": "/api/collections/users/auth-with-password",
                "body": {"identity": "${pb.username}", "password": "${pb.password}"},
                "token_path": "token",
            },
            "paginator": {
                "type": "page_number",
                "base_page": 1,
                "page_param": "page",
                "total_path": "totalPages",
            },
        },
    )
    values = {"pb": pocketbase.loader}
    first = run(rest.extract, source, tmp_path, values=values)
    assert sorted(r["number"] for r in records(first, "orders")) == list(range(120))
    assert records(first, "orders")[7]["lines"] == [{"sku": "s7", "price": 9.99}]
    put(120, 125)
    second = run(rest.extract, source, tmp_path, values=values)
    assert sorted(r["number"] for r in records(second, "orders")) == [119, 120, 121, 122, 123, 124]
    wrong = run(
        rest.extract, source, tmp_path, values={"pb": {**pocketbase.loader, "password": "wr0ng-word"}}
    )
    assert "the login was refused" in failure(wrong, "orders")
    assert isinstance(wrong.errors["orders"], LoadError | ConnectionError)
    assert "wr0ng-word" not in failure(wrong, "orders")
