"""What a network may do to a load of a web API, and what the load does then; `docs/loading.md` prints this list.

Each case is a script of faults by the number of the request for the table `things`, which has four pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from tests.python.network.proxy import (
    Exchange,
    Fault,
    answer,
    before,
    busy_until,
    close_at_once,
    cut_off,
    cut_off_between_records,
    cut_off_chunks,
    cut_off_gzip,
    cut_off_unseen,
    drip,
    gateway_page,
    hang,
    hang_in_the_middle,
    redirect,
    reset_at_once,
    reset_in_the_middle,
    spoil_gzip,
)

PAGES = 4
"""Requests of a load that nothing disturbs."""


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong. `World` is test_faults.World, whose server and proxy a script may use."""

    script: Callable[[Any], Mapping[int, Fault]]
    requests: int
    """How many of them the load makes for the table."""
    otherwise: Fault = Exchange.forward
    """What requests meet that the script does not name."""
    told: tuple[str, ...] = ()
    """What the error says; empty where the load gets over it."""
    waits: tuple[float, ...] | None = None
    """The least seconds of each wait."""
    is_for_all: bool = False
    """Whether other tables meet it, too."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of rest_http, to make it impatient."""


def once(fault: Fault, at: int = 3) -> Callable[[Any], Mapping[int, Fault]]:
    """The fault meets one request."""
    return lambda world: {at: fault}


def twice(fault: Fault, at: int = 3) -> Callable[[Any], Mapping[int, Fault]]:
    """The fault meets two requests, one after the other."""
    return lambda world: {at: fault, at + 1: fault}


def never(world: Any) -> Mapping[int, Fault]:
    return {}


SLOW_DOWN = answer(
    503,
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    {"content-type": "application/xml"},
)
SOON = {"TIMEOUT_SECONDS": (5.0, 1.0)}
TRIED = "after 6 tries"

