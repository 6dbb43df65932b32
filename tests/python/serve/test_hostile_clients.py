"""Clients that break the engine, do not read, send too much, guess tokens or only hold connections; others go on."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.flight as fl
import pytest

from sluice.errors import DamagedError, RunStoreError
from sluice.serve import audit, calls
from sluice.serve.audit import Audit
from sluice.serve.flight_sql import pack, unpack
from sluice.serve.query_process import Limits
from sluice.serve.server import Server

from ..publish.conftest import AUDIENCES
from .conftest import Served

BREAKS = "select reservoir_quantile(range, 0.5, 2000000000) from range(10)"
LARGE = "select repeat('x', 1000) from range(100000000)"
SLOW = "select sum(a.range * b.range) from range(10000000) a, range(1000) b"
INTERNAL = r"because of an internal error; its log has the cause under [0-9a-f]{8}"


@pytest.fixture
def client(served: Served) -> fl.FlightClient:
    return fl.connect(f"grpc://127.0.0.1:{served.server.port}")


def until(is_true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_engine_that_fails_does_not_answer_the_next_query(
    fresh: Callable[..., Served], capfd: pytest.CaptureFixture[str]
) -> None:
    served = fresh()
    for _ in range(3):
        with pytest.raises(fl.FlightInternalError, match=INTERNAL) as failed:
            served.stream(BREAKS).read_all()
        assert "Stack Trace" not in str(failed.value)
        assert served.ask("select 1") == [(1,)]
    reference = str(failed.value).split(" under ")[1][:8]
    assert f"internal error {reference}: InternalException" in capfd.readouterr().err
    assert ("failed", "anna", "InternalException") in served.ledger


def test_an_error_of_the_statement_is_told_and_its_process_stays(served: Served) -> None:
    served.ask("select 1")
    before = {process.pid for process in psutil.Process().children()}
    for sql, message in {
        "select 'x'::int": "Conversion Error",
        "select no_such_column": "Binder Error",
        "select case when range = 190000 then repeat('x', 100000000000) end from range(200000)": "Out of Range",
    }.items():
        with pytest.raises(fl.FlightServerError, match=message):
            served.stream(sql).read_all()
    assert {process.pid for process in psutil.Process().children()} >= before


def test_a_long_error_reaches_its_client(served: Served) -> None:
    """Three bytes a character: gRPC ends calls whose error is longer than a header may be."""
    for sql, message in {
        f"select strptime('x', '{'€' * 50_000}')": "Invalid Input Error",
        f'from "{"€" * 50_000}"': "there is no such table",
        f"select {'€' * 50_000}": "Binder Error",
    }.items():
        with pytest.raises((fl.FlightServerError, fl.FlightUnauthorizedError), match=message):
            served.stream(sql).read_all()


def test_a_row_that_drivers_cannot_receive_is_refused(served: Served) -> None:
    with pytest.raises(fl.FlightServerError, match="larger than 16 MB"):
        served.stream("select repeat('x', 17000000)", served.other).read_all()
    rows = served.stream("select repeat('x', 10000) from range(1000)", served.other)
    sizes = [chunk.data.nbytes for chunk in rows]
    assert max(sizes) < 1_100_000


def test_who_does_not_read_holds_nothing_beyond_the_limit(fresh: Callable[..., Served]) -> None:
    """Neither a place, nor a process, nor a thread of the server."""
    served = fresh(limits=Limits(seconds=5, queries=3))
    readers = [served.stream(LARGE) for _ in range(3)]
    readers[0].read_chunk()
    until(lambda: not served.server._pool.lanes.places, 20)
    assert served.ask("select 1", token=served.other) == [(1,)]
    until(lambda: not served.server._calls.running, 20)
    with pytest.raises((fl.FlightError, OSError)):
        readers[0].read_all()


def test_short_queries_do_not_wait_for_long_ones(fresh: Callable[..., Served]) -> None:
    served = fresh(limits=Limits(queries=2))

    def ask() -> None:
        with contextlib.suppress(fl.FlightError):
            served.stream(SLOW).read_all()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    lanes = served.server._pool.lanes
    until(lambda: sum(place.is_long for place in lanes.places) == 2, 20)
    assert served.ask("select 1", token=served.other) == [(1,)]
    assert sum(place.is_long for place in lanes.places) == 2, "they are still running"
    served.server._pool.close()
    for thread in threads:
        thread.join()


def test_a_statement_has_one_time_for_all_its_steps(served: Served, client: fl.FlightClient) -> None:
    command = pack("CommandStatementQuery", query="select 1")
    info = client.get_flight_info(fl.FlightDescriptor.for_command(command), served.options())
    handle = unpack(info.endpoints[0].ticket.ticket)[1].statement_handle
    assert handle.startswith(b"/*")
    assert handle.endswith(b" ms*/select 1")
    started = time.monotonic()
    with pytest.raises(fl.FlightTimedOutError, match="longer than 6 s"):
        served.stream(f"/*5800 ms*/{SLOW}").read_all()
    assert time.monotonic() - started < 4
    prepared = pack("CommandPreparedStatementQuery", prepared_statement_handle=b"/*999999 ms*/select 1")
    with pytest.raises(fl.FlightTimedOutError):
        client.get_flight_info(fl.FlightDescriptor.for_command(prepared), served.options())


def test_what_is_too_large_is_refused_at_once_and_noted(served: Served, client: fl.FlightClient) -> None:
    started, before = time.monotonic(), len(served.ledger)
    for pattern in ("%a" * 2_000_000, "%a" * 501):
        command = pack("CommandGetTables", table_name_filter_pattern=pattern)
        with pytest.raises(fl.FlightUnauthorizedError, match=r"larger than|longer than"):
            client.get_flight_info(fl.FlightDescriptor.for_command(command), served.options())
    with pytest.raises(fl.FlightUnauthorizedError, match="larger than"):
        served.stream("select 1 --" + "x" * 4_000_000).read_all()
    with pytest.raises(fl.FlightUnauthorizedError, match="longer than"):
        served.stream("select 1 --" + "x" * 200_000).read_all()
    assert time.monotonic() - started < 5, "a pattern of 4 MB took a minute"
    assert [row[0] for row in served.ledger[before:] if row[0] != "connect"] == ["refused"] * 4


def test_a_pattern_has_the_wildcards_of_sql_only(served: Served, client: fl.FlightClient) -> None:
    for pattern, names in {
        "dim%": ["dim_customers", "dim_products"],
        "dim_product_": ["dim_products"],
        "[d]im%": [],
        "*": [],
        "%_" * 200 + "z": [],
    }.items():
        command = fl.Ticket(pack("CommandGetTables", table_name_filter_pattern=pattern))
        assert client.do_get(command, served.options()).read_all()["table_name"].to_pylist() == names


def test_no_method_answers_with_a_traceback(served: Served, client: fl.FlightClient) -> None:
    path, junk = fl.FlightDescriptor.for_path("a"), fl.Action("CreatePreparedStatement", b"\xff")
    other = fl.Action("CreatePreparedStatement", pack("CommandGetTables"))
    attempts: list[Callable[[], object]] = [
        lambda: client.get_flight_info(path, served.options()),
        lambda: client.get_schema(path, served.options()),
        lambda: list(client.do_action(junk, served.options())),
        lambda: list(client.do_action(other, served.options())),
        lambda: list(client.list_flights(b"\xff", served.options())),
        lambda: client.authenticate_basic_token("a", "b"),
        lambda: client.do_exchange(path, served.options())[1].read_all(),
    ]
    for attempt in attempts:
        with pytest.raises((fl.FlightError, OSError)) as failed:
            attempt()
        assert "Traceback" not in str(failed.value)
        assert ".py" not in str(failed.value)


def test_what_is_broken_is_not_shown(fresh: Callable[..., Served], capfd: pytest.CaptureFixture[str]) -> None:
    """A damaged file of tokens, which is read before anybody is known, and of rows; a version that is gone."""
    served = fresh()
    file = served.company.settings.tokens
    tokens = file.read_text()
    file.write_text("{broken")
    with pytest.raises(fl.FlightInternalError, match=INTERNAL) as failed:
        served.stream("select 1").read_all()
    assert "JSON" not in str(failed.value)
    assert "DamagedError" in capfd.readouterr().err
    file.write_text(tokens)
    published = served.company.path("analysts").resolve()
    published.chmod(0o600)
    with published.open("r+b") as content:
        content.seek(12288)
        content.write(bytes(published.stat().st_size - 12288))
    with pytest.raises(fl.FlightError, match=INTERNAL) as failed:
        served.stream("from fct_orders").read_all()
    assert published.name not in str(failed.value)
    assert "`sluice publish` finds it and writes it again" in capfd.readouterr().err
    with pytest.raises(DamagedError, match="not what was published"):
        Server(served.company.settings, "analysts")
    current = served.company.published / "current"
    current.unlink()
    for target in (None, "versions/gone"):
        if target:
            current.symlink_to(target)
        with pytest.raises(fl.FlightUnavailableError, match="no published version can be read") as failed:
            served.stream("select 1").read_all()
        assert str(served.company.settings.home) not in str(failed.value)


def test_wrong_tokens_are_counted(served: Served) -> None:
    def guess() -> None:
        for _ in range(3):
            with pytest.raises(fl.FlightUnauthenticatedError):
                served.stream("select 1", token="wrong").read_all()

    ledger = served.company.settings.ledger.stat().st_mtime_ns
    threads = [threading.Thread(target=guess) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [row for row in served.server.audit.rows("analysts") if row["who"] == "unknown"]
    assert sum(row["count"] for row in rows) >= 30
    assert len(rows) <= 3, "a row per minute"
    assert served.company.settings.ledger.stat().st_mtime_ns == ledger, "loads write there"


def test_the_audit_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_BYTES", 500_000)
    noted = Audit(tmp_path / "serve.sqlite")
    for who in range(10):
        for number in range(audit.MAX_ROWS_A_MINUTE + 5):
            noted.note("analysts", f"session {number}", "query", "v1", f"reader {who}", "x" * 500)
        noted.flush()
    rows = noted.rows("analysts")
    noted.close()
    assert rows[-1]["detail"] == audit.BEYOND
    assert rows[-1]["count"] >= 5
    assert (tmp_path / "serve.sqlite").stat().st_size < 1_500_000
    with contextlib.closing(sqlite3.connect(tmp_path / "serve.sqlite")) as con:
        assert con.execute("pragma integrity_check").fetchone() == ("ok",)


def test_an_audit_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """When a server starts or its log is asked for; in the log of a server that runs, once."""
    monkeypatch.setattr(audit, "MAX_COLLECTED", 5)
    file = tmp_path / "serve.sqlite"
    noted = Audit(file)
    file.write_bytes(b"no database" * 1000)
    for number in range(20):
        noted.note("analysts", None, "query", "v1", "anna", str(number))
        if number == 10:
            until(lambda: len(noted._collected) == 5)
    with pytest.raises(DamagedError, match=r"serve\.sqlite is damaged: .*Move it away"):
        noted.rows("analysts")
    with pytest.raises(DamagedError, match=r"serve\.sqlite is damaged: .*Move it away"):
        Audit(file)
    noted.close()
    assert len(noted._collected) == 5
    assert capfd.readouterr().err.count("is damaged") == 1
    with pytest.raises(RunStoreError, match="Is the disk full, or read-only"):
        Audit(tmp_path)


@pytest.mark.parametrize("how", ["token", "version", pytest.param("policy", marks=pytest.mark.full)])
def test_revocation_ends_open_streams(how: str, fresh: Callable[..., Served]) -> None:
    """Of clients that read, and of clients that do not."""
    served = fresh(limits=Limits(seconds=600))
    reading, stalled = served.stream(LARGE), served.stream(LARGE)
    for stream in (reading, stalled):
        stream.read_chunk()
    if how == "token":
        served.tokens.revoke("analysts", "anna")
    else:
        served.company.policy(AUDIENCES.replace("name: analysts", "name: others"))
        if how == "version":
            manifest = served.company.published / "current" / "manifest.json"
            manifest.chmod(0o600)
            manifest.write_text(manifest.read_text().replace('"analysts"', '"others"'))
            served.company.policy(AUDIENCES)
    started = time.monotonic()
    with pytest.raises((fl.FlightError, OSError)):
        list(reading)
    until(lambda: not served.server._calls.running)
    assert time.monotonic() - started < 5
    with pytest.raises(fl.FlightError):
        served.stream("select 1").read_all()


def test_calls_of_a_token_are_limited(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CALLS_PER_TOKEN", 1)
    stalled = served.stream(LARGE)
    stalled.read_chunk()
    with pytest.raises(fl.FlightUnavailableError, match="of this token are being answered"):
        served.stream("select 1").read_all()
    other = served.tokens.issue("analysts", "otto")
    assert served.stream("select 1", token=other).read_all().num_rows == 1
    stalled.cancel()
    until(lambda: not served.server._calls.running)


def test_connections_of_nobody_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent ones, ones that send a byte now and then, and a flood of them; one with a token stays."""
    monkeypatch.setattr(calls, "UNKNOWN_SECONDS", 1.5)
    monkeypatch.setattr(calls, "UNKNOWN_CONNECTIONS", 20)
    known = fl.connect(f"grpc://127.0.0.1:{served.server.port}")
    list(known.list_actions(served.options()))
    opened = [socket.create_connection(("127.0.0.1", served.server.port)) for _ in range(60)]
    threads_before = threading.active_count()
    assert served.ask("select 1", token=served.other) == [(1,)]
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM":
        with contextlib.suppress(OSError):
            opened[-1].send(bytes([byte]))
        time.sleep(0.1)
    until(lambda: all(_is_ended(connection) for connection in opened))
    for connection in opened:
        connection.close()
    assert threading.active_count() <= threads_before
    assert list(known.list_actions(served.options()))
    assert served.ask("select 1", token=served.other) == [(1,)]


def _is_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(1000):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
