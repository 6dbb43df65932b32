"""A limit on how long a server may send nothing while it is read.

This is our own because drivers written in C wait for the next byte as long as the connection stands, ignore interrupts,
and have no time-out for it, so that no library around them could end the wait. Their sockets belong to this process,
though: a watch checks when each of them last received data and shuts it down when that was too long ago, and the driver
then sees a closed connection. Where the system does not know when data came, the whole reading gets a time-out.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from sluice.system import seconds_since_received, sockets

LOOKS = 20
"""How often a watch looks within its time."""
TIMES_AS_LONG = 8
"""How much longer reading may take in all, where the system does not know when data came."""


class Watch:
    """Shuts down this process's connections to an address once none of them has received anything for some time.

    Sources on the same server are watched together: as long as one of them receives something, none is ended.
    """

    def __init__(self, host: str, port: int) -> None:
        self._peers: set[tuple[str, int] | None] = set()
        with suppress(OSError):  # a name that cannot be resolved fails better where the connection is made
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._peers = {(str(address[4][0]), port) for address in found}
        self.seconds: float | None = None
        """How long the silence was that ended the connections; None as long as there was none."""
        self.reason = ""
        """Why the connections were ended, in words."""

    @contextmanager
    def on(self, seconds: float) -> Iterator[None]:
        """Watch while the block runs."""
        done = threading.Event()
        thread = threading.Thread(target=self._watch, args=(seconds, done), name="silence", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def cut(self) -> None:
        """Shut the connections down now."""
        for connection in self._connections():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _watch(self, seconds: float, done: threading.Event) -> None:
        looks = 0
        while not done.wait(seconds / LOOKS):
            looks += 1
            connections = list(self._connections())
            try:
                ages = [seconds_since_received(connection) for connection in connections]
                if not ages or looks <= LOOKS:
                    continue
                known = [age for age in ages if age is not None]
                if len(known) < len(ages):
                    if looks > LOOKS * TIMES_AS_LONG:
                        longest = seconds * TIMES_AS_LONG
                        self._end(connections, longest, f"reading did not end within {longest:.0f} seconds")
                elif min(known) > seconds:
                    self._end(connections, seconds, f"nothing came for {seconds:.0f} seconds")
            finally:
                for connection in connections:
                    connection.close()

    def _end(self, connections: Iterable[socket.socket], seconds: float, reason: str) -> None:
        self.seconds, self.reason = seconds, reason
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _connections(self) -> Iterator[socket.socket]:
        """Duplicates of this process's sockets that are connected to the address."""
        for connection in sockets():
            if _peer(connection) in self._peers:
                yield connection
            else:
                connection.close()


class Deadline:
    """Ends what a thread waits for at a server once it takes longer than `seconds`, even if a little keeps coming.

    One thread looks once in a while; beginning and ending cost nothing.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        """Whether the last thing took too long."""
        self._began: tuple[float, str, int] | None = None
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def on(self, host: str, port: int) -> Iterator[None]:
        """Limit the time of the block, which talks to this address."""
        self.passed = False
        self._began = (time.monotonic(), host, port)
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="deadline", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._began = None

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(self.seconds / LOOKS):
            began = self._began
            if began and time.monotonic() - began[0] > self.seconds:
                self.passed = True
                Watch(*began[1:]).cut()


def _peer(connection: socket.socket) -> tuple[str, int] | None:
    """Host and port of the other side of an internet connection."""
    try:
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        host, port, *_ = connection.getpeername()
    except OSError:
        return None
    return host, port