PASSES: dict[str, Case] = {
    "no answer within the time-out": Case(once(hang), PAGES + 1, settings=SOON),
    "half an answer, then silence": Case(once(hang_in_the_middle), PAGES + 1, settings=SOON),
    "connection reset before the answer": Case(twice(reset_at_once), PAGES + 2),
    "connection reset in the middle of the body": Case(twice(reset_in_the_middle), PAGES + 2),
    "connection closed without an answer": Case(twice(close_at_once, 1), PAGES + 2),
    "body shorter than its Content-Length": Case(twice(cut_off), PAGES + 2),
    "chunked body without its last chunk": Case(twice(cut_off_chunks), PAGES + 2),
    "body without length cut within a record": Case(twice(cut_off_unseen), PAGES + 2),
    "body without length cut between two records": Case(twice(cut_off_between_records), PAGES + 2),
    "packed body cut off": Case(twice(cut_off_gzip), PAGES + 2),
    "packed body spoilt": Case(twice(spoil_gzip), PAGES + 2),
    "500 five times, then well": Case(
        lambda world: dict.fromkeys(range(2, 7), answer(500)), PAGES + 5, waits=(0.25, 0.5, 1, 2, 4)
    ),
    "502 with a gateway's page": Case(twice(gateway_page("text/html", 502)), PAGES + 2),
    "200 with a gateway's page": Case(twice(gateway_page("text/html")), PAGES + 2),
    "200 with a gateway's page that calls itself JSON": Case(
        twice(gateway_page("application/json")), PAGES + 2
    ),
    "503 without Retry-After": Case(twice(answer(503)), PAGES + 2, waits=(0.25, 0.5)),
    "503 with Retry-After": Case(once(answer(503, headers={"retry-after": "7"})), PAGES + 1, waits=(7,)),
    "429 with Retry-After in seconds": Case(
        twice(answer(429, headers={"retry-after": "120"})), PAGES + 2, waits=(120, 120)
    ),
    "429 with Retry-After 0, again and again": Case(
        lambda world: dict.fromkeys(range(2, 7), answer(429, headers={"retry-after": "0"})),
        PAGES + 5, waits=(0.25, 0.5, 1, 2, 4),
    ),
    "429 with Retry-After as a date": Case(once(busy_until(120)), PAGES + 1, waits=(119,)),
    "429 with a date by a clock an hour ahead": Case(
        once(busy_until(120, ahead=timedelta(hours=1))), PAGES + 1, waits=(119,)
    ),
    "429 with a date by a clock an hour behind": Case(
        once(busy_until(120, ahead=timedelta(hours=-1))), PAGES + 1, waits=(119,)
    ),
    "connections refused for a while": Case(
        lambda world: {2: before(world.refuse_until_the_third_wait, reset_at_once)}, PAGES + 1
    ),
    "401 in the middle: the token has ended": Case(once(answer(401)), PAGES + 1, waits=()),
    "an empty page in the middle: the token has ended": Case(
        lambda world: {3: before(world.end_all_tokens)}, 3 + PAGES
    ),
    "an empty first page: the token has ended": Case(
        lambda world: {1: before(world.end_all_tokens)}, 2 + PAGES
    ),
    "a redirect back to the same server": Case(lambda world: {3: redirect(lambda: world.proxy.url)}, PAGES + 1),
    "a record added between two pages": Case(
        lambda world: {3: before(lambda: world.put(1000, "00600"))}, PAGES
    ),
    "a record added in front of those read": Case(
        lambda world: {3: before(lambda: world.put(1000, "00119"))}, 2 * PAGES
    ),
    "a record read before changed between two pages": Case(
        lambda world: {3: before(lambda: world.put(130, "00600"))}, 2 * PAGES
    ),
    "a record not yet read changed between two pages": Case(
        lambda world: {3: before(lambda: world.put(230, "00600"))}, PAGES
    ),
    "a record read before deleted between two pages": Case(
        lambda world: {3: before(lambda: world.delete(130))}, 2 * PAGES
    ),
    "a page of records deleted between two pages": Case(
        lambda world: {3: before(lambda: world.delete(*range(121, 161)))}, 3 + 3
    ),
    "a record deleted in each of two readings": Case(
        lambda world: {
            3: before(lambda: world.delete(130)), 7: before(lambda: world.delete(131))
        }, 3 * PAGES,
    ),
}  # fmt: skip
"""Faults after which a load still succeeds and raw equals the source; by the name of the fault."""

FAILS: dict[str, Case] = {
    "500 for ever": Case(
        never, 6, answer(500, {"detail": "out of order"}),
        ("GET http://", "answered 500", TRIED, "out of order", "load again later"),
    ),
    "500 for ever from the third page on": Case(
        lambda world: {1: Exchange.forward, 2: Exchange.forward}, 8, answer(500), ("answered 500", TRIED)
    ),
    "429 for ever": Case(
        never, 6, answer(429, headers={"retry-after": "120"}), ("answered 429", TRIED, "load less often"),
        waits=(120,) * 5,
    ),
    "429 that asks to come back tomorrow": Case(
        never, 1, answer(429, headers={"retry-after": "86400"}), ("asks to wait 86400 seconds",), waits=()
    ),
    "no answer, ever": Case(
        never, 2, hang, ("was not answered in time after 2 tries",), settings={**SOON, "ATTEMPTS": 2}
    ),
    "a byte now and then, without end": Case(
        never, 1, drip, ("the answer did not end within 3 seconds",), waits=(), settings={"ANSWER_SECONDS": 3.0}
    ),
    "connections reset for ever": Case(never, 6, reset_at_once, ("closed the connection without answering", TRIED)),
    "bodies cut off for ever": Case(once(Exchange.forward, 1), 7, cut_off, ("the answer broke off", TRIED)),
    "a gateway's page for ever": Case(never, 6, gateway_page("text/html"), ("is not whole JSON", TRIED)),
    "connections refused for ever": Case(
        lambda world: {2: before(world.proxy.refuse, reset_at_once)}, 2, told=("no connection", TRIED),
        is_for_all=True,
    ),
    "401 for ever": Case(
        never, 2, answer(401, {"message": "who are you?"}),
        ("answered 401", "credentials were refused, also after a new login"), waits=(),
    ),
    "403 on the third page": Case(
        once(answer(403)), 3, told=("answered 403", "may not read this"), waits=()
    ),
    "a redirect to another host": Case(
        lambda world: dict.fromkeys(range(3, 9), redirect(lambda: world.stranger.url)), 3, told=("answered 401",), waits=()
    ),
    "redirects in a circle": Case(
        never, 31, redirect(lambda: ""), ("redirects",), waits=()
    ),
    "records that move in every reading": Case(
        lambda world: {
            3 + PAGES * n: before(partial(world.delete, 130 + n)) for n in range(3)
        },
        3 * PAGES, told=("records moved between pages", "3 times over"), waits=(),
    ),
}  # fmt: skip
"""What a load does not get over: the table's raw rows stay, the others are loaded, the next load is complete."""

