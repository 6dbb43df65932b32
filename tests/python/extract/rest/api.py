"""A small server that does what PocketBase cannot, and declarations of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.python.extract.rig import Result

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


def by_page(request: Request) -> Answer:
    page = int(request.query.get("page", 1))
    return Answer({"items": PAGES[page - 1] if page <= 3 else [], "pages": 3, "more": page < 3})


def by_cursor(request: Request) -> Answer:
    page = int(request.query.get("after", "p0")[1:])
    return Answer({"items": PAGES[page], "next": f"p{page + 1}" if page < 2 else None})


PAGED = {
    "path": "things",
    "data_selector": "items",
    "paginator": {"type": "page_number", "base_page": 1, "total_path": "pages"},
}


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
