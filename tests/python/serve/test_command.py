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

from servers import end_with_this_process
from sluice.cli import app
from sluice.errors import SluiceError
from sluice.serve.audit import Audit
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

    def events(self) -> list[tuple[str, str]]:
        return [(r["event"], r["detail"]) for r in Audit(self.company.settings.serve_audit).rows("analysts")]


@pytest.fixture
def serving(
    copied: Callable[[Path], Company], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Serving]:
    company = copied(tmp_path / "project")
    root = company.settings.root
    (root / "dbt_project.yml").write_text("name: t\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("SLUICE_HOME", str(company.settings.home))
    issued = CliRunner().invoke(app, ["serve", "--audience", "analysts", "--issue-token", "anna"])
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("sluice")), "serve", "--audience", "analysts"),
            *("--port", "0", "--seconds", "600"),
        ],
        text=True,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    end_with_this_process(psutil.Process(process.pid))
    assert process.stdout
    uri = process.stdout.readline().split(" on ")[1].split(";")[0]
    with process:
        yield Serving(company, process, uri, issued.stdout.strip())
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


@pytest.mark.parametrize(
    ("number", "query"),
    [
        (signal.SIGINT, SLOW),
        (signal.SIGTERM, LARGE),
        pytest.param(signal.SIGTERM, SLOW, marks=pytest.mark.full),
        pytest.param(signal.SIGINT, LARGE, marks=pytest.mark.full),
    ],
)
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
    _until(
        lambda: stalls.is_set() if query == LARGE else any(worker.cpu_times().user > 1 for worker in workers)
    )
    os.killpg(serving.process.pid, number)
    assert serving.process.wait(60) == 0, "far before the query's time is over"
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    goes_on.set()
    client.join(60)
    assert ended
    events = serving.events()
    assert ("stop", "") in events
    assert {"start", "connect", "query"} <= dict(events).keys()
    if query == SLOW:
        assert "the server is ending" in ended[0]
        assert ("failed", "the server is ending") in events
    assert serving.process.stdout
    assert serving.process.stdout.read() == "the server has ended\n"


def test_nothing_stays_when_it_is_killed(serving: Serving) -> None:
    """Not even what runs for a client that does not read."""
    reader = serving.asked(LARGE)
    reader.read_chunk()
    workers = psutil.Process(serving.process.pid).children()
    assert workers
    serving.process.kill()
    assert psutil.wait_procs(workers, timeout=30)[1] == []


def test_the_log_is_shown(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    (company.settings.root / "dbt_project.yml").write_text("name: t\n")
    monkeypatch.chdir(company.settings.root)
    monkeypatch.setenv("SLUICE_HOME", str(company.settings.home))
    noted = Audit(company.settings.serve_audit)
    for _ in range(3):
        noted.note("analysts", "ipv4:127.0.0.1:9", "query", "v1", "anna", "select ?")
    noted.close()
    shown = CliRunner().invoke(app, ["serve", "--audience", "analysts", "--log"])
    assert "query  anna  ipv4:127.0.0.1:9  select ? (3 times)" in shown.output


def _until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