SAMPLE = {
    "half an answer, then silence",
    "connection reset in the middle of the body",
    "body without length cut between two records",
    "429 with Retry-After as a date",
    "an empty page in the middle: the token has ended",
    "a record read before deleted between two pages",
    "500 for ever from the third page on",
    "a byte now and then, without end",
    "a redirect to another host",
}
"""Cases of every test run; the others are of the full suite."""

BROKEN_CONNECTIONS: dict[str, tuple[str, str]] = {
    "refused": ("the server cannot be reached", "fails at once"),
    "mute": ("the server takes the connection and says nothing", "fails after a bounded time"),
    "reset": ("the connection is reset while a table is read", "fails; of a stream after 3 tries"),
    "close": ("the connection is closed while a table is read", "fails; of a stream after 3 tries"),
    "silence": ("the server falls silent while a table is read", "fails after a bounded time"),
    "reset once": (
        "the connection is reset once",
        "a stream is read again and complete; a database as above",
    ),
    "reset at the end": (
        "the connection is reset while messages are acknowledged",
        "complete; acknowledged with another try",
    ),
    "reset between": ("the connection is reset between two tables", "complete over a new connection"),
}
"""What happens to connections of databases and streams, and what the load does, by the name used in the tests."""
SERVERS = ("postgres", "mariadb", "nats")

BROKERS: dict[str, tuple[str, str]] = {
    "reset": ("the connection is reset now and then while messages are read", "complete"),
    "close": ("the connection is closed now and then while messages are read", "complete"),
    "silence": ("the broker falls silent while messages are read", "fails after a bounded time"),
    "refused": ("the broker cannot be reached", "fails after a bounded time"),
    "mute": ("the broker takes the connection and says nothing", "fails after a bounded time"),
}
"""What happens to connections to Kafka, and what the load does; the raw rows and the group's offsets stay if it fails."""

BUCKETS: dict[str, tuple[Fault, bool, str]] = {
    "503 SlowDown, once": (SLOW_DOWN, False, "complete"),
    "500, once": (answer(500, b""), False, "complete"),
    "connection reset before the answer, once": (reset_at_once, False, "complete"),
    "connection reset in the middle of the body, once": (reset_in_the_middle, False, "complete"),
    "body shorter than its Content-Length, once": (cut_off, False, "complete"),
    "half an answer, then silence, once": (hang_in_the_middle, False, "complete"),
    "503 SlowDown for ever": (SLOW_DOWN, True, "fails: cannot fetch … reduce your request rate"),
    "connection reset in the middle of the body, for ever": (
        reset_in_the_middle,
        True,
        "fails: cannot fetch",
    ),
    "no answer, ever": (hang, True, "fails: cannot fetch"),
    "403": (answer(403, b""), True, "fails: cannot fetch … Forbidden"),
}
"""What a bucket's answer to the request for a file meets, whether for ever, and what the load does."""
BUCKETS_SAMPLE = {"connection reset in the middle of the body, once"}
