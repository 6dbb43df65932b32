"""NATS JetStream: no message is lost or doubled, whatever the server and the process do."""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, RetentionPolicy, StreamConfig

from sluice.errors import ConnectionError, LoadError
from sluice.extract import stream
from sluice.extract.stream import nats_fetch
from tests.python.extract import killed_load
from tests.python.extract.rig import Result, into_raw, run

KEEPS = [RetentionPolicy.LIMITS, RetentionPolicy.WORK_QUEUE, RetentionPolicy.INTEREST]


class Web:
    """A stream of a test's own, a table `web.views` declared over it, and raw."""

    def __init__(self, url: str, folder: Path, name: str) -> None:
        self.url = url
        self.folder = folder
        self.name = name
        self.consumer = f"{name}_loader"
        self.load: dict[str, Any] = {"stream": name, "consumer": self.consumer}
        self.raw = duckdb.connect()
        self.published = 0

    def ask(self, job: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:
        """Do something with the server."""

        async def asked() -> Any:
            client = await nats.connect(self.url)
            try:
                return await job(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(asked())

    def make(self, retention: RetentionPolicy = RetentionPolicy.LIMITS, **options: Any) -> None:
        config = StreamConfig(name=self.name, subjects=[f"{self.name}.>"], retention=retention, **options)

        async def made(js: JetStreamContext) -> None:
            await js.add_stream(config)
            if retention == RetentionPolicy.INTEREST:  # without a consumer it would keep nothing
                await js.add_consumer(self.name, durable_name=self.consumer)

        self.ask(made)

    def publish(self, count: int, subject: str = "views", payload: bytes | None = None) -> None:
        async def published(js: JetStreamContext) -> None:
            for _ in range(count):
                self.published += 1
                await js.publish(
                    f"{self.name}.{subject}", payload or json.dumps({"n": self.published}).encode()
                )

        self.ask(published)

    def consumer_info(self) -> ConsumerInfo:
        info: ConsumerInfo = self.ask(lambda js: js.consumer_info(self.name, self.consumer))
        return info

    def declaration(self) -> dict[str, Any]:
        return {
            "sources": [
                {
                    "name": "web",
                    "database": "raw",
                    "schema": "web",
                    "config": {"meta": {"load": {"kind": "stream", "connection": "web", "protocol": "nats"}}},
                    "tables": [{"name": "views", "config": {"meta": {"load": self.load}}}],
                }
            ]
        }

    def extract(self, **options: Any) -> Result:
        values = {"web": {"url": self.url}}
        return run(stream.extract, self.declaration(), self.folder, values=values, raw=self.raw, **options)

    def load_it(self, acknowledge: bool = True, **options: Any) -> Result:
        """A whole load: extract, merge into raw, acknowledge."""
        result = self.extract(**options)
        if result.errors:
            raise result.errors["views"]
        if extracted := result.extracted.get("views"):
            into_raw(self.raw, "web.views", extracted)
            if acknowledge and extracted.on_commit:
                extracted.on_commit()
        return result

    def numbers(self) -> list[int]:
        """What raw holds, in order of sequence."""
        rows = self.raw.execute("select (_record ->> 'n')::int from web.views order by _sequence").fetchall()
        return [n for (n,) in rows]


@pytest.fixture
def web(nats_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Web:
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)
    return Web(nats_url, tmp_path, name)


# -- the usual way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("retention", KEEPS)
def test_every_message_once_and_acknowledged_after_the_commit(web: Web, retention: RetentionPolicy) -> None:
    web.make(retention)
    web.publish(7)
    result = web.extract()
    assert web.consumer_info().num_ack_pending == 7
    into_raw(web.raw, "web.views", result.extracted["views"])
    committed = result.extracted["views"].on_commit
    assert committed is not None
    committed()
    info = web.consumer_info()
    assert (info.num_pending, info.num_ack_pending, info.ack_floor and info.ack_floor.stream_seq) == (0, 0, 7)
    assert web.extract().rows.get("views", []) == []
    web.publish(3)
    assert len(web.load_it().rows["views"]) == 3
    assert web.numbers() == list(range(1, 11))
    if retention != RetentionPolicy.LIMITS:
        assert web.ask(lambda js: js.stream_info(web.name)).state.messages == 0


def test_a_row_says_where_and_when_the_server_had_the_message(web: Web) -> None:
    web.make()
    begin = datetime.now(UTC) - timedelta(seconds=1)
    web.publish(1, payload=b'{"n": 1, "deep": {"a": [1.50]}}')
    row = web.extract().rows["views"][0]
    assert row["_stream"] == web.name
    assert row["_sequence"] == 1
    assert row["_subject"] == f"{web.name}.views"
    assert begin < row["_received_at"] < datetime.now(UTC) + timedelta(seconds=1)
    assert row["_record"] == '{"n": 1, "deep": {"a": [1.50]}}'


def test_payloads_are_passed_as_they_are(web: Web) -> None:
    web.make()
    payloads = [
        b"",
        b"5",
        b"[1]",
        b"not json",
        '{"n": "ä"}'.encode(),
        b'{"n": "\xff\xfe"}',
        b'{"n": "\\u0000"}',
    ]
    for payload in payloads:

        async def published(js: JetStreamContext, payload: bytes = payload) -> None:
            await js.publish(f"{web.name}.views", payload)

        web.ask(published)
    records = [row["_record"] for row in web.extract().rows["views"]]
    assert records[:5] == ["", "5", "[1]", "not json", '{"n": "ä"}']
    # what is not UTF-8 can be read by people, and cannot pass as JSON
    assert records[5] == '{"n": "\\xff\\xfe"}'
    assert duckdb.execute("select json_valid(?)", [records[5]]).fetchone() == (False,)


def test_a_subject_filter_takes_only_its_messages(web: Web) -> None:
    web.make()
    web.load["subject"] = f"{web.name}.*.eu"
    web.publish(2, "views.eu")
    web.publish(2, "views.us")
    web.publish(1, "views.eu")
    web.load_it()
    assert web.numbers() == [1, 2, 5]


def test_a_load_is_bounded_and_the_next_goes_on(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_fetch, "BATCH", 3)
    web.make()
    web.load["max_messages"] = 10
    web.publish(25)
    counts = [len(web.load_it().rows.get("views", [])) for _ in range(4)]
    assert counts == [10, 10, 5, 0]
    assert web.numbers() == list(range(1, 26))


def test_large_messages_are_fetched_in_bounded_requests(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_fetch, "BATCH_BYTES", 1)
    web.make()
    web.publish(12, payload=json.dumps({"text": "x" * 400_000}).encode())
    assert len(web.load_it().rows["views"]) == 12


def test_mqtt_devices_arrive_through_the_stream(web: Web, mqtt: dict[str, Any]) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    web.ask(lambda js: js.add_stream(name=web.name, subjects=["machines.>"]))
    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(mqtt["username"], mqtt["password"])
    client.connect(mqtt["host"], mqtt["port"])
    client.loop_start()
    for n in range(5):
        client.publish(f"machines/{n}/boiler", json.dumps({"n": n}), qos=1).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()
    result = web.load_it()
    assert [row["_subject"] for row in result.rows["views"]] == [f"machines.{n}.boiler" for n in range(5)]
    assert web.numbers() == [0, 1, 2, 3, 4]


# -- ends in the middle ----------------------------------------------------------------------------------


@pytest.mark.parametrize("retention", KEEPS)
def test_an_end_before_the_commit_loses_nothing(web: Web, retention: RetentionPolicy) -> None:
    web.make(retention)
    web.publish(5)
    web.extract()  # delivered to a process that is no more
    web.publish(2)
    web.load_it()
    assert web.numbers() == list(range(1, 8))
    assert web.consumer_info().num_ack_pending == 0
    assert web.extract().rows.get("views", []) == []


@pytest.mark.parametrize("retention", KEEPS)
def test_an_end_before_the_acknowledgement_doubles_nothing(web: Web, retention: RetentionPolicy) -> None:
    web.make(retention)
    web.publish(5)
    web.load_it(acknowledge=False)
    web.publish(2)
    result = web.load_it()
    assert web.numbers() == list(range(1, 8))
    if retention == RetentionPolicy.LIMITS:
        assert len(result.rows["views"]) == 2
    else:  # only these are still there, to be acknowledged
        assert web.ask(lambda js: js.stream_info(web.name)).state.messages == 0
    assert web.consumer_info().num_ack_pending == 0


def test_an_end_while_the_last_consumer_is_replaced_keeps_what_waits(web: Web) -> None:
    """A stream of interest drops what nobody waits for, so the consumer must never be gone."""
    web.make(RetentionPolicy.INTEREST)
    web.publish(5)
    web.extract()

    async def half_done(js: JetStreamContext) -> None:
        await js.add_consumer(web.name, durable_name=f"{web.consumer}__hold")
        await js.delete_consumer(web.name, web.consumer)

    web.ask(half_done)
    web.load_it()
    assert web.numbers() == [1, 2, 3, 4, 5]
    assert web.ask(lambda js: js.stream_info(web.name)).state.messages == 0
    assert web.ask(lambda js: js.stream_info(web.name)).state.consumer_count == 1


def test_raw_that_was_set_back_gets_its_messages_again(web: Web) -> None:
    web.make()
    web.publish(6)
    web.load_it()
    web.raw.execute("delete from web.views where _sequence > 2")
    web.load_it()
    assert web.numbers() == [1, 2, 3, 4, 5, 6]


def test_a_lost_acknowledgement_is_reported_and_repeated(web: Web) -> None:
    web.make()
    web.publish(2)
    result = web.extract()
    web.ask(lambda js: js.delete_consumer(web.name, web.consumer))
    into_raw(web.raw, "web.views", result.extracted["views"])
    committed = result.extracted["views"].on_commit
    assert committed is not None
    with pytest.raises(LoadError, match="are in raw, but could not be acknowledged"):
        committed()
    web.publish(1)
    web.load_it()
    assert web.numbers() == [1, 2, 3]


def killed(web: Web, point: str) -> int | None:
    """Exit code of a process of its own, forked from one that has done the imports and has no threads yet."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([killed_load.__name__])
    process = server.Process(target=killed_load.load, args=(web.folder, web.declaration(), web.url, point))
    process.start()
    process.join(60)
    return process.exitcode


def after_kills(web: Web, points: list[str]) -> None:
    """Kill a load at each point in turn, publishing in between; in the end raw is the stream."""
    for point in points:
        web.publish(100)
        assert killed(web, point) == -9
    web.publish(7)
    assert killed(web, "never") == 0
    with duckdb.connect(str(web.folder / "raw.duckdb")) as con:
        rows = con.execute("select (_record ->> 'n')::int n from web.views order by _sequence").fetchall()
    assert [n for (n,) in rows] == list(range(1, web.published + 1))
    assert web.consumer_info().num_ack_pending == 0
    assert web.consumer_info().num_pending == 0


@pytest.mark.parametrize("retention", KEEPS)
@pytest.mark.sample(1)
def test_kills_at_every_point(web: Web, retention: RetentionPolicy) -> None:
    web.make(retention)
    after_kills(web, killed_load.POINTS)


@pytest.mark.full
@pytest.mark.parametrize("retention", KEEPS)
@pytest.mark.sample(1)
def test_kills_at_every_point_after_every_other(web: Web, retention: RetentionPolicy) -> None:
    web.make(retention)
    after_kills(web, [point for pair in itertools.product(killed_load.POINTS, repeat=2) for point in pair])


# -- streams that changed --------------------------------------------------------------------------------


def test_a_stream_made_anew_is_refused_and_told(web: Web) -> None:
    web.make()
    web.publish(5)
    web.load_it()
    web.ask(lambda js: js.delete_stream(web.name))
    web.make()
    web.publish(3)
    error = web.extract().errors["views"]
    assert "ends at sequence 3, but raw holds messages up to 5" in str(error)
    assert "--full-refresh" in str(error)
    web.publish(9)  # beyond: the sequences alone look right
    assert "after the messages that raw holds of it" in str(web.extract().errors["views"])
    assert len(web.extract(full_refresh=True).rows["views"]) == 12


def test_a_purge_of_what_was_loaded_is_no_gap(web: Web) -> None:
    web.make()
    web.publish(5)
    web.load_it()
    web.ask(lambda js: js.purge_stream(web.name))
    assert web.extract().errors == {}
    web.publish(2)
    web.load_it()
    assert web.numbers() == [1, 2, 3, 4, 5, 6, 7]


def test_messages_that_expired_before_they_were_loaded_are_counted(web: Web) -> None:
    web.make(max_msgs=4)
    web.publish(3)
    web.load_it()
    web.publish(9)
    error = web.extract().errors["views"]
    assert "5 messages expired before they were loaded (sequence 4 to 8" in str(error)
    assert "on_gap: continue" in str(error)
    web.load["on_gap"] = "continue"
    (warning,) = web.load_it().warnings
    assert web.numbers() == [1, 2, 3, 9, 10, 11, 12]
    assert "5 messages expired before they were loaded" in warning


def test_other_subjects_that_expire_are_no_gap(web: Web) -> None:
    web.make(max_msgs=4)
    web.load["subject"] = f"{web.name}.views"
    web.publish(1)
    web.publish(4, "other")
    web.load_it()  # nothing left of views
    web.publish(2)
    web.load_it()
    web.publish(4, "other")
    web.load_it()  # looked at, nothing for the table
    web.publish(4, "other")
    assert web.extract().errors == {}
    web.publish(5, "other")
    assert "up to 1 message expired" in str(web.extract().errors["views"])


# -- places ----------------------------------------------------------------------------------------------


def test_the_first_load_may_begin_at_a_sequence_or_a_time(web: Web) -> None:
    web.make()
    web.publish(4)
    web.load["start"] = {"sequence": 3}
    assert [row["_sequence"] for row in web.extract().rows["views"]] == [3, 4]
    time.sleep(0.05)
    moment = datetime.now(UTC)
    web.publish(2)
    web.load["start"] = {"time": moment.isoformat()}
    assert [row["_sequence"] for row in web.extract().rows["views"]] == [5, 6]


def test_a_replay_changes_nothing_and_leaves_the_consumer(web: Web) -> None:
    web.make()
    web.publish(4)
    time.sleep(0.05)
    moment = datetime.now(UTC)
    time.sleep(0.05)
    web.publish(4)
    web.load_it()
    before = web.consumer_info()
    web.publish(2)

    def sequences(begin: str | None, end: str | None) -> list[int]:
        return [row["_sequence"] for row in web.load_it(window=(begin, end)).rows.get("views", [])]

    assert sequences("3", None) == [3, 4, 5, 6, 7, 8]
    assert sequences("3", "6") == [3, 4, 5]
    assert sequences(moment.isoformat(), None) == [5, 6, 7, 8]
    assert sequences(None, moment.isoformat()) == [1, 2, 3, 4]
    assert sequences((moment + timedelta(hours=1)).isoformat(), None) == []
    assert "cannot be loaded again" in str(web.extract(window=("9", None)).errors["views"])
    assert "is not a position in a stream" in str(web.extract(window=("yesterday", None)).errors["views"])
    assert web.consumer_info().delivered == before.delivered
    web.load_it()
    assert web.numbers() == list(range(1, 11))


def test_a_work_queue_cannot_be_replayed(web: Web) -> None:
    web.make(RetentionPolicy.WORK_QUEUE)
    web.publish(2)
    web.load_it()
    assert "none can be loaded again" in str(web.extract(window=("1", None)).errors["views"])


# -- errors ----------------------------------------------------------------------------------------------


def test_a_wrong_name_lists_the_streams_there_are(web: Web) -> None:
    web.make()
    web.load["stream"] = "NOBODY"
    error = str(web.extract().errors["views"])
    assert "there is no stream 'NOBODY'; the server has: " in error
    assert web.name in error


@pytest.mark.parametrize("subject", ["views", "*"])
def test_a_subject_that_the_stream_no_longer_takes(web: Web, subject: str) -> None:
    web.make()
    web.load["subject"] = f"{web.name}.{subject}"
    web.publish(2)
    web.load_it()
    config = StreamConfig(name=web.name, subjects=[f"{web.name}2.>"])
    web.ask(lambda js: js.update_stream(config))
    error = str(web.extract().errors["views"])
    assert f"the stream {web.name} takes no subject '{web.name}.{subject}'; it takes {web.name}2.>" in error


def test_wrong_credentials_are_told_without_being_shown(web: Web) -> None:
    web.url = web.url.replace(web.url.split("@")[0], "nats://loader:wr0ng-word")
    error = web.extract().errors["views"]
    assert isinstance(error, ConnectionError)
    assert "refused the credentials" in str(error)
    assert "wr0ng-word" not in str(error)


def test_a_server_that_does_not_run_is_told(web: Web) -> None:
    web.url = "nats://loader:s3cret-word@127.0.0.1:9"
    error = web.extract().errors["views"]
    assert isinstance(error, ConnectionError)
    assert "no connection to nats://loader:***@127.0.0.1:9" in str(error)
