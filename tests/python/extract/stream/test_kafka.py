"""Kafka: no message is lost or doubled; the broker is librdkafka's mock."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sluice.errors import ConnectionError
from sluice.extract import stream
from sluice.extract.contract import Messages
from tests.python.extract.rig import Result, into_raw, run
from tests.python.project import Project


class Topic:
    """A topic of a test's own on the mock cluster, a table `events.things` over it, and raw."""

    def __init__(self, bootstrap: str, folder: Path, name: str) -> None:
        from confluent_kafka import Producer

        self.folder = folder
        self.name = name
        self.keys = {"bootstrap_servers": bootstrap}
        self.load: dict[str, Any] = {"topic": name, "consumer": f"{name}_loader"}
        self.raw = duckdb.connect()
        # the mock cluster makes a topic, of four partitions, when it is first asked for
        Producer({"bootstrap.servers": bootstrap}).list_topics(name, timeout=10)

    def produce(self, payloads: list[tuple[int, bytes | None, bytes | None]]) -> None:
        """Send (partition, key, value)."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.keys["bootstrap_servers"], "linger.ms": 1})
        for partition, key, value in payloads:
            producer.produce(self.name, value, key, partition)
        assert producer.flush(10) == 0

    def extract(self, **options: Any) -> Result:
        declaration = {
            "sources": [
                {
                    "name": "events",
                    "database": "raw",
                    "schema": "events",
                    "config": {
                        "meta": {"load": {"kind": "stream", "connection": "kafka", "protocol": "kafka"}}
                    },
                    "tables": [{"name": "things", "config": {"meta": {"load": self.load}}}],
                }
            ]
        }
        values = {"kafka": self.keys}
        return run(stream.extract, declaration, self.folder, values=values, raw=self.raw, **options)

    def load_it(self, acknowledge: bool = True, **options: Any) -> Result:
        result = self.extract(**options)
        if result.errors:
            raise result.errors["things"]
        if extracted := result.extracted.get("things"):
            into_raw(self.raw, "events.things", extracted)
            if acknowledge and extracted.on_commit:
                extracted.on_commit()
        return result

    def places(self) -> list[tuple[int, int]]:
        return self.raw.execute("select _partition, _offset from events.things order by all").fetchall()

    def committed(self) -> dict[int, int]:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(
            {"bootstrap.servers": self.keys["bootstrap_servers"], "group.id": self.load["consumer"]}
        )
        found = consumer.committed([TopicPartition(self.name, n) for n in range(3)], timeout=10)
        consumer.close()
        return {p.partition: p.offset for p in found if p.offset >= 0}


@pytest.fixture
def topic(kafka_bootstrap: str, tmp_path: Path, request: pytest.FixtureRequest) -> Topic:
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    return Topic(kafka_bootstrap, tmp_path, name)


def things(count: int, partition: int) -> list[tuple[int, bytes | None, bytes | None]]:
    return [(partition, f"k{n}".encode(), json.dumps({"n": n}).encode()) for n in range(count)]


def test_kafka_every_message_once_and_offsets_after_the_commit(topic: Topic) -> None:
    topic.produce(things(5, 0) + things(3, 1))
    result = topic.extract()
    assert topic.committed() == {}
    extracted = result.extracted["things"]
    assert extracted.origin == Messages(("_stream", "_partition", "_offset"))
    into_raw(topic.raw, "events.things", extracted)
    assert extracted.on_commit is not None
    extracted.on_commit()
    assert topic.committed() == {0: 5, 1: 3}
    assert topic.extract().extracted == {}
    topic.produce(things(2, 2) + things(1, 0))
    assert len(topic.load_it().rows["things"]) == 3
    assert topic.places() == [(0, n) for n in range(6)] + [(1, n) for n in range(3)] + [(2, 0), (2, 1)]


def test_kafka_goes_on_where_raw_ends_not_where_the_group_stands(topic: Topic) -> None:
    topic.produce(things(4, 0))
    topic.load_it(acknowledge=False)
    topic.produce(things(2, 0))
    assert len(topic.load_it().rows["things"]) == 2
    topic.raw.execute("delete from events.things where _offset >= 3")
    topic.load_it()
    assert topic.places() == [(0, n) for n in range(6)]


def test_kafka_rows_keep_key_time_and_tombstones(topic: Topic) -> None:
    begin = datetime.now(UTC) - timedelta(seconds=1)
    topic.produce([(0, b"a", b'{"n": 1}'), (0, b"a", None), (0, None, b"x"), (0, b"\xff", b'{"n": "\xff"}')])
    rows = topic.extract().rows["things"]
    assert [row["_key"] for row in rows] == ["a", "a", None, "\\xff"]
    assert [row["_is_tombstone"] for row in rows] == [False, True, False, False]
    assert [row["_record"] for row in rows] == ['{"n": 1}', "{}", "x", '{"n": "\\xff"}']
    assert all(begin < row["_received_at"] < datetime.now(UTC) + timedelta(seconds=1) for row in rows)
    assert rows[0]["_stream"] == topic.name


def test_kafka_a_compacted_topic_is_a_table_of_its_keys(topic: Topic, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.connect("brokers", **topic.keys)
    source = {"kind": "stream", "connection": "brokers", "protocol": "kafka"}
    load = {"topic": topic.name, "primary_key": "_key", "soft_delete": "_is_tombstone"}
    project.declare("events", source, {"things": load})
    shown = "select _key, n, _deleted_at is not null from events.things order by all"

    topic.produce([(0, b"a", b'{"n": 1}'), (1, b"b", b'{"n": 2}'), (0, b"a", b'{"n": 3}')])
    assert not project.load().errors
    assert project.raw(shown) == [("a", 3, False), ("b", 2, False)]
    topic.produce([(1, b"b", None), (0, b"c", b'{"n": 4}'), (0, b"c", None)])
    assert project.load()["things"].deleted == 2
    assert project.raw(shown) == [("a", 3, False), ("b", None, True), ("c", None, True)]
    topic.produce([(1, b"b", b'{"n": 5}')])
    assert not project.load().errors
    assert project.raw(shown) == [("a", 3, False), ("b", 5, False), ("c", None, True)]
    assert project.load().rows == 0


def test_kafka_a_load_is_bounded(topic: Topic) -> None:
    topic.load["max_messages"] = 7
    topic.produce(things(10, 0) + things(5, 1))
    counts = [len(topic.load_it().rows.get("things", [])) for _ in range(4)]
    assert counts == [7, 7, 1, 0]
    assert topic.places() == [(0, n) for n in range(10)] + [(1, n) for n in range(5)]


def test_kafka_start_and_replay(topic: Topic) -> None:
    topic.produce(things(6, 0))
    topic.load["start"] = {"sequence": 2}
    topic.load_it()
    assert topic.places() == [(0, 2), (0, 3), (0, 4), (0, 5)]
    topic.produce(things(2, 0))
    again = topic.load_it(window=("0", "4"))
    assert [row["_offset"] for row in again.rows["things"]] == [0, 1, 2, 3]
    assert [row["_offset"] for row in topic.load_it(window=("5", None)).rows["things"]] == [5]
    topic.load_it()
    assert topic.places() == [(0, n) for n in range(8)]


def test_kafka_a_topic_made_anew_is_refused(topic: Topic) -> None:
    topic.produce(things(2, 0))
    topic.load_it()
    topic.raw.execute("update events.things set _offset = _offset + 100")
    error = str(topic.extract().errors["things"])
    assert "ends at offset 1 in partition 0, but raw holds 101" in error


def test_kafka_a_topic_made_anew_that_is_longer_by_now_is_refused(topic: Topic) -> None:
    topic.produce(things(2, 0))
    topic.load_it()
    topic.produce(things(2, 0))
    topic.raw.execute("update events.things set _received_at = _received_at - interval 1 hour")
    error = str(topic.extract().errors["things"])
    assert "has another message at offset 1 of partition 0 than raw" in error
    topic.raw.execute("update events.things set _received_at = _received_at + interval 1 hour")
    topic.load_it()
    assert topic.places() == [(0, n) for n in range(4)]


def test_kafka_a_wrong_topic_lists_those_there_are(topic: Topic) -> None:
    name = topic.name
    topic.load["topic"] = "nobody"
    error = str(topic.extract().errors["things"])
    assert "there is no topic 'nobody'" in error
    assert name in error


def test_kafka_keys_of_the_connection_reach_the_client(topic: Topic) -> None:
    topic.keys["security_protocol"] = "nonsense"
    error = topic.extract().errors["things"]
    assert isinstance(error, ConnectionError)
    assert "security.protocol" in str(error)


def test_kafka_brokers_that_do_not_run_are_told(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluice.extract.stream import kafka as stream_kafka

    monkeypatch.setattr(stream_kafka, "ANSWER_SECONDS", 1.0)
    topic.keys["bootstrap_servers"] = "127.0.0.1:9"
    error = topic.extract().errors["things"]
    assert isinstance(error, ConnectionError)
    assert "cannot be reached" in str(error)
