"""Why `sluice serve` does not speak Quack yet: what its 1.5.5 cannot be made to do. Fails when a newer one can."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import duckdb
import pytest

from sluice.engine.duckdb import load_extension


def _quack() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    load_extension(con, "httpfs")
    load_extension(con, "quack")
    return con


@pytest.fixture
def server() -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """A Quack server and its address."""
    con = _quack()
    for port in range(39500, 39600):
        try:
            con.execute(f"call quack_serve('quack:localhost:{port}', token='secret')")
            break
        except duckdb.Error:
            continue
    yield con, f"quack:localhost:{port}"
    con.execute(f"call quack_stop('quack:localhost:{port}')")


def test_there_is_no_tls() -> None:
    found = (
        _quack()
        .execute("select parameters from duckdb_functions() where function_name = 'quack_serve'")
        .fetchall()
    )
    assert {p for (parameters,) in found for p in parameters} == {
        "col0",
        "token",
        "allow_other_hostname",
        "disable_ssl",
    }


def test_a_query_cannot_be_stopped(server: tuple[duckdb.DuckDBPyConnection, str]) -> None:
    """Neither by a setting, nor by the server's process, nor by the client going away."""
    con, address = server
    names = con.execute(
        "select name from duckdb_settings() where name like '%timeout%' or name like 'quack%'"
    ).fetchall()
    assert [n for (n,) in names if "timeout" in n and not n.startswith("http")] == []
    functions = con.execute(
        "select function_name from duckdb_functions() where function_name like 'quack%'"
    ).fetchall()
    assert not [n for (n,) in functions if "cancel" in n or "interrupt" in n or "kill" in n]
    slow = "select sum(a.range * b.range) from range(10000000) a, range(20) b"
    program = (
        "from sluice.engine.duckdb import load_extension; import duckdb; c = duckdb.connect();"
        "load_extension(c, 'httpfs'); load_extension(c, 'quack');"
        f"c.execute(\"from quack_query('{address}', '{slow}', token := 'secret')\")"
    )
    client = subprocess.Popen([sys.executable, "-c", program])
    state = "select state from quack_active_connections() where query like '%range%'"
    deadline = time.monotonic() + 30
    while not con.execute(state).fetchall() and time.monotonic() < deadline:
        time.sleep(0.05)
    client.kill()
    client.wait()
    con.interrupt()
    time.sleep(0.3)
    assert con.execute(state).fetchall() == [("active",)]
