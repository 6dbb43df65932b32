"""Proxies on loopback that stand before a real server and break what a network breaks.

HttpProxy forwards request by request; a `script` says which request meets which fault. TcpProxy forwards bytes of any
protocol and breaks connections. Both count what they saw, and both may refuse connections for a while.

    with HttpProxy(pocketbase.base_url) as proxy:
        proxy.script = {2: cut_off}                     # the second of the requests `counts` is true for
        ... load from proxy.url ...
        proxy.seen                                      # what was asked, with headers

A fault is a function of an Exchange, which holds the request, asks the real server on demand, and writes to the client.
"""

from __future__ import annotations

import gzip
import http.client
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

HOP = {"connection", "transfer-encoding", "content-length", "date", "keep-alive"}
"""Headers that belong to one connection, not to the answer."""


def reset(connection: socket.socket) -> None:
    """Close with RST, as a firewall or a dying host does; what is under way is lost."""
    taken = socket.socket(
        fileno=connection.detach()
    )  # from a thread that may wait on it, and would end it orderly
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        taken.shutdown(socket.SHUT_RD)  # a thread that waits on it keeps it open
    taken.close()


@dataclass
class Exchange:
    """One request of a client, and its connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: socket.socket
    target: tuple[str, int]
    keeps_alive: bool
    """Whether the connection serves for more requests."""
    asked: list[Any] = field(default_factory=list)

    def real(self) -> tuple[int, dict[str, str], bytes]:
        """The real server's answer: status, headers, body."""
        if not self.asked:
            upstream = http.client.HTTPConnection(*self.target, timeout=30)
            upstream.request(
                self.method, self.path, self.body, {**self.headers, "accept-encoding": "identity"}
            )
            answer = upstream.getresponse()
            headers = {k.lower(): v for k, v in answer.getheaders() if k.lower() not in HOP}
            self.asked.append((answer.status, headers, answer.read()))
            upstream.close()
        found: tuple[int, dict[str, str], bytes] = self.asked[0]
        return found

    def send(self, status: int, headers: Mapping[str, str], *pieces: bytes) -> None:
        """Write a head and, after it, whatever pieces: the head is not made to fit them."""
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [] if self.keeps_alive else ["connection: close"]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + b"".join(pieces))

    def forward(self) -> None:
        """The real answer, unspoilt."""
        status, headers, body = self.real()
        self.send(status, {**headers, "content-length": str(len(body))}, body)

    def wait_for_hang_up(self) -> None:
        """Say nothing until the client gives up."""
        select.select([self.connection], [], [], 60)


Fault = Callable[[Exchange], object]


# -- faults; each leaves the connection unusable but for those that answer with a status ------------------


def hang(exchange: Exchange) -> None:
    """No answer at all."""
    exchange.wait_for_hang_up()


