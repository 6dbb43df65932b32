"""Loads of a real web API (PocketBase) through a proxy that breaks what a network breaks."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers import PocketBase
from sluice.extract import retries
from sluice.extract.rest import http as rest_http
from tests.python.network.cases import FAILS, PASSES, SAMPLE, Case
from tests.python.network.proxy import HttpProxy, answer
from tests.python.project import Outcome, Project

COLLECTION = "network_things"
RULE = "@request.auth.id != ''"
FIRST = {n: f"{n:05}" for n in range(120)}
"""What the source holds at first, and raw before a case begins: number, time of change."""
SECOND = {**FIRST, **{n: f"{n:05}" for n in range(120, 240)}, **{n: f"{500 + n:05}" for n in range(20)}}
"""What it holds when the case begins: 141 records at or above the highest time in raw, on four pages of 40."""

Rows = Counter[tuple[str, int, str, str]]


class World:
    """The server, a proxy before it, and a project that loads through the proxy."""

    def __init__(self, server: PocketBase) -> None:
        self.server = server
        self.admin = self.call(
            "POST",
            "/api/collections/_superusers/auth-with-password",
            {"identity": server.admin["username"], "password": server.admin["password"]},
        )["token"]
        fields = [
            {"name": "number", "type": "number"},
            {"name": "lines", "type": "json"},
            {"name": "changed", "type": "text"},
        ]
        for name in (COLLECTION, "network_calm"):
            made = {"name": name, "type": "base", "listRule": RULE, "viewRule": RULE, "fields": fields}
            self.call("POST", "/api/collections", made, self.admin)
        self.proxy: HttpProxy
        self.stranger: HttpProxy
        self.waits: list[float] = []
        self.comes_back_at: int | None = None
        """The wait in which the proxy takes connections again."""

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        request = urllib.request.Request(
            self.server.base_url + path,
            None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json", "Authorization": token},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")

    # -- the source ------------------------------------------------------------------------------------

    def holds(self, records: dict[int, str], collection: str = COLLECTION) -> None:
        """Make the collection hold exactly these records."""
        there = [row["id"] for row in self.listed(collection)]
        path = f"/api/collections/{collection}/records"
        wanted = [_record(number, changed) for number, changed in records.items()]
        gone = set(there) - {body["id"] for body in wanted}
        requests: list[dict[str, Any]] = [{"method": "DELETE", "url": f"{path}/{key}"} for key in gone]
        requests += [{"method": "PUT", "url": path, "body": body} for body in wanted]
        self.call("POST", "/api/batch", {"requests": requests}, self.admin)

    def put(self, number: int, changed: str) -> None:
        """Add or change one record."""
        request = {
            "method": "PUT",
            "url": f"/api/collections/{COLLECTION}/records",
            "body": _record(number, changed),
        }
        self.call("POST", "/api/batch", {"requests": [request]}, self.admin)

    def delete(self, *numbers: int) -> None:
        path = f"/api/collections/{COLLECTION}/records"
        requests = [{"method": "DELETE", "url": f"{path}/{_record(n, '')['id']}"} for n in numbers]
        self.call("POST", "/api/batch", {"requests": requests}, self.admin)

    def listed(self, collection: str = COLLECTION) -> list[dict[str, Any]]:
        """Its records, asked for at the server itself."""
        found = self.call(
            "GET", f"/api/collections/{collection}/records?perPage=1000&skipTotal=true", token=self.admin
        )
        items: list[dict[str, Any]] = found["items"]
        return items

    def end_all_tokens(self) -> None:
        """As PocketBase does when a password changes: the loader's tokens are worth nothing from now on."""
        (user,) = self.call("GET", "/api/collections/users/records", token=self.admin)["items"]
        key = f"{len(self.proxy.seen):050}"
        self.call("PATCH", f"/api/collections/users/records/{user['id']}", {"tokenKey": key}, self.admin)

    # -- the load --------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Stands for the wait before the next try."""
        self.waits.append(seconds)
        if len(self.waits) == self.comes_back_at:
            self.proxy.listen()

    def refuse_until_the_third_wait(self) -> None:
        self.comes_back_at = 3
        self.proxy.refuse()

    def connect(self, project: Project) -> None:
        project.connect("pb", **{**self.server.loader, "base_url": self.proxy.url})

    def differs(self, project: Project) -> tuple[Rows, Rows]:
        """What raw lacks of the server's records, and what it has too many."""
        there = Counter(
            (row["id"], int(row["number"]), row["changed"], json.dumps(row["lines"])) for row in self.listed()
        )
        raw = in_raw(project)
        return there - raw, raw - there


def _record(number: int, changed: str) -> dict[str, Any]:
    lines = [{"sku": f"s{number}", "price": number + 0.99}]
    return {"id": f"thing{number:010}", "number": number, "changed": changed, "lines": lines}


