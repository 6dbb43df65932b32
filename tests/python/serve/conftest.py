"""A server over a small published version, and clients through the ADBC driver people use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as flight_sql
import pytest
from adbc_driver_flightsql import DatabaseOptions

from sluice.runs.store import RunStore
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

    def ask(self, sql: str, **options: Any) -> list[Any]:
        with self.client(**options) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    @property
    def ledger(self) -> list[tuple[str, str, str]]:
        """Event, who and detail of all that was noted."""
        rows = RunStore(self.company.settings.ledger).served("analysts")
        return [(row["event"], row["who"], row["detail"] or "") for row in rows]

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join(10)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    found = Company(tmp_path_factory.mktemp("served") / "project")
    found.publish()
    return found


@pytest.fixture(scope="module")
def served(company: Company) -> Iterator[Served]:
    server = Served(company, limits=Limits(memory_mb=256, seconds=2, queries=2))
    yield server
    server.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Servers of a test's own."""
    running: list[Served] = []

    def start(**options: Any) -> Served:
        company = Company(tmp_path / "project")
        company.publish()
        running.append(Served(company, **options))
        return running[-1]

    yield start
    for server in running:
        server.close()
