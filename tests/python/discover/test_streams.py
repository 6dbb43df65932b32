"""Streams: subjects and topics become tables, and nothing of theirs is acknowledged, committed or removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import RetentionPolicy, StreamConfig

from sluice.discover.streams import covers, discover_stream
from sluice.errors import ConnectionError, UsageError
from tests.python.discover.found import Found
from tests.python.project import Project


def publish(url: str, config: StreamConfig, messages: Iterable[tuple[str, bytes]]) -> None:
    async def published() -> None:
        client = await nats.connect(url)
        js = client.jetstream()
        await js.add_stream(config)
        for subject, payload in messages:
            await js.publish(subject, payload)
        await client.close()

    asyncio.run(published())


def state_of(url: str, stream: str) -> tuple[int, int]:
    """How many messages and consumers a stream has."""

    async def state() -> tuple[int, int]:
        client = await nats.connect(url)
        info = await client.jetstream().stream_info(stream)
        await client.close()
        return info.state.messages, info.state.consumer_count

    return asyncio.run(state())


def test_subjects_with_the_same_fields_are_a_table(tmp_path: Path, nats_url: str) -> None:
    boilers = [
        (f"discover.{m}.boiler", {"measured_at": f"2026-01-01T00:00:{i:02}Z", "celsius": 90.5 + i})
        for m in ("a1", "b2")
        for i in range(5)
    ]
    doors = [
        (f"discover.{m}.door", {"opened": bool(i % 2), "by": {"badge": i}})
        for m in ("a1", "b2")
        for i in (1, 2)
    ]
    messages = [(subject, json.dumps(value).encode()) for subject, value in boilers + doors]
    publish(nats_url, StreamConfig(name="DISCOVER", subjects=["discover.>"]), messages)
    found = Found(Project(tmp_path / "project"), discover_stream, f"{nats_url}/discover.>")
    assert found["discover_boiler"].load == {"stream": "DISCOVER", "subject": "discover.*.boiler"}
    assert found["discover_boiler"].reasons["subject"] == "2 subjects whose messages have the same fields"
    assert found.types("discover_boiler") == {"celsius": "double", "measured_at": "timestamptz"}
    assert found.types("discover_door") == {"by": "json", "opened": "boolean"}
    assert found.source.connection == {"url": nats_url}
    assert "loader:" not in repr(found.source.load)
    assert state_of(nats_url, "DISCOVER") == (14, 0)
    found.load()


def test_a_work_queue_keeps_its_messages(tmp_path: Path, nats_url: str) -> None:
    config = StreamConfig(name="JOBS", subjects=["jobs"], retention=RetentionPolicy.WORK_QUEUE)
    publish(nats_url, config, [("jobs", b'{"id": 1}'), ("jobs", b"not JSON"), ("jobs", b'{"id": 2}')])
    found = Found(Project(tmp_path / "project"), discover_stream, f"{nats_url}/jobs")
    assert found["jobs"].load == {"stream": "JOBS"}
    assert found["jobs"].rows == 3
    assert "1 of 3 messages are not JSON objects" in found.questions
    assert state_of(nats_url, "JOBS") == (3, 0)


def test_topics_are_tables(tmp_path: Path, kafka_bootstrap: str) -> None:
    from confluent_kafka import Consumer, Producer, TopicPartition

    producer = Producer({"bootstrap.servers": kafka_bootstrap, "linger.ms": 1})
    producer.list_topics("discover.captures", timeout=10)
    for number in range(20):
        record: dict[str, Any] = {"id": f"P{number}", "amount": "12.50", "at": "2026-01-01T00:00:00Z"}
        producer.produce("discover.captures", json.dumps(record).encode(), f"k{number}".encode(), number % 3)
    assert producer.flush(10) == 0
    address = f"kafka://{kafka_bootstrap}/discover.captures"
    found = Found(Project(tmp_path / "project"), discover_stream, address)
    assert found["discover_captures"].load == {"topic": "discover.captures"}
    assert found.types("discover_captures") == {"amount": "decimal(18,2)", "at": "timestamptz", "id": "text"}
    assert found.source.connection == {"bootstrap_servers": kafka_bootstrap}
    consumer = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": "sluice_discover"})
    (committed,) = consumer.committed([TopicPartition("discover.captures", 0)], timeout=10)
    consumer.close()
    assert committed.offset < 0
    found.load()


def test_long_streams_are_sampled_from_all_their_parts(tmp_path: Path, nats_url: str) -> None:
    messages = [("long", json.dumps({"n": number}).encode()) for number in range(400)]
    publish(nats_url, StreamConfig(name="LONG", subjects=["long"]), messages)
    found = Found(
        Project(tmp_path / "project"), discover_stream, f"{nats_url}/LONG", whole_rows=50, sample_rows=100
    )
    table = found["long"]
    assert (table.rows, table.is_whole) == (400, False)
    numbers = found.con.execute(f"select min(n), max(n), count(*) from {table.relation}").fetchone()
    assert numbers is not None
    assert (numbers[0], numbers[2]) == (0, 100)
    assert numbers[1] > 350


def test_what_cannot_be_read_says_why(tmp_path: Path, nats_url: str) -> None:
    with pytest.raises(UsageError, match="has no messages that a load reads") as error:
        Found(Project(tmp_path / "one"), discover_stream, f"{nats_url}/nowhere.at.all")
    assert "loader:" not in str(error.value)
    with pytest.raises(ConnectionError, match="no connection"):
        Found(Project(tmp_path / "two"), discover_stream, "nats://127.0.0.1:1")
    with pytest.raises(UsageError, match="without user and password"):
        Found(Project(tmp_path / "three"), discover_stream, "kafka://user:pass@127.0.0.1:1")


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.*.c", "a.b.c", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a", "a.b", False),
        ("a.*", "a.b", True),
    ],
)
def test_filters(pattern: str, subject: str, expected: bool) -> None:
    assert covers(pattern, subject) is expected
