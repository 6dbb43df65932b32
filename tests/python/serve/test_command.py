"""`sluice serve` as a person starts it: a process that prints where it listens, and ends with Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import adbc_driver_flightsql.dbapi as flight_sql
import psutil
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql import DatabaseOptions
from typer.testing import CliRunner

from sluice.cli import app
from sluice.errors import SluiceError
from sluice.runs.store import RunStore
from sluice.serve.flight_sql import pack

from ..publish.conftest import Company

SLOW = "select sum(a.range * b.range) from range(100000000) a, range(100000000) b"
LARGE = "select repeat('x', 1000) from range(100000000)"


@dataclass
class Serving:
    """The command in a process group of its own, as a terminal starts it."""

    company: Company
    process: subprocess.Popen[str]
    uri: str
    token: str

    def asked(self, sql: str) -> fl.FlightStreamReader:
        """The rows of a query, to be read."""
        options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {self.token}".encode())])
        ticket = pack("TicketStatementQuery", statement_handle=sql.encode())
        return fl.connect(self.uri.replace("grpc://", "grpc+tcp://")).do_get(fl.Ticket(ticket), options)

    def events(self) -> list[tuple[str, str | None]]:
        return [(r["event"], r["detail"]) for r in RunStore(self.company.settings.ledger).served("analysts")]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    company = Company(tmp_path / "project")
    (company.settings.root / "dbt_project.yml").write_text("name: t\n")
    company.publish()
    sluice = [str(Path(sys.executable).with_name("sluice")), "serve", "--audience", "analysts"]
    environment = {**os.environ, "SLUICE_HOME": str(company.settings.home)}
    root = company.settings.root
    token = subprocess.run(
        [*sluice, "--issue-token", "anna"],
        cwd=root,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    process = subprocess.Popen(
        [*sluice, "--port", "0", "--seconds", "600"],
        cwd=root,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdout
    uri = process.stdout.readline().split(" on ")[1].split(";")[0]
    with process:
        yield Serving(company, process, uri, token)
        process.kill()


def test_no_token_for_an_audience_that_is_not_there(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, home = company.settings.root, company.settings.home
    (root / "dbt_project.yml").write_text("name: t\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("SLUICE_HOME", str(home))
    refused = CliRunner().invoke(app, ["serve", "--audience", "analist", "--issue-token", "anna"])
    assert isinstance(refused.exception, SluiceError)
    assert "there is no audience 'analist'; there are analysts" in str(refused.exception)


def test_the_command(serving: Serving) -> None:
    header = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {serving.token}"}
    with flight_sql.connect(serving.uri, header, autocommit=True) as con, con.cursor() as cursor:
        cursor.execute("select count(*) from dim_customers")
        assert cursor.fetchall() == [(1000,)]
    serving.process.send_signal(signal.SIGINT)
    assert serving.process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("query", [SLOW, LARGE])
def test_it_ends_while_a_query_runs(serving: Serving, number: signal.Signals, query: str) -> None:
    """Also when a client does not read what it asked for. Ctrl-C reaches all processes of a terminal's group."""
    ended: list[str] = []
    stalls, goes_on = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            reader = serving.asked(query)
            reader.read_chunk()
            stalls.set()
            goes_on.wait(60)
            reader.read_all()
        except fl.FlightError as error:
            ended.append(str(error))

    client = threading.Thread(target=ask)
    client.start()
    _until(lambda: "query" in dict(serving.events()))
    workers = psutil.Process(serving.process.pid).children()
    assert workers
    _until(lambda: stalls.is_set() if query == LARGE else workers[0].cpu_times().user > 1)
    os.killpg(serving.process.pid, number)
    assert serving.process.wait(60) == 0, "far before the query's time is over"
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    goes_on.set()
    client.join(60)
    assert ended
    events = serving.events()
    assert ("stop", None) in events
    assert {"start", "connect", "query"} <= dict(events).keys()
    if query == SLOW:
        assert "the server is ending" in ended[0]
        assert ("failed", "the server is ending") in events
    assert serving.process.stdout
    assert serving.process.stdout.read() == "the server has ended\n"


def _until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
