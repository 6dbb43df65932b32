"""Loads from Kafka and from S3 over a network that breaks: complete, or failed in bounded time with raw as it was."""

from __future__ import annotations

import json
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from confluent_kafka import Producer

from sluice.extract import files
from sluice.extract.stream import kafka as stream_kafka
from tests.python.network.cases import BROKERS, BUCKETS, BUCKETS_SAMPLE
from tests.python.network.proxy import Exchange, HttpProxy, TcpProxy
from tests.python.network.test_connections import ROWS, in_raw, rows_of
from tests.python.project import Project

A_PART = 1_200_000
"""Bytes a broker sends on a connection before that breaks: a small part of the messages."""
BOUND = 30.0


@pytest.fixture
def broker(kafka_bootstrap: str) -> Iterator[TcpProxy]:
    """A proxy that clients stay with: the broker's answers name its address in place of the broker's own."""
    host, _, port = kafka_bootstrap.partition(":")
    with TcpProxy(host, int(port)) as proxy:
        own, ours = (host.encode() + struct.pack(">i", p) for p in (int(port), proxy.port))
        proxy.rewrite = lambda piece: piece.replace(own, ours)
        yield proxy


class Topic:
    """A topic with as many messages as `put` is called with."""

    def __init__(self, bootstrap: str) -> None:
        self.name = f"network_{time.monotonic_ns()}"
        self.rows: list[tuple[int, str]] = []
        self._producer = Producer({"bootstrap.servers": bootstrap})

    def put(self, count: int) -> None:
        more = rows_of(self.name, len(self.rows), len(self.rows) + count)
        for number, text in more:
            body = json.dumps({"id": number, "v": text})
            self._producer.produce(self.name, body, partition=number % 2)
            self._producer.poll(0)
        assert self._producer.flush(30) == 0
        self.rows += more


@pytest.mark.parametrize(
    "what", ["reset", *(pytest.param(w, marks=pytest.mark.full) for w in BROKERS if w != "reset")]
)
@pytest.mark.sample(1)
def test_a_broker_behind_a_network_that_breaks(
    what: str, kafka_bootstrap: str, broker: TcpProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Topic(kafka_bootstrap)
    topic.put(10)
    project = Project(tmp_path)
    project.connect("server", bootstrap_servers=f"127.0.0.1:{broker.port}", fetch_message_max_bytes="100000")
    source = {"kind": "stream", "connection": "server", "protocol": "kafka"}
    project.declare("src", source, {"big": {"topic": topic.name}})
    assert not project.load().errors
    assert broker.connections
    before = in_raw(project, "big")
    topic.put(ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(stream_kafka, "SILENCE_SECONDS", 3.0)
        patch.setattr(stream_kafka, "ANSWER_SECONDS", 3.0)
        broken: set[int] = set()

        def spoil(number: int, sent: int) -> str | None:
            if what == "mute" or sent > A_PART:
                broken.add(number)
                return "silence" if what == "mute" else what
            return None

        if what == "refused":
            broker.refuse()
        else:
            broker.spoil = spoil
        begun = time.monotonic()
        outcome = project.load()
        assert time.monotonic() - begun < BOUND
    if BROKERS[what][1] == "complete":
        assert len(broken) > 1
        assert not outcome.errors
    else:
        assert "src.big: the brokers of the connection 'server'" in outcome.error
        assert in_raw(project, "big") == before
    broker.spoil = lambda number, sent: None
    if what == "refused":
        broker.listen()
    assert not project.load().errors
    assert in_raw(project, "big") == Counter(topic.rows)
    assert project.load().rows == 0


@pytest.mark.parametrize(
    "what", [w if w in BUCKETS_SAMPLE else pytest.param(w, marks=pytest.mark.full) for w in BUCKETS]
)
@pytest.mark.sample(2)
def test_a_bucket_behind_a_network_that_breaks(
    what: str, s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, for_ever, expected = BUCKETS[what]
    retries = {"total_max_attempts": 2, "mode": "standard"}
    monkeypatch.setattr(files, "S3", {"connect_timeout": 2, "read_timeout": 1, "retries": retries})
    store = fsspec.filesystem(
        "s3", key=s3["access_key_id"], secret=s3["secret_access_key"],
        client_kwargs={"endpoint_url": s3["endpoint_url"]}, skip_instance_cache=True,
    )  # fmt: skip
    folder = f"{s3['bucket']}/network_{time.monotonic_ns()}"
    old, new = rows_of("a", 0, 5), rows_of("b", 5, 3000)
    header = "id,v\n"

    def put(name: str, rows: list[tuple[int, str]]) -> None:
        store.pipe(f"{folder}/{name}.csv", (header + "".join(f"{i},{v}\n" for i, v in rows)).encode())

    with HttpProxy(s3["endpoint_url"], lambda path: path.endswith("b.csv")) as proxy:
        project = Project(tmp_path)
        project.connect("bucket", **{**s3, "endpoint_url": proxy.url})
        source = {"kind": "files", "url": f"s3://{folder}", "connection": "bucket"}
        project.declare("src", source, {"big": {"path": "*.csv", "format": "csv"}})
        put("a", old)
        assert not project.load().errors
        put("b", new)
        proxy.script = {1: fault}
        proxy.otherwise = fault if for_ever else Exchange.forward
        begun = time.monotonic()
        outcome = project.load()
        assert time.monotonic() - begun < BOUND
        if expected == "complete":
            assert not outcome.errors
            assert in_raw(project, "big") == Counter(old + new)
            # the transport asks once more by itself where a connection that it had kept is closed
            assert bool(outcome["big"].retries) == (what != "connection reset before the answer, once")
        else:
            assert "src.big: cannot fetch" in outcome.error
            for word in expected.removeprefix("fails: ").split(" … "):
                assert word in outcome.error
            assert s3["secret_access_key"] not in outcome.error
            assert in_raw(project, "big") == Counter(old)
        proxy.script, proxy.otherwise = {}, Exchange.forward
        assert not project.load().errors
        assert in_raw(project, "big") == Counter(old + new)
        assert project.load().rows == 0