def in_raw(project: Project) -> Rows:
    rows = project.raw("select id, cast(number as bigint), changed, cast(lines as text) from api.things")
    return Counter(
        (key, number, changed, json.dumps(json.loads(lines))) for key, number, changed, lines in rows
    )


def make_project(folder: Path) -> Project:
    project = Project(folder)
    read = {
        "data_selector": "items",
        "params": {"perPage": 40, "sort": "changed,id", "filter": "changed >= '{incremental.start_value}'"},
        "incremental": {"cursor_path": "changed", "initial_value": "0"},
    }
    login = {
        "type": "login",
        "path": "/api/collections/users/auth-with-password",
        "body": {"identity": "${pb.username}", "password": "${pb.password}"},
        "token_path": "token",
    }
    paginator = {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": "totalPages"}
    project.declare(
        "api",
        {"kind": "rest", "client": {"base_url": "${pb.base_url}", "auth": login, "paginator": paginator}},
        {
            table: {
                "primary_key": "id",
                "endpoint": {**read, "path": f"/api/collections/network_{table}/records"},
            }
            for table in ("things", "calm")
        },
    )
    return project


@pytest.fixture(scope="module")
def shared(pocketbase: PocketBase) -> World:
    return World(pocketbase)


@pytest.fixture(scope="module")
def loaded(shared: World, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has loaded the first state."""
    project = make_project(tmp_path_factory.mktemp("network") / "loaded")
    shared.holds(FIRST)
    shared.holds({1: "1"}, "network_calm")
    with HttpProxy(shared.server.base_url) as shared.proxy:
        shared.connect(project)
        assert not project.load().errors
    assert sum(in_raw(project).values()) == len(FIRST)
    return project


@pytest.fixture
def world(shared: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The second state behind a proxy, and nobody who waits."""
    shared.holds(SECOND)
    shared.holds({1: "1", 2: "2"}, "network_calm")
    shared.waits, shared.comes_back_at = [], None
    monkeypatch.setattr(retries, "pause", shared.wait)
    with (
        HttpProxy(shared.server.base_url, lambda path: COLLECTION in path) as shared.proxy,
        HttpProxy(shared.server.base_url) as shared.stranger,
    ):
        shared.stranger.otherwise = answer(401, {"message": "I know nobody"})
        yield shared


@pytest.fixture
def project(loaded: Project, world: World, tmp_path: Path) -> Project:
    """A copy of the project that has loaded the first state; it loads through the proxy."""
    shutil.copytree(loaded.root, tmp_path / "p")
    project = Project.__new__(Project)
    project.__dict__.update(loaded.__dict__)
    project.root = tmp_path / "p"
    project.settings = type(loaded.settings)(root=project.root, home=project.root / "warehouse")
    world.connect(project)
    return project


def load(project: Project, world: World, case: Case, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    for name, value in case.settings.items():
        monkeypatch.setattr(rest_http, name, value)
    world.proxy.script, world.proxy.otherwise = case.script(world), case.otherwise
    outcome = project.load()
    assert sum(COLLECTION in request.path for request in world.proxy.seen) == case.requests
    if case.waits is not None:
        assert len(world.waits) == len(case.waits)
        assert all(waited >= least for waited, least in zip(world.waits, case.waits, strict=True))
    return outcome


def cases(table: dict[str, Case]) -> list[Any]:
    """Names of cases, those beyond the sample marked as of the full suite."""
    return [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.full) for name in table]


@pytest.mark.parametrize("name", cases(PASSES))
@pytest.mark.sample(5)
def test_what_a_load_gets_over(
    name: str, project: Project, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = load(project, world, PASSES[name], monkeypatch)
    assert not outcome.errors
    assert world.differs(project) == (Counter(), Counter())


@pytest.mark.parametrize("name", cases(FAILS))
@pytest.mark.sample(3)
def test_what_a_load_does_not_get_over(
    name: str, project: Project, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = in_raw(project)
    outcome = load(project, world, FAILS[name], monkeypatch)
    assert "api.things: " in outcome.error
    for words in FAILS[name].told:
        assert words in outcome.error
    assert world.server.loader["password"] not in outcome.error
    assert in_raw(project) == before
    if not FAILS[name].is_for_all:
        assert (outcome["calm"].error, outcome["calm"].rows) == (None, 1)
    assert not any("authorization" in request.headers for request in world.stranger.seen)

    world.proxy.script, world.proxy.otherwise = {}, type(world.proxy.seen[0]).forward
    world.proxy.listen()
    assert not project.load().errors
    assert world.differs(project) == (Counter(), Counter())


def test_the_command_shows_each_retry(project: Project, world: World) -> None:
    world.proxy.script = {2: answer(503)}
    done = project.sluice("load")
    assert done.returncode == 0, done.stderr
    shown = "".join((done.stdout + done.stderr).split())
    assert "things:GEThttp://" in shown
    assert "status503;try2of6in0." in shown
    assert world.server.loader["password"] not in done.stdout + done.stderr
