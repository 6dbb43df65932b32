"""Loads of databases and streams over connections that break: nothing is half loaded, and the next load is complete."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha512
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import duckdb
import nats
import pytest
from nats.js.api import StreamConfig

from servers import Postgres
from sluice.engine.duckdb import load_extension
from sluice.extract import database, retries
from sluice.extract.database import sqlalchemy as database_sqlalchemy
from sluice.extract.stream import nats_connection, nats_fetch
from tests.python.extract import rig
from tests.python.network.cases import BROKEN_CONNECTIONS
from tests.python.network.proxy import TcpProxy
from tests.python.project import Project

ROWS = 20_000
"""About three megabytes: more than what all buffers between server and load hold."""
READING = 1_300_000
"""Bytes after which a server is sending the table, and no longer the catalog."""
SILENCE = 3.0
Rows = Counter[tuple[int, str]]


def rows_of(table: str, first: int, last: int) -> list[tuple[int, str]]:
    texts = (f"{table} {i} {sha512(b'%d' % i).hexdigest()}" for i in range(first, last))  # nothing packs them
    return list(zip(range(first, last), texts, strict=True))


class Served:
    """A server with the tables `big` and `small`; `put` adds rows to both."""

    load: ClassVar[dict[str, Any]]
    tables: dict[str, dict[str, Any]]

    def __init__(self, url: str) -> None:
        self.url = url
        self.there: dict[str, list[tuple[int, str]]] = {"big": [], "small": []}

    @property
    def password(self) -> str:
        password = urlsplit(self.url).password
        assert password
        return password

    def put(self, big: int, small: int) -> None:
        for table, count in {"big": big, "small": small}.items():
            first = len(self.there[table])
            rows = rows_of(table, first, first + count)
            self.insert(table, rows)
            self.there[table] += rows

    def insert(self, table: str, rows: list[tuple[int, str]]) -> None:
        raise NotImplementedError


class InPostgres(Served):
    load: ClassVar[dict[str, Any]] = {"kind": "database", "connection": "server"}

    def __init__(self, server: Postgres) -> None:
        super().__init__(server.url)
        self.server = server
        self.tables = {t: {"table": f"network.{t}", "primary_key": "id", "cursor": "id"} for t in self.there}
        server.sql("drop schema if exists network cascade; create schema network")
        for table in self.there:
            server.sql(f"create table network.{table} (id integer primary key, v text)")

    def insert(self, table: str, rows: list[tuple[int, str]]) -> None:
        self.server.sql(f"insert into network.{table} values " + ", ".join(map(str, rows)))


class InMariadb(Served):
    load: ClassVar[dict[str, Any]] = {"kind": "database", "connection": "server"}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.tables = {t: {"table": f"network_{t}", "primary_key": "id", "cursor": "id"} for t in self.there}
        for table in self.there:
            self.sql(f"drop table if exists network_{table}")
            self.sql(f"create table network_{table} (id integer primary key, v text)")

    def sql(self, statement: str) -> None:
        import pymysql

        parts = urlsplit(self.url)
        assert parts.username
        assert parts.password
        con = pymysql.connect(
            host=parts.hostname, port=parts.port or 0, user=parts.username, password=parts.password,
            database=parts.path.strip("/"), autocommit=True,
        )  # fmt: skip
        with con, con.cursor() as cursor:
            cursor.execute(statement)

    def insert(self, table: str, rows: list[tuple[int, str]]) -> None:
        self.sql(f"insert into network_{table} values " + ", ".join(map(str, rows)))


class InNats(Served):
    load: ClassVar[dict[str, Any]] = {"kind": "stream", "connection": "server", "protocol": "nats"}
    made = 0

    def __init__(self, url: str) -> None:
        super().__init__(url)
        InNats.made += 1
        self.tables = {t: {"stream": f"network_{t}_{InNats.made}"} for t in self.there}
        asyncio.run(self.publish({table["stream"]: [] for table in self.tables.values()}))

    async def publish(self, bodies: dict[str, list[bytes]]) -> None:
        client = await nats.connect(self.url)
        js = client.jetstream()
        for stream, messages in bodies.items():
            await js.add_stream(StreamConfig(name=stream, subjects=[stream]))
            for message in messages:
                await client.publish(stream, message)
            await client.flush()
        await client.close()

    def insert(self, table: str, rows: list[tuple[int, str]]) -> None:
        bodies = [json.dumps({"id": i, "v": v}).encode() for i, v in rows]
        asyncio.run(self.publish({self.tables[table]["stream"]: bodies}))


class ThroughSqlAlchemy(InMariadb):
    """The same server, as a database that DuckDB does not read itself."""

    def __init__(self, url: str) -> None:
        super().__init__(url.replace("mysql://", "mysql+pymysql://", 1))


@pytest.fixture(
    params=["postgres", *(pytest.param(s, marks=pytest.mark.full) for s in ("mariadb", "sqlalchemy")), "nats"]
)
def served(request: pytest.FixtureRequest) -> Served:
    if request.param == "postgres":
        return InPostgres(request.getfixturevalue("postgres_server"))
    if request.param in ("mariadb", "sqlalchemy"):
        kind = InMariadb if request.param == "mariadb" else ThroughSqlAlchemy
        return kind(request.getfixturevalue("mariadb_url"))
    return InNats(request.getfixturevalue("nats_url"))


@pytest.fixture
def proxy(served: Served) -> Iterator[TcpProxy]:
    parts = urlsplit(served.url)
    assert parts.port
    with TcpProxy("127.0.0.1", parts.port) as proxy:
        yield proxy


def through(served: Served, proxy: TcpProxy) -> str:
    return served.url.replace(f":{urlsplit(served.url).port}", f":{proxy.port}", 1)


@pytest.fixture
def project(served: Served, proxy: TcpProxy, tmp_path: Path) -> Project:
    """A project that has loaded a little; more is waiting."""
    project = Project(tmp_path)
    project.connect("server", url=through(served, proxy))
    project.declare("src", served.load, served.tables)
    served.put(10, 10)
    assert not project.load().errors
    served.put(ROWS, 5)
    return project


def in_raw(project: Project, table: str) -> Rows:
    return Counter(project.raw(f"select cast(id as int), v from src.{table}"))


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (database, database_sqlalchemy, nats_fetch):
        monkeypatch.setattr(module, "SILENCE_SECONDS", SILENCE)
    for module in (database, database_sqlalchemy, nats_connection):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 2)


def break_while_reading(what: str, times: int) -> Callable[[int, int], str | None]:
    """The first `times` connections that carry the large table."""
    broken: set[int] = set()

    def spoil(number: int, sent: int) -> str | None:
        if sent < READING or (number not in broken and len(broken) == times):
            return None
        broken.add(number)
        return what

    return spoil


def assert_complete(project: Project, served: Served) -> None:
    outcome = project.load()
    assert not outcome.errors
    for table, rows in served.there.items():
        assert in_raw(project, table) == Counter(rows)


@pytest.mark.parametrize(
    "what", ["reset", *(pytest.param(w, marks=pytest.mark.full) for w in ("close", "silence"))]
)
@pytest.mark.sample(2)
def test_a_connection_that_breaks_while_a_table_is_read(
    what: str, served: Served, proxy: TcpProxy, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert what in BROKEN_CONNECTIONS
    before = in_raw(project, "big")
    tries = nats_connection.TRIES if isinstance(served, InNats) else 1
    with monkeypatch.context() as patch:
        patch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
        if what == "silence":
            impatient(patch)
        proxy.spoil = break_while_reading(what, tries)
        outcome = project.load()
    proxy.spoil = lambda number, sent: None
    assert outcome["big"].error
    assert "src" in outcome["big"].error
    assert served.password not in outcome.error
    assert in_raw(project, "big") == before
    assert outcome["small"].error is None
    assert in_raw(project, "small") == Counter(served.there["small"])
    assert_complete(project, served)


@pytest.mark.full
@pytest.mark.parametrize("what", ["refused", "mute"])
@pytest.mark.sample(2)
def test_a_server_that_cannot_be_reached(
    what: str, served: Served, proxy: TcpProxy, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert what in BROKEN_CONNECTIONS
    before = in_raw(project, "big")
    with monkeypatch.context() as patch:
        impatient(patch)
        if what == "refused":
            proxy.refuse()
        else:
            proxy.spoil = lambda number, sent: "silence"
        outcome = project.load()
    assert len(outcome.errors) in (1, 2)
    for error in outcome.errors:
        assert "'server'" in error
        assert str(proxy.port) in error
        assert len(error.splitlines()) == 1
    assert served.password not in outcome.error
    assert in_raw(project, "big") == before
    if what == "refused":
        proxy.listen()
    proxy.spoil = lambda number, sent: None
    assert_complete(project, served)


def test_a_stream_whose_connection_breaks_once_is_read_again(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    assert "reset once" in BROKEN_CONNECTIONS
    served = InNats(nats_url)
    served.put(ROWS, 5)
    parts = urlsplit(nats_url)
    assert parts.port
    with TcpProxy("127.0.0.1", parts.port) as proxy:
        project = Project(tmp_path)
        project.connect("server", url=through(served, proxy))
        project.declare("src", served.load, served.tables)
        proxy.spoil = break_while_reading("reset", 1)
        assert_complete(project, served)
    (shown,) = [message for message in caplog.messages if "try" in message]
    assert "big: " in shown
    assert "; try 2 of 3 in 0.0 s" in shown


def test_acknowledging_is_tried_again(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    assert "reset at the end" in BROKEN_CONNECTIONS
    served = InNats(nats_url)
    served.put(10, 5)
    parts = urlsplit(nats_url)
    assert parts.port
    with TcpProxy("127.0.0.1", parts.port) as proxy:
        project = Project(tmp_path)
        project.connect("server", url=through(served, proxy))
        project.declare("src", served.load, served.tables)
        # the first connection after both were read, once it stands: while it is made, nats itself makes another
        proxy.spoil = lambda number, sent: "reset" if number == 3 and sent else None
        assert_complete(project, served)
        assert proxy.connections == 5
    (shown,) = [message for message in caplog.messages if "try 2 of 3" in message]
    assert "big: no connection" in shown
    assert project.load().rows == 0


def test_a_connection_that_ends_between_two_tables_is_made_anew(
    postgres_server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "reset between" in BROKEN_CONNECTIONS
    served = InPostgres(postgres_server)
    served.put(10, 10)
    parts = urlsplit(served.url)
    assert parts.port
    with TcpProxy("127.0.0.1", parts.port) as proxy:
        project = Project(tmp_path)
        project.connect("server", url=through(served, proxy))
        project.declare("src", served.load, served.tables)
        connections = 0

        def spoil(number: int, sent: int) -> str | None:
            # what the server says about the second table, in its catalog's words, meets a reset
            return "reset" if number == 1 and connections else None

        proxy.spoil = spoil

        def extract(source: Any, tables: Any, context: Any) -> Any:
            nonlocal connections
            for extraction in database_extract(source, tables, context):
                yield extraction
                connections = 1

        database_extract = database.extract
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "extract", extract)
            assert_complete(project, served)
    assert any("connecting to" in message for message in caplog.messages)


@pytest.mark.parametrize(
    "served", ["postgres", pytest.param("mariadb", marks=pytest.mark.full)], indirect=True
)
def test_a_broken_connection_is_named_without_its_password(
    served: Served, proxy: TcpProxy, project: Project
) -> None:
    proxy.spoil = break_while_reading("reset", 9)
    declared = (project.settings.sources / "src.yml").read_text()
    (project.root / "rig").mkdir()
    values = {"server": {"url": through(served, proxy)}}
    result = rig.run(database.extract, declared, project.root / "rig", values=values, only=["big"])
    error = str(result.errors["big"])
    assert error.startswith(f"src.big: the connection 'server' to 127.0.0.1:{proxy.port}/")
    assert "broke while the table was read" in error
    assert len(error.splitlines()) == 1
    assert served.password not in error


@pytest.mark.skipif(sys.platform != "linux", reason="Linux shows the timers of connections")
def test_a_dead_host_is_noticed(postgres_server: Postgres, tmp_path: Path) -> None:
    """The keepalive timer of the connection runs; without it a firewall that forgot us is noticed after two hours."""
    parts = urlsplit(postgres_server.url)
    assert parts.port
    with TcpProxy("127.0.0.1", parts.port) as proxy:
        url = postgres_server.url.replace(f":{parts.port}", f":{proxy.port}", 1)
        with duckdb.connect() as con:
            load_extension(con, "postgres_scanner")
            con.execute(f"attach '{database._patient(url)}' as s (type postgres, read_only)")
            con.execute("from duckdb_tables()").fetchall()
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            timers = [fields[5] for fields in lines if fields[2].endswith(f":{proxy.port:04X}")]
    assert timers
    for timer in timers:
        kind, _, ticks = timer.partition(":")
        assert kind == "02"  # keepalive
        assert int(ticks, 16) <= 3000
