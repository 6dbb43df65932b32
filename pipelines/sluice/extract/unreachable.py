"""Why a server cannot be reached, in the same words for every kind, because each reason has another remedy."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Iterator

REFUSED = "the server refuses connections: nothing listens on this port"
UNKNOWN = "no host of this name is known"
CLOSED = "the server closed the connection without answering"
SILENT = "the server did not answer in time"
NO_ROUTE = "there is no way to the server from here: check the network, a VPN or a firewall"
UNTRUSTED = "the server's TLS certificate is not trusted"
TLS = "TLS cannot be agreed on: perhaps only one side speaks it"

BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, UNTRUSTED),
    (ssl.SSLEOFError, CLOSED),
    (ssl.SSLZeroReturnError, CLOSED),
    (ssl.SSLError, TLS),
    (socket.gaierror, UNKNOWN),
    (ConnectionRefusedError, REFUSED),
    (TimeoutError, SILENT),
    (http.client.RemoteDisconnected, CLOSED),
    (ConnectionResetError, CLOSED),
    (ConnectionAbortedError, CLOSED),
    (BrokenPipeError, CLOSED),
    (EOFError, CLOSED),
)
BY_TEXT: tuple[tuple[str, tuple[str, ...]], ...] = (
    (UNTRUSTED, ("certificate.*(verif|trust|self.signed|expired|mismatch)", "verif.*certificate")),
    (TLS, ("wrong version number", "unsupported protocol", "unknown protocol", "handshake failure", "ssl_?handshake",
           "does not support ssl", "insecure transport")),
    (REFUSED, ("refused", "unable to connect to port", r"\((111|61|10061)\)", r"can't connect to .* \(115\)")),
    (UNKNOWN, ("name or service not known", "name resolution", "translate host name", "unknown .*host", "getaddrinfo",
               "nodename nor servname", "failed to resolve")),
    (NO_ROUTE, ("no route to host", "unreachable", r"\((113|101)\)")),
    (SILENT, ("timed out", "timeout", "no answer")),
    (CLOSED, ("closed the connection", "connection (was )?(closed|reset|aborted)", "remote end closed", "disconnected",
              "lost connection", "unexpected(ly)? (eof|end)", "eof occurred", "ssh protocol banner", "broken pipe",
              "empty response")),
)  # fmt: skip
"""What clients of databases, brokers and stores write, in small letters."""


HELD = ("reason", "orig", "os_error")
"""Attributes in which urllib3, SQLAlchemy and aiohttp keep the error that was first."""


def with_reason(said: str, error: BaseException | str) -> str:
    """What a client said, after the reason that it means, where that is known."""
    reason = why_unreachable(error)
    return f"{reason} ({said})" if reason else said


def why_unreachable(error: BaseException | str) -> str | None:
    """What is wrong with the connection, as a clause; None if that is not known."""
    texts = [error] if isinstance(error, str) else []
    for cause in () if isinstance(error, str) else _causes(error):
        for kind, reason in BY_TYPE:
            if isinstance(cause, kind):
                return reason
        if isinstance(cause, OSError) and cause.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return NO_ROUTE
        texts.append(str(cause))
    for text in texts:
        for reason, patterns in BY_TEXT:
            if any(re.search(pattern, text.lower(), re.DOTALL) for pattern in patterns):
                return reason
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Everything an error goes back to, the first cause first: clients wrap errors, and hold them as attributes."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.append(one)
        within = [one.__cause__, one.__context__, *one.args, *(getattr(one, name, None) for name in HELD)]
        for several in ("errors", "kwargs"):  # of paramiko, and of botocore
            held = getattr(one, several, None)
            within += held.values() if isinstance(held, dict) else ()
        waiting += [inner for inner in within if isinstance(inner, BaseException)]
    return reversed(found)