def hang_in_the_middle(exchange: Exchange) -> None:
    """Half of the answer, then silence."""
    status, headers, body = exchange.real()
    exchange.send(status, {**headers, "content-length": str(len(body))}, body[: len(body) // 2])
    exchange.wait_for_hang_up()


def drip(exchange: Exchange) -> None:
    """A byte now and then, for longer than anybody waits."""
    status, headers, body = exchange.real()
    exchange.send(status, {**headers, "content-length": str(len(body) + 10**6)}, body)
    for _ in range(300):
        time.sleep(0.2)
        exchange.connection.sendall(b" ")


def reset_at_once(exchange: Exchange) -> None:
    reset(exchange.connection)


def reset_in_the_middle(exchange: Exchange) -> None:
    status, headers, body = exchange.real()
    exchange.send(status, {**headers, "content-length": str(len(body))}, body[: len(body) // 2])
    reset(exchange.connection)


def close_at_once(exchange: Exchange) -> None:
    """An orderly end of the connection, but no answer."""


def cut_off(exchange: Exchange) -> None:
    """Half of the bytes that Content-Length promises."""
    status, headers, body = exchange.real()
    exchange.send(status, {**headers, "content-length": str(len(body))}, body[: len(body) // 2])


def cut_off_chunks(exchange: Exchange) -> None:
    """A whole chunk, but neither the others nor the last, empty one."""
    status, headers, body = exchange.real()
    half = body[: len(body) // 2]
    exchange.send(status, {**headers, "transfer-encoding": "chunked"}, b"%x\r\n" % len(half), half, b"\r\n")


def cut_off_unseen(exchange: Exchange) -> None:
    """Half of the body where only the end of the connection ends it: nothing but the JSON can tell."""
    status, headers, body = exchange.real()
    exchange.send(status, headers, body[: len(body) // 2])


def cut_off_between_records(exchange: Exchange) -> None:
    """As a server does that fails while it writes: well-formed up to a record, then the end."""
    status, headers, body = exchange.real()
    exchange.send(status, headers, body[: body.rindex(b"},{") + 1])


def cut_off_gzip(exchange: Exchange) -> None:
    """Half of a packed body, with a Content-Length that fits the half."""
    status, headers, body = exchange.real()
    packed = gzip.compress(body)
    packed = packed[: len(packed) // 2]
    exchange.send(status, {**headers, "content-encoding": "gzip", "content-length": str(len(packed))}, packed)


def spoil_gzip(exchange: Exchange) -> None:
    """A byte in the middle of a packed body is another."""
    status, headers, body = exchange.real()
    packed = bytearray(gzip.compress(body))
    for at in range(len(packed) // 2, len(packed) // 2 + 8):
        packed[at] ^= 0xFF
    exchange.send(
        status, {**headers, "content-encoding": "gzip", "content-length": str(len(packed))}, bytes(packed)
    )


def gateway_page(content_type: str, status: int = 200) -> Fault:
    """What a gateway shows while the service behind it is away."""
    page = b"<html><body><h1>We will be back soon</h1></body></html>"
    return answer(status, page, {"content-type": content_type})


def answer(status: int, body: bytes | Any = b"{}", headers: Mapping[str, str] | None = None) -> Fault:
    """An answer of the proxy itself."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()

    def fault(exchange: Exchange) -> None:
        given = {"content-type": "application/json", "content-length": str(len(text)), **(headers or {})}
        exchange.send(status, given, text)

    return fault


def busy_until(seconds: int, *, ahead: timedelta = timedelta(0)) -> Fault:
    """429 with Retry-After as an HTTP date, by a clock that may be ahead of ours."""

    def fault(exchange: Exchange) -> None:
        now = datetime.now(UTC) + ahead
        moments = {"date": now, "retry-after": now + timedelta(seconds=seconds)}
        answer(429, headers={k: format_datetime(v, usegmt=True) for k, v in moments.items()})(exchange)

    return fault


def redirect(url: Callable[[], str], status: int = 307) -> Fault:
    """To the same path at another address."""

    def fault(exchange: Exchange) -> None:
        answer(status, b"", {"location": url() + exchange.path})(exchange)

    return fault


def before(act: Callable[[], object], then: Fault = Exchange.forward) -> Fault:
    """Something happens on the server between the page before and this one."""

    def fault(exchange: Exchange) -> None:
        act()
        then(exchange)

    return fault


# -- proxies ---------------------------------------------------------------------------------------------


class HttpProxy:
    """Forwards requests to `target`; those that `counts` says yes to are numbered from 1 and may meet a fault."""

    def __init__(self, target: str, counts: Callable[[str], bool] = lambda path: True) -> None:
        parts = urlsplit(target)
        assert parts.hostname
        assert parts.port
        self.target = (parts.hostname, parts.port)
        self.counts = counts
        self.script: Mapping[int, Fault] = {}
        self.otherwise: Fault = Exchange.forward
        self.seen: list[Exchange] = []
        """All requests, in order."""
        self._counted = 0
        self._lock = threading.Lock()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> HttpProxy:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    def listen(self) -> None:
        """Take connections, at the same port as before."""
        if self._server is not None:
            return
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {key.lower(): value for key, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                fault = proxy.fault_of(self.path)
                # what a fault leaves behind is no place for the next answer
                self.close_connection = fault is not Exchange.forward
                exchange = Exchange(
                    self.command,
                    self.path,
                    headers,
                    body,
                    self.connection,
                    proxy.target,
                    not self.close_connection,
                )
                proxy.seen.append(exchange)
                fault(exchange)

            do_POST = do_GET  # noqa: N815

            def do_HEAD(self) -> None:
                """Forwarded and not counted: there is no body that a network might break."""
                upstream = http.client.HTTPConnection(*proxy.target, timeout=30)
                upstream.request("HEAD", self.path, headers=dict(self.headers.items()))
                answer = upstream.getresponse()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                upstream.close()

            def log_message(self, *_: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: Any) -> None:
                """The client has gone, as it should."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def refuse(self) -> None:
        """Take no connections until `listen`."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fault_of(self, path: str) -> Fault:
        if not self.counts(path):
            return Exchange.forward
        with self._lock:
            self._counted += 1
            return self.script.get(self._counted, self.otherwise)


class TcpProxy:
    """Forwards bytes; `spoil(connection number, bytes the server sent on it)` may end or silence a connection.

    It says `"reset"`, `"close"`, `"silence"` or None, and is asked before every piece that the server sent.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.spoil: Callable[[int, int], str | None] = lambda number, sent: None
        self.rewrite: Callable[[bytes], bytes] = lambda piece: piece
        """What the server says, as the client gets it: of the same length."""
        self.connections = 0
        self._listener: socket.socket | None = None
        self._port = 0
        self._open: list[socket.socket] = []

    @property
    def port(self) -> int:
        return self._port

    def __enter__(self) -> TcpProxy:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        for connection in self._open:
            connection.close()

    def listen(self) -> None:
        """Take connections, at the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Take no connections until `listen`."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(self.target)
            self._open += [client, server]
            number = self.connections
            threading.Thread(target=self._pump, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, number), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, number: int | None) -> None:
        """Copy one direction; `number` is the connection's where it is the server that speaks."""
        sent = 0
        try:
            while piece := source.recv(65536):
                fate = self.spoil(number, sent) if number is not None else None
                piece = self.rewrite(piece) if number is not None else piece
                if fate == "reset":
                    reset(sink)
                    source.close()
                    return
                if fate == "close":
                    sink.sendall(piece[: len(piece) // 2])
                    break
                if fate == "silence":
                    continue
                sink.sendall(piece)
                sent += len(piece)
        except OSError:  # one side has gone
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
