"""A connection that hears nothing is shut down from outside; those to other places are left alone."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sluice.extract import silence
from sluice.extract.silence import TIMES_AS_LONG, Watch

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows when data came")


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connections, to two ports; nobody says anything."""
    with ExitStack() as stack:
        ends = []
        for _ in range(2):
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            client = stack.enter_context(socket.create_connection(server.getsockname()))
            stack.enter_context(server.accept()[0])
            ends.append(client)
        yield ends[0], ends[1]


@pytest.mark.parametrize("system", [pytest.param("linux", marks=linux), "darwin"])
def test_a_silent_connection_ends(
    connected: tuple[socket.socket, socket.socket], system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time that nothing came; elsewhere than on Linux, after a time for all."""
    monkeypatch.setattr(sys, "platform", system)
    watched, other = connected
    watch = Watch(*watched.getpeername())
    watched.settimeout(30)
    with watch.on(0.2):
        assert watched.recv(1) == b"", "it has ended"
    assert watch.seconds == (0.2 if system == "linux" else 0.2 * TIMES_AS_LONG)
    assert watch.reason.startswith("nothing came" if system == "linux" else "reading did not end")
    other.settimeout(0.1)
    with pytest.raises(TimeoutError):
        other.recv(1)


def test_nothing_is_cut_before_its_time(connected: tuple[socket.socket, socket.socket]) -> None:
    watched, _ = connected
    watch = Watch(*watched.getpeername())
    watched.settimeout(0.3)
    with watch.on(3600), pytest.raises(TimeoutError):
        watched.recv(1)
    assert watch.seconds is None


def test_a_connection_that_receives_something_keeps_the_others(
    connected: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, _ = connected
    with socket.create_connection(watched.getpeername()):  # another to the same address
        ages = iter([0.0, 99.0] * 1000)
        monkeypatch.setattr(silence, "seconds_since_received", lambda _: next(ages))
        watched.settimeout(0.5)
        with Watch(*watched.getpeername()).on(0.1), pytest.raises(TimeoutError):
            watched.recv(1)


def test_a_name_nobody_knows_is_no_error_here() -> None:
    with Watch("nowhere.invalid", 5432).on(0.05):
        pass
