"""Page views in the stream: in the order of publishing, twice or late at times, never lost by a crash."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator

import duckdb
import nats
import pytest

from sandbox import web
from sluice.errors import SluiceError

EARLIER, LATER = dt.date(2026, 9, 1), dt.date(2026, 9, 30)


async def _read(url: str) -> list[str]:
    client = await nats.connect(url)
    stream = client.jetstream()
    count = (await stream.stream_info(web.STREAM)).state.messages
    consumer = await stream.subscribe(web.SUBJECT, ordered_consumer=True)
    bodies = [(await consumer.next_msg(timeout=5)).data.decode() for _ in range(count)]
    await client.close()
    return bodies


async def _delete(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().delete_stream(web.STREAM)
    await client.close()


@pytest.fixture
def stream(nats_url: str) -> Iterator[str]:
    """A server where the stream is made by the test."""
    yield nats_url
    asyncio.run(_delete(nats_url))


def test_an_advanced_stream_equals_a_fresh_one(
    small_world: duckdb.DuckDBPyConnection, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "BATCH", 100)  # several batches
    first = web.write(small_world, stream, date=EARLIER, previous=None)["messages"]
    second = web.write(small_world, stream, date=LATER, previous=EARLIER)["messages"]
    advanced = asyncio.run(_read(stream))
    assert web.write(small_world, stream, date=LATER, previous=LATER) == {"messages": 0}
    asyncio.run(_delete(stream))
    web.write(small_world, stream, date=LATER, previous=None)
    assert len(advanced) == first + second
    assert min(first, second) > 0
    assert advanced == asyncio.run(_read(stream))


def test_a_crash_between_batches_loses_and_repeats_nothing(
    small_world: duckdb.DuckDBPyConnection, stream: str
) -> None:
    bodies = web.messages(small_world, date=LATER)
    asyncio.run(web._publish(bodies[:137], stream))
    assert web.write(small_world, stream, date=LATER, previous=None) == {"messages": len(bodies) - 137}
    assert asyncio.run(_read(stream)) == bodies


def test_a_stranger_in_the_stream_is_noticed(small_world: duckdb.DuckDBPyConnection, stream: str) -> None:
    bodies = web.messages(small_world, date=LATER)
    asyncio.run(web._publish([*bodies[:10], "{}"], stream))
    with pytest.raises(SluiceError, match="something else publishes"):
        web.write(small_world, stream, date=LATER, previous=None)


def test_messages_repeat_and_come_late(small_world: duckdb.DuckDBPyConnection) -> None:
    bodies = web.messages(small_world, date=LATER)
    events = [json.loads(body) for body in bodies]
    copies = Counter(event["event_id"] for event in events)
    bodies_by_event: dict[str, set[str]] = {}
    for event, body in zip(events, bodies, strict=True):
        bodies_by_event.setdefault(event["event_id"], set()).add(body)
    assert max(copies.values()) == 2
    assert 0.002 < sum(count == 2 for count in copies.values()) / len(copies) < 0.03
    assert all(len(found) == 1 for found in bodies_by_event.values())
    occurred = [event["occurred_at"] for event in events]
    assert occurred != sorted(occurred)
    assert set(events[0]) == {
        "event_id",
        "event_type",
        "occurred_at",
        "session",
        "page",
        "timing",
        "device",
        "geo",
    }
    assert {event["page"]["group"] for event in events} == {
        "home",
        "product",
        "category",
        "checkout",
        "support",
    }
