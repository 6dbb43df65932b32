"""Who is calling: tokens are checked before anything else, and calls and connections end in bounded time.

pyarrow's server has no time limits and cannot end a call whose client does not read. Its connections are sockets of
this process, though, and one that is shut down ends its calls.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import pyarrow.flight as fl

from sluice.serve.audit import Audit
from sluice.serve.failures import answered
from sluice.serve.lanes import Place
from sluice.serve.query_process import Limits
from sluice.serve.tokens import Tokens
from sluice.system import sockets

CALLS_PER_TOKEN = 64
"""At the same time, waiting ones included."""
REFUSALS_AT_ONCE = 32
REFUSAL_SECONDS = 0.5
"""What a wrong token waits for its answer, where not more than REFUSALS_AT_ONCE wait: it slows down who tries many."""
GRACE_SECONDS = 2
"""After its deadline, a call has this long to tell its client so; then its connection ends."""
UNKNOWN_SECONDS = 10
"""A connection without a valid token ends after this time."""
UNKNOWN_CONNECTIONS = 200
"""Connections without a valid token, beyond which the oldest ones end at once."""
IDLE_SECONDS = 600
"""A connection without a call ends after this time; clients connect again by themselves."""
READING = (
    fl.FlightMethod.GET_FLIGHT_INFO,
    fl.FlightMethod.DO_GET,
    fl.FlightMethod.DO_ACTION,
    fl.FlightMethod.LIST_ACTIONS,
)
"""Methods that are answered. The others would send data, or are not part of Flight SQL's reading."""


class Call(fl.ServerMiddleware):  # type: ignore[misc]  # pyarrow has no types
    """One call of a reader, until it has ended."""

    def __init__(self, calls: Calls, who: str, token: str) -> None:
        self._calls = calls
        self.who = who
        self.token = token
        self.deadline = time.monotonic() + calls.limits.seconds
        self.peer = ""
        """Address of the client, once the call is being answered."""
        self.place: Place | None = None
        """Of the query that runs for it."""

    def call_completed(self, exception: Exception | None) -> None:
        self._calls.end(self)


class Calls:
    """Calls that are being answered, by their token and connection."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.is_open = True
        """False once the audience is not published any more."""
        self._lock = threading.Lock()
        self._running: set[Call] = set()
        self._per_token: Counter[str] = Counter()
        self._last_used: dict[str, float] = {}
        """By address: when a call of it was answered last."""
        self._first_seen: dict[str, float] = {}

    @property
    def running(self) -> list[Call]:
        with self._lock:
            return list(self._running)

    def begin(self, who: str, token: str) -> Call:
        """Admit a call; raises FlightUnavailableError for one too many of a token."""
        if not self.is_open:
            raise fl.FlightUnauthorizedError("not allowed: nothing is published for this audience any more")
        with self._lock:
            if self._per_token[who] >= CALLS_PER_TOKEN:
                raise fl.FlightUnavailableError(
                    f"{CALLS_PER_TOKEN} calls of this token are being answered; try again"
                )
            call = Call(self, who, token)
            self._per_token[who] += 1
            self._running.add(call)
        return call

    def locate(self, call: Call, peer: str) -> None:
        """Remember where a call comes from."""
        with self._lock:
            call.peer = peer
            self._last_used[peer] = time.monotonic()

    def end(self, call: Call) -> None:
        with self._lock:
            if call in self._running:
                self._running.remove(call)
                self._per_token[call.who] -= 1
                if call.peer in self._last_used:
                    self._last_used[call.peer] = time.monotonic()

    def end_connections(self, port: int) -> None:
        """End the connections of calls that are over time, and those nobody uses."""
        now = time.monotonic()
        running = self.running
        late = {call.peer for call in running if now > call.deadline + GRACE_SECONDS}
        # behind a proxy, a connection has calls of several readers: it does not end for one of them
        shared = {
            call.peer
            for call in running
            for other in running
            if other.peer == call.peer and other.who != call.who
        }
        open_now: dict[str, Any] = {}
        for connection in sockets():
            try:
                if connection.getsockname()[1] == port:
                    open_now[_address(connection.getpeername())] = connection
                    continue
            except (OSError, IndexError, TypeError):  # it listens, is of another kind, or was closed
                pass
            connection.close()
        with self._lock:
            self._first_seen = {peer: self._first_seen.get(peer, now) for peer in open_now}
            self._last_used = {peer: at for peer, at in self._last_used.items() if peer in open_now}
            busy = {call.peer for call in running}
            unknown = [peer for peer in self._first_seen if peer not in self._last_used]
            unknown.sort(key=self._first_seen.__getitem__)
            ends = {peer for peer in unknown if now > self._first_seen[peer] + UNKNOWN_SECONDS}
            ends |= set(unknown[: max(0, len(unknown) - UNKNOWN_CONNECTIONS)]) | (late - shared)
            ends |= {
                peer for peer, at in self._last_used.items() if peer not in busy and now > at + IDLE_SECONDS
            }
        for peer, connection in open_now.items():
            if peer in ends:
                with suppress(OSError):  # it is closed by now
                    connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class Gate(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    """Admits calls that carry a token of the audience."""

    def __init__(self, audience: str, tokens: Tokens, audit: Audit, calls: Calls) -> None:
        super().__init__()
        self._audience = audience
        self._tokens = tokens
        self._audit = audit
        self._calls = calls
        self._refusals = threading.BoundedSemaphore(REFUSALS_AT_ONCE)

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> Call:
        return answered(self._admit, info, headers)

    def _admit(self, info: Any, headers: dict[str, list[str]]) -> Call:
        values = next((v for k, v in headers.items() if k.lower() == "authorization"), [])
        token = _token(values)
        who = self._tokens.owner(self._audience, token) if token else None
        if who is None or token is None:
            reason = "wrong or revoked token" if token else "no token"
            self._audit.note(
                self._audience, None, "refused", None, "unknown", f"{reason}, {info.method.name}"
            )
            if self._refusals.acquire(blocking=False):
                time.sleep(REFUSAL_SECONDS)
                self._refusals.release()
            raise fl.FlightUnauthenticatedError("a valid token is needed: authorization: Bearer <token>")
        if info.method not in READING:
            self._audit.note(self._audience, None, "refused", None, who, f"the method {info.method.name}")
            raise fl.FlightUnauthorizedError(
                "not allowed: this server is read-only and answers GetFlightInfo, DoGet, DoAction and ListActions"
            )
        return self._calls.begin(who, token)


def _token(headers: list[str]) -> str | None:
    """The token of `authorization: Bearer <token>`; the header may be repeated, but not with another value."""
    if len(set(headers)) != 1:
        return None
    scheme, _, token = headers[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _address(name: Any) -> str:
    """A socket's address as gRPC writes it: `ipv4:127.0.0.1:40000`, `ipv6:%5B::1%5D:40000`."""
    host, port = name[0].removeprefix("::ffff:"), name[1]
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
