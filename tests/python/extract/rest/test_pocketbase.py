"""Against PocketBase: login, pages and a cursor."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from servers import PocketBase
from sluice.errors import ConnectionError, LoadError
from sluice.extract import rest
from tests.python.extract.rest.api import (
    declaration,
    failure,
    records,
)
from tests.python.extract.rig import run


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
