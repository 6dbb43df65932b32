"""A server over a small published version, and clients through the ADBC driver people use."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql import DatabaseOptions

from sluice.config.settings import Settings
from sluice.serve.flight_sql import pack
from sluice.serve.query_process import Limits
from sluice.serve.server import Server
from sluice.serve.tokens import Tokens

from ..publish.conftest import Company


class Served:
    """A running server of the analysts' version."""

    def __init__(self, company: Company, **options: Any) -> None:
        self.company = company
        self.tokens = Tokens(company.settings.home / "keys" / "tokens.json")
        self.token = self.tokens.issue("analysts", "anna")
        self.other = self.tokens.issue("analysts", "olga")
        self.server = Server(company.settings, "analysts", **options)
        self._thread = threading.Thread(target=self.server.serve, daemon=True)
        self._thread.start()

    @contextmanager
    def client(self, token: str | None = None, uri: str | None = None, **options: str) -> Iterator[Any]:
        header = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token or self.token}"} | options
        if token == "":
            header = options
        with (
            flight_sql.connect(uri or f"grpc://127.0.0.1:{self.server.port}", header, autocommit=True) as con,
            con.cursor() as cursor,
        ):
            yield cursor

    def options(self, token: str | None = None) -> fl.FlightCallOptions:
        return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token or self.token}".encode())])

    def stream(self, sql: str, token: str | None = None) -> fl.FlightStreamReader:
        """The rows of a query, to be read or not, on a connection of its own."""
        ticket = fl.Ticket(pack("TicketStatementQuery", statement_handle=sql.encode()))
        client = fl.connect(f"grpc://127.0.0.1:{self.server.port}")
        return client.do_get(ticket, self.options(token))

    def ask(self, sql: str, **options: Any) -> list[Any]:
        with self.client(**options) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    @property
    def ledger(self) -> list[tuple[str, str, str]]:
        """Event, who and detail of all that was noted."""
        rows = self.server.audit.rows("analysts")
        return [(row["event"], row["who"], row["detail"]) for row in rows for _ in range(row["count"])]

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join(10)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """What `copied` copies, which costs a tenth of a publication; no test changes it."""
    found = Company(tmp_path_factory.mktemp("served") / "project")
    found.publish()
    return found


@pytest.fixture(scope="session")
def copied(published: Company) -> Callable[[Path], Company]:
    """A published company of one's own, in a folder that does not exist yet."""

    def copy(root: Path) -> Company:
        shutil.copytree(published.settings.root, root, symlinks=True)
        found = deepcopy(published)
        found.settings = Settings(root=root, home=root / "home")
        return found

    return copy


@pytest.fixture(scope="module")
def company(copied: Callable[[Path], Company], tmp_path_factory: pytest.TempPathFactory) -> Company:
    return copied(tmp_path_factory.mktemp("company") / "project")


@pytest.fixture(scope="module")
def served(company: Company) -> Iterator[Served]:
    server = Served(company, limits=Limits(memory_mb=256, seconds=6, queries=2))
    yield server
    server.close()


@pytest.fixture
def fresh(copied: Callable[[Path], Company], tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """A server of a test's own."""
    running: list[Served] = []

    def start(**options: Any) -> Served:
        running.append(Served(copied(tmp_path / "project"), **options))
        return running[-1]

    yield start
    for server in running:
        server.close()
