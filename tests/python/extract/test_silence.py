"""A connection that hears nothing is shut down from outside; those to other places are left alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sluice.extract.silence import Watch


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


def test_a_silent_connection_ends(connected: tuple[socket.socket, socket.socket]) -> None:
    watched, other = connected
    watch = Watch(*watched.getpeername())
    watched.settimeout(30)
    with watch.on(0.2):
        assert watched.recv(1) == b"", "it has ended"
    assert watch.seconds == 0.2
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


def test_a_name_nobody_knows_is_no_error_here() -> None:
    with Watch("nowhere.invalid", 5432).on(0.05):
        pass
