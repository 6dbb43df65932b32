"""Twenty clients that do what no client should, for as long as their parent lives: `python -m … <port> <token>…`."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable

import pyarrow.flight as fl

from sluice.serve.flight_sql import pack

Attack = Callable[[int, fl.FlightCallOptions], None]


def _client(port: int) -> fl.FlightClient:
    return fl.connect(f"grpc://127.0.0.1:{port}")


def _ask(sql: str) -> Attack:
    def ask(port: int, options: fl.FlightCallOptions) -> None:
        ticket = fl.Ticket(pack("TicketStatementQuery", statement_handle=sql.encode()))
        _client(port).do_get(ticket, options).read_all()

    return ask


def _stall(port: int, options: fl.FlightCallOptions) -> None:
    sql = b"select repeat('x', 1000) from range(100000000)"
    reader = _client(port).do_get(fl.Ticket(pack("TicketStatementQuery", statement_handle=sql)), options)
    reader.read_chunk()
    time.sleep(8)


def _leave(port: int, options: fl.FlightCallOptions) -> None:
    sql = b"select repeat('x', 1000) from range(1000000)"
    _client(port).do_get(fl.Ticket(pack("TicketStatementQuery", statement_handle=sql)), options).cancel()


def _command(name: str, **fields: str) -> Attack:
    def call(port: int, options: fl.FlightCallOptions) -> None:
        descriptor = fl.FlightDescriptor.for_command(pack(name, **fields))
        _client(port).get_flight_info(descriptor, options)

    return call


def _wrong_token(port: int, options: fl.FlightCallOptions) -> None:
    wrong = fl.FlightCallOptions(headers=[(b"authorization", b"Bearer guessed")])
    list(_client(port).list_actions(wrong))


def _half_open(port: int, options: fl.FlightCallOptions) -> None:
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    time.sleep(1)
    for connection in opened:
        connection.close()


def _drip(port: int, options: fl.FlightCallOptions) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
            connection.send(bytes([byte]))
            time.sleep(1)


def _flood(port: int, options: fl.FlightCallOptions) -> None:
    for _ in range(20):
        socket.create_connection(("127.0.0.1", port)).close()


ATTACKS: list[Attack] = [
    _ask("select reservoir_quantile(range, 0.5, 2000000000) from range(10)"),
    _ask("select sum(a.range * b.range) from range(10000000) a, range(1000) b"),
    _ask("select length(repeat('a', 1000000000))"),
    _ask("select count(distinct hash(a.range, b.range)) from range(100000) a, range(10000) b"),
    _ask("select getenv('HOME')"),
    _ask("select 1 in (" + ",".join("1" for _ in range(45_000)) + ")"),
    _stall,
    _leave,
    _command("CommandGetTables", table_name_filter_pattern="%a" * 2_000_000),
    _command("CommandStatementQuery", query="select list_sum(range(1000000000))"),
    _wrong_token,
    _half_open,
    _drip,
    _flood,
]
PAUSE_SECONDS = 0.5
"""Between two attacks of a client: the processors are the readers', too, as all of them are on this machine."""


def _attack(attack: Attack, port: int, token: str) -> None:
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())], timeout=20)
    while True:
        with contextlib.suppress(fl.FlightError, OSError):
            attack(port, options)
        time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Attack until standard input ends."""
    port, tokens = int(sys.argv[1]), sys.argv[2:]
    for attack, token in zip(itertools.cycle(ATTACKS), tokens, strict=False):
        threading.Thread(target=_attack, args=(attack, port, token), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
