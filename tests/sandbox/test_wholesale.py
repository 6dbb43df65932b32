"""Wholesale's SaaS: records as of a date, readable after a login only."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sandbox import wholesale
from servers import PocketBase

EARLIER, LATER = dt.date(2026, 6, 30), dt.date(2026, 9, 30)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PocketBase]:
    """A service whose passwords begin with a dash, as one of 64 does."""
    made = secrets.token_urlsafe
    server = PocketBase(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "token_urlsafe", lambda size: f"-{made(size)}")
        server.start()
    yield server
    server.stop()


def call(server: PocketBase, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
    headers = {"Content-Type": "application/json", "Authorization": token}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(server.base_url + path, data, headers)) as response:
        return json.load(response)


def token_of_loader(server: PocketBase) -> str:
    login = {"identity": server.loader["username"], "password": server.loader["password"]}
    token: str = call(server, "/api/collections/users/auth-with-password", login)["token"]
    return token


def read(server: PocketBase, collection: str) -> list[dict[str, Any]]:
    path = f"/api/collections/{collection}/records?perPage=500&sort=id"
    found = call(server, path, token=token_of_loader(server))
    assert found["totalPages"] <= 1
    items: list[dict[str, Any]] = found["items"]
    return items


def test_an_advanced_service_equals_a_fresh_one(
    small_world: duckdb.DuckDBPyConnection, pocketbase: PocketBase, fresh: PocketBase
) -> None:
    wholesale.write(small_world, pocketbase.admin, date=EARLIER, previous=None)
    changed = wholesale.write(small_world, pocketbase.admin, date=LATER, previous=EARLIER)
    counts = wholesale.write(small_world, fresh.admin, date=LATER, previous=None)
    assert 0 < changed["invoices"] < counts["invoices"]
    for collection, count in counts.items():
        found = read(pocketbase, collection)
        assert len(found) == count
        assert found == read(fresh, collection)
    nothing = {"accounts": 0, "invoices": 0}
    assert wholesale.write(small_world, fresh.admin, date=LATER, previous=LATER) == nothing
    # writing all again, as after a crash, changes nothing
    before = read(fresh, "invoices")
    wholesale.write(small_world, fresh.admin, date=LATER, previous=None)
    assert read(fresh, "invoices") == before


def test_what_the_service_tells_is_what_was_written(
    small_world: duckdb.DuckDBPyConnection, fresh: PocketBase
) -> None:
    wholesale.write(small_world, fresh.admin, date=LATER, previous=None)
    for collection in ("accounts", "invoices"):
        written = wholesale.records(small_world, collection, date=LATER, previous=None)
        found = read(fresh, collection)
        for row in found:
            del row["collectionId"], row["collectionName"]
        assert found == sorted(written, key=lambda row: str(row["id"]))


def test_only_who_has_logged_in_reads_and_nobody_writes(
    small_world: duckdb.DuckDBPyConnection, fresh: PocketBase
) -> None:
    wholesale.write(small_world, fresh.admin, date=LATER, previous=None)
    assert call(fresh, "/api/collections/invoices/records")["totalItems"] == 0
    with pytest.raises(urllib.error.HTTPError, match="403"):
        call(fresh, "/api/collections/accounts/records", {"name": "x"}, token_of_loader(fresh))


def test_invoices_follow_their_life(small_world: duckdb.DuckDBPyConnection) -> None:
    invoices = wholesale.records(small_world, "invoices", date=LATER, previous=None)
    assert {invoice["status"] for invoice in invoices} <= {"open", "paid", "void"}
    assert all(bool(invoice["voided_on"]) == (invoice["status"] == "void") for invoice in invoices)
    assert all(invoice["updated"] < "2026-10-01" for invoice in invoices)
    numbers = {invoice["number"] for invoice in invoices}
    assert all(
        (invoice["credits"] in numbers) == (invoice["document_type"] == "credit_note") for invoice in invoices
    )
    assert all(invoice["lines"] for invoice in invoices)
