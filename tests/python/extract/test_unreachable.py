"""A server that cannot be reached: the message tells refused, unknown, closed, silent and TLS apart, for every kind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from sluice.errors import ConnectionError
from sluice.extract import retries
from sluice.extract.rest import http as rest_http
from sluice.extract.unreachable import CLOSED, REFUSED, SILENT, TLS, UNKNOWN, why_unreachable
from tests.python.extract.rig import run


@contextmanager
def serving(act: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    act(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def closing(_: socket.socket) -> None:
    """Say nothing, and close."""


def plain(connection: socket.socket) -> None:
    """Answer as a server without TLS would."""
    connection.recv(1000)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def kinds(address: str) -> dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]]:
    """Kind, load of the source, load of the table, and the connection of each way to reach a server."""
    database = {"kind": "database", "connection": "c"}
    api = {"kind": "rest", "client": {"base_url": f"http://{address}"}}
    stream = {"kind": "stream", "connection": "c", "protocol": "nats"}
    sftp = {"kind": "files", "connection": "c", "url": f"sftp://{address}/x"}
    return {
        "PostgreSQL": ("database", database, {}, {"url": f"postgresql://u:canary@{address}/d"}),
        "MariaDB": ("database", database, {}, {"url": f"mysql://u:canary@{address}/d"}),
        "SQLAlchemy": ("database", database, {}, {"url": f"mariadb+pymysql://u:canary@{address}/d"}),
        "an API": ("rest", api, {"endpoint": {"path": "x", "paginator": "single_page"}}, {}),
        "NATS": ("stream", stream, {"stream": "A"}, {"url": f"nats://u:canary@{address}"}),
        "SFTP": ("files", sftp, {"path": "*", "format": "csv"}, {"username": "u", "password": "canary"}),
    }


@pytest.mark.parametrize("way", kinds(""))
@pytest.mark.sample(2)
def test_the_reason_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(rest_http, "ATTEMPTS", 2)
    with serving(closing) as address:
        for place, reason in (("127.0.0.1:9", REFUSED), ("nowhere.invalid:5555", UNKNOWN), (address, CLOSED)):
            kind, source, table, keys = kinds(place)[way]
            extract = __import__(f"sluice.extract.{kind}", fromlist=["extract"]).extract
            declaration = {
                "sources": [
                    {
                        "name": "s",
                        "database": "raw",
                        "config": {"meta": {"load": source}},
                        "tables": [{"name": "t", "config": {"meta": {"load": table}}}],
                    }
                ]
            }
            try:
                error: Exception = run(extract, declaration, tmp_path, values={"c": keys}).errors["t"]
            except ConnectionError as raised:  # before any table
                error = raised
            assert isinstance(error, ConnectionError)
            assert reason in str(error)
            assert "canary" not in str(error)
            assert ("no connection" in str(error)) <= (reason != CLOSED or way == "NATS")
    assert "Traceback" not in capfd.readouterr().err


def test_kafka_names_the_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from sluice.extract.stream import kafka

    log = kafka._Log()
    log.logger.warning(
        "FAIL [rdkafka#consumer-1] Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms)"
    )
    assert why_unreachable(log.last) == REFUSED
    assert "rdkafka" not in capfd.readouterr().err


def test_tls_and_silence_are_told_apart() -> None:
    with serving(plain) as address, pytest.raises(requests.exceptions.SSLError) as raised:
        requests.get(f"https://{address}/", timeout=5)
    assert why_unreachable(raised.value) == TLS
    with serving(lambda _: time.sleep(0.4)) as address, pytest.raises(requests.Timeout) as late:
        requests.get(f"http://{address}/", timeout=0.1)
    assert why_unreachable(late.value) == SILENT


def test_what_is_no_matter_of_the_connection_is_left_as_it_is() -> None:
    for text in (
        "password authentication failed for user",
        "permission denied for table x",
        "no such bucket",
    ):
        assert why_unreachable(text) is None
