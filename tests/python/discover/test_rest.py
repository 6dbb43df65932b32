"""Web APIs: endpoints, records and pages are found by trying, and what is proposed loads every record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.discover.contract import DiscoveredTable
from sluice.discover.rest import discover_rest
from sluice.discover.run import find_target
from sluice.errors import ConnectionError, UsageError
from tests.python.discover.found import Found
from tests.python.extract.rest.api import SECRET, Answer, Api, Request
from tests.python.project import Project

ORDERS = [
    {"id": n, "customer": {"id": n % 5}, "total": n + 0.5, "updated_at": f"2026-01-{n:02}T00:00:00Z"}
    for n in range(1, 26)
]


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    yield server
    server.server.shutdown()
    server.server.server_close()


def slice_of(records: list[Any], begin: int, size: int) -> list[Any]:
    return records[begin : begin + size]


def by_page(request: Request) -> Answer:
    page, size = int(request.query.get("page", 1)), int(request.query.get("per_page", 10))
    return Answer(
        {"data": slice_of(ORDERS, (page - 1) * size, size), "meta": {"total_pages": 3, "total": 25}}
    )


def by_page_from_0(request: Request) -> Answer:
    return Answer({"content": slice_of(ORDERS, int(request.query.get("page", 0)) * 10, 10)})


def by_offset(request: Request) -> Answer:
    offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 10))
    return Answer({"items": slice_of(ORDERS, offset, limit), "count": 25})


def by_cursor(request: Request) -> Answer:
    begin = int(request.query.get("cursor", 0))
    following = begin + 10 if begin + 10 < 25 else None
    return Answer({"results": slice_of(ORDERS, begin, 10), "next_cursor": following and str(following)})


def by_link(request: Request) -> Answer:
    begin = int(request.query.get("from", 0))
    host = request.headers["host"]
    following = f"http://{host}{request.path}?from={begin + 10}" if begin + 10 < 25 else None
    return Answer({"value": slice_of(ORDERS, begin, 10), "@odata.nextLink": following})


def by_header(request: Request) -> Answer:
    begin = int(request.query.get("from", 0))
    link = f'<http://{request.headers["host"]}{request.path}?from={begin + 10}>; rel="next"'
    return Answer(slice_of(ORDERS, begin, 10), headers={"Link": link} if begin + 10 < 25 else {})


def by_last_id(request: Request) -> Answer:
    begin = int(request.query.get("starting_after", 0))
    return Answer({"has_more": begin + 10 < 25, "data": slice_of(ORDERS, begin, 10)})


def on_one_page(request: Request) -> Answer:
    return Answer(slice_of(ORDERS, 0, 7))


PAGINATORS: dict[str, tuple[Any, dict[str, Any] | None, str | None]] = {
    # how the server pages: paginator, path of the records
    "page": (by_page, {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": "meta.total_pages"}, "data"),
    "page_0": (by_page_from_0, {"type": "page_number", "base_page": 0, "page_param": "page", "total_path": None}, "content"),
    "offset": (by_offset, {"type": "offset", "limit": 10, "offset_param": "offset", "limit_param": "limit", "total_path": "count"}, "items"),
    "cursor": (by_cursor, {"type": "cursor", "cursor_path": "next_cursor", "cursor_param": "cursor"}, "results"),
    "last_id": (by_last_id, {"type": "cursor", "cursor_path": "data[-1].id", "cursor_param": "starting_after", "has_more_path": "has_more"}, "data"),
    "link": (by_link, {"type": "json_link", "next_url_path": "'@odata.nextLink'"}, "value"),
    "header": (by_header, {"type": "header_link", "links_next_key": "next"}, None),
    "one": (on_one_page, None, None),
}  # fmt: skip


def paginator_of(found: Found, table: DiscoveredTable) -> Any:
    return table.load["endpoint"].get("paginator") or found.source.load["client"].get("paginator")


RARE = ("page_0", "last_id", "one")
"""Ways to page that only the long suite tries."""


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.full) if way in RARE else way for way in PAGINATORS]
)
def test_pages_are_found_by_trying(tmp_path: Path, api: Api, way: str) -> None:
    answer, paginator, selector = PAGINATORS[way]
    api.answer = lambda request: answer(request) if request.path == "/v1/orders" else Answer({}, 404)
    found = Found(Project(tmp_path / "project"), discover_rest, f"{api.url}/v1/orders")
    assert len(api.requests) <= 15  # to read all few pages included
    table = found["orders"]
    assert paginator_of(found, table) == paginator
    assert table.load["endpoint"].get("data_selector") == selector
    assert table.load["endpoint"]["path"] == "orders"
    assert found.source.load["client"]["base_url"] == f"{api.url}/v1/"
    assert found.types("orders") == {
        "customer": "json",
        "id": "bigint",
        "total": "double",
        "updated_at": "timestamptz",
    }
    assert found.load() == {"orders": 7 if way == "one" else 25}


def test_a_part_is_not_taken_for_all(tmp_path: Path, api: Api) -> None:
    api.answer = lambda request: Answer({"data": ORDERS[:10], "total": 25})
    found = Found(Project(tmp_path / "project"), discover_rest, f"{api.url}/orders")
    assert "are there more than 10 records? The answer says so (total is 25)" in found.questions
    assert paginator_of(found, found["orders"]) is None
    assert found["orders"].rows == 25
    with pytest.raises(AssertionError, match="the answer says that there are more: total is 25"):
        found.load()


DOCUMENT = {
    "openapi": "3.0.0",
    "info": {"title": "Shop"},
    "servers": [{"url": "/v1"}],
    "security": [{"key": []}],
    "components": {
        "securitySchemes": {
            "oauth": {"type": "oauth2", "flows": {"implicit": {}}},
            "key": {"type": "http", "scheme": "bearer"},
        },
        "schemas": {
            "Order": {
                "type": "object",
                "required": ["id"],
                "properties": {
                    "id": {"type": "integer", "description": "Identifier of the order."},
                    "total": {"type": "number"},
                    "note": {"type": "string", "nullable": True},
                },
            },
            "Page": {
                "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}}}
            },
        },
    },
    "paths": {
        "/orders": {
            "get": {
                "summary": "Orders of customers.",
                "parameters": [
                    {"name": "page", "in": "query", "schema": {"type": "integer"}},
                    {"name": "updated_since", "in": "query", "schema": {"type": "string"}},
                    {"name": "shop", "in": "query", "required": True, "schema": {"enum": ["eu", "us"]}},
                ],
                "responses": {
                    "200": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Page"}}}
                    }
                },
            },
            "post": {},
        },
        "/orders/{order_id}": {"get": {"responses": {"200": {"description": "One."}}}},
        "/orders/{order_id}/lines": {"get": {"responses": {"200": {"description": "Lines."}}}},
        "/status": {
            "get": {
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {"schema": {"properties": {"ok": {"type": "boolean"}}}}
                        }
                    }
                }
            }
        },
        "/search": {"get": {"parameters": [{"name": "q", "in": "query", "required": True}]}},
    },
}


def shop(request: Request) -> Answer:
    """An API with a document, a token, a required parameter, an incremental one, and children."""
    if request.path == "/openapi.json":
        return Answer(DOCUMENT)
    if request.headers.get("authorization") != f"Bearer {SECRET}":
        return Answer({"message": "no"}, 401)
    if request.path == "/v1/orders" and request.query.get("shop") == "eu":
        since, page = request.query.get("updated_since", ""), int(request.query.get("page", 1))
        records = [order for order in ORDERS if str(order["updated_at"]) >= since]
        return Answer({"data": slice_of(records, (page - 1) * 10, 10)})
    if request.path.endswith("/lines"):
        order = request.path.split("/")[3]
        return Answer([{"line": line, "sku": f"A{order}"} for line in (1, 2)])
    return Answer({"message": "nothing here"}, 404)


def test_an_openapi_document_says_what_there_is(tmp_path: Path, api: Api) -> None:
    api.answer = shop
    project = Project(tmp_path / "project")
    project.connect("found", token=SECRET)
    found = Found(project, discover_rest, api.url)
    assert found.source.load["client"] == {
        "base_url": f"{api.url}/v1/",
        "auth": {"type": "bearer", "token": "${found.token}"},
    }
    orders = found["orders"]
    assert orders.comment == "Orders of customers."
    assert orders.load["endpoint"] == {
        "path": "orders",
        "data_selector": "data",
        "params": {"shop": "eu", "updated_since": "{incremental.start_value}"},
        "incremental": {"cursor_path": "updated_at", "initial_value": "2000-01-01T00:00:00Z"},
        "paginator": {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": None},
    }
    assert {c.name: c.comment for c in orders.columns}["id"] == "Identifier of the order."
    assert found.types("orders")["note"] == "text"  # which no record has
    lines = found["orders_lines"].load
    assert lines["include_from_parent"] == ["id"]
    assert lines["endpoint"]["params"] == {
        "order_id": {"type": "resolve", "resource": "orders", "field": "id"}
    }
    assert found.source.skipped["GET /status"] == "returns one object, not a list of records"
    assert "needs q" in found.source.skipped["GET /search"]
    assert SECRET not in repr(found.source)
    orders.load["primary_key"] = "id"  # which the keys' discovery proposes
    lines["primary_key"] = ["_orders_id", "line"]
    assert found.load() == {"orders": 25, "orders_lines": 50}


def test_without_credentials_the_document_is_all_there_is(tmp_path: Path, api: Api) -> None:
    api.answer = shop
    file = tmp_path / "project/api.yml"
    project = Project(tmp_path / "project")
    file.write_text(yaml.safe_dump({**DOCUMENT, "servers": [{"url": f"{api.url}/v1"}]}))
    found = Found(project, discover_rest, "api.yml")
    assert found.types("orders") == {"id": "bigint", "total": "double", "note": "text"}
    assert "no record was seen" in found.questions
    assert found["orders"].relation is None


def test_an_api_that_refuses_says_which_secret_to_set(tmp_path: Path, api: Api) -> None:
    api.answer = lambda request: Answer({"secret": "body"}, 401)
    with pytest.raises(ConnectionError, match="CONNECTIONS__FOUND__TOKEN") as error:
        Found(Project(tmp_path / "one"), discover_rest, api.url)
    assert "body" not in str(error.value)
    api.answer = lambda request: Answer({"orders": "/orders"}) if request.path == "/" else Answer({}, 401)
    with pytest.raises(ConnectionError, match="CONNECTIONS__FOUND__TOKEN"):
        Found(Project(tmp_path / "two"), discover_rest, api.url)


def test_a_document_that_is_made_of_itself(tmp_path: Path, api: Api) -> None:
    schema = {"allOf": [{"$ref": "#/components/schemas/Order"}], "properties": {"id": {"type": "integer"}}}
    operation = {
        "responses": {"200": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}}}}
    }
    day = {"name": "day", "in": "query", "required": True, "schema": {"example": "2026-01-01"}}
    document = {
        "swagger": "2.0",
        "host": api.url.removeprefix("http://"),
        "schemes": ["http"],
        "components": {"schemas": {"Order": schema}},
        "paths": {"/orders": {"get": {**operation, "parameters": [day]}}},
    }
    text = yaml.safe_dump(document).replace("'2026-01-01'", "2026-01-01")  # which YAML reads as a date
    api.answer = lambda request: (
        Answer(text.encode(), headers={"Content-Type": "application/yaml"})
        if request.path == "/swagger.json"
        else Answer(ORDERS[:2] if request.query.get("day") == "2026-01-01" else [])
    )
    found = Found(Project(tmp_path / "project"), discover_rest, f"{api.url}/swagger.json")
    assert found["orders"].load["endpoint"]["params"] == {"day": "2026-01-01"}
    assert found.load() == {"orders": 2}


def test_what_is_not_json_is_no_api(tmp_path: Path, api: Api) -> None:
    for content, kind in (
        (b"id,name\n1,x\n", "text/csv"),
        (b"<html>", "text/html"),
        (b"\x00\xff", "x/y"),
        (b"", ""),
    ):
        api.answer = lambda request, c=content, k=kind: (  # type: ignore[misc]
            Answer(c, headers={"Content-Type": k}) if request.path == "/a.csv" else Answer({}, 404)
        )
        with pytest.raises(UsageError, match="not over HTTP"):
            Found(Project(tmp_path / f"project{len(content)}"), discover_rest, f"{api.url}/a.csv")


@pytest.mark.parametrize(
    ("address", "name"),
    [("https://api.desk.example/v2/openapi.json", "desk"), ("http://localhost:8080/api", "localhost")],
)
def test_an_api_is_called_as_its_host(tmp_path: Path, address: str, name: str) -> None:
    target = find_target(address, Project(tmp_path / "project").settings)
    assert (target.name, target.kind) == (name, "rest")


def test_links_of_the_root_are_endpoints(tmp_path: Path, api: Api) -> None:
    def answer(request: Request) -> Answer:
        host = f"http://{request.headers['host']}"
        root = {"orders": f"{host}/api/orders", "_links": {"self": {"href": "/api/"}}, "version": "1"}
        pages = {"/api/": root, "/api": root, "/api/orders": ORDERS[:3]}
        return Answer(pages[request.path]) if request.path in pages else Answer({}, 404)

    api.answer = answer
    found = Found(Project(tmp_path / "project"), discover_rest, f"{api.url}/api")
    assert found.load() == {"orders": 3}


def test_addresses_with_secrets_and_those_without_an_answer(tmp_path: Path, api: Api) -> None:
    api.answer = lambda request: Answer(ORDERS[:2]) if "authorization" in request.headers else Answer({}, 401)
    host = api.url.removeprefix("http://")
    found = Found(Project(tmp_path / "one"), discover_rest, f"http://ann:{SECRET}@{host}/orders")
    assert found.source.connection == {"username": "ann", "password": SECRET}
    assert SECRET not in repr(found.source.load)
    assert found.source.load["client"]["auth"]["type"] == "http_basic"
    with pytest.raises(UsageError, match="without parameters") as error:
        Found(Project(tmp_path / "two"), discover_rest, f"{api.url}/orders?api_key={SECRET}")
    assert SECRET not in str(error.value)
    with pytest.raises(ConnectionError):
        Found(Project(tmp_path / "three"), discover_rest, "http://127.0.0.1:1/")
    (tmp_path / "three/x.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(UsageError, match="not an OpenAPI document"):
        Found(Project(tmp_path / "four"), discover_rest, str(tmp_path / "three/x.json"))
