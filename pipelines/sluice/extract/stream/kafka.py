"""Kafka: partitions read from raw's last offset to the end they have when the load starts.

The consumer group neither says where to continue nor balances anything; its offsets are written after the commit, for
people and monitors that watch the lag.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import Any

import pyarrow as pa
from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from sluice.config.declaration import Source, StreamSource, StreamTable, Table
from sluice.errors import ConnectionError, LoadError
from sluice.extract.contract import ExtractContext, JsonRecords, Messages
from sluice.extract.row_buffer import ValueBuffer
from sluice.extract.stream.common import Position, as_text, bounds, gap, most_messages, recreated
from sluice.extract.unreachable import with_reason
from sluice.sql import literal

SCHEMA = pa.schema(
    [
        ("_stream", pa.string()),
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
        ("_key", pa.string()),
        ("_received_at", pa.timestamp("ms", "UTC")),
        ("_is_tombstone", pa.bool_()),
        ("_record", pa.string()),
    ]
)
IDENTITY = ("_stream", "_partition", "_offset")
BATCH = 5_000
ANSWER_SECONDS = 15.0
SILENCE_SECONDS = 30.0
OWN_KEYS = {"bootstrap_servers", "url"}


def extract_table(
    source: Source[StreamSource, StreamTable], table: Table[StreamTable], context: ExtractContext
) -> JsonRecords | None:
    """New messages of a table's topic, or those of the context's window again; None when there are none."""
    return TopicLoad(source, table, context).run()


class TopicLoad:
    """Reads a table's topic; nothing of it is committed before `commit`."""

    def __init__(
        self, source: Source[StreamSource, StreamTable], table: Table[StreamTable], context: ExtractContext
    ) -> None:
        self.table = table
        self.context = context
        self.topic = str(table.load.topic)
        self.connection = source.load.connection
        self.group = table.load.consumer or f"sluice_{source.name}_{table.name}"
        self.log = _Log()
        self.known: dict[int, int] = {}
        """Offsets that raw has and that are read again, to check that they are the same messages."""

    def run(self) -> JsonRecords | None:
        consumer = self.consumer()
        try:
            return self.read(consumer)
        except KafkaException as error:
            with suppress(KafkaException, RuntimeError):
                consumer.poll(0)  # hands over what librdkafka has logged
            raise self.failure(error) from None
        finally:
            consumer.close()

    def consumer(self) -> Consumer:
        """A client with every key of the connection, `security_protocol` as librdkafka's `security.protocol`."""
        keys = self.context.connections.all(self.connection)
        given = {key.replace("_", "."): value for key, value in keys.items() if key not in OWN_KEYS}
        settings: dict[str, Any] = {
            "bootstrap.servers": self.context.connections.require(self.connection, "bootstrap_servers"),
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 65536,
            **given,
            "group.id": self.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "logger": self.log.logger,
        }
        try:
            return Consumer(settings)
        except (KafkaException, TypeError, ValueError) as error:
            text = self.context.connections.redact(str(error))
            raise ConnectionError(
                f"{self.table.qualified}: the connection {self.connection!r} is not usable: {text}"
            ) from None

    def failure(self, error: KafkaException) -> Exception:
        code = error.args[0]
        text = self.context.connections.redact(code.str() if isinstance(code, KafkaError) else str(error))
        if isinstance(code, KafkaError) and code.code() in (
            KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._AUTHENTICATION,
            KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._RESOLVE, KafkaError._SSL,
        ):  # fmt: skip
            return ConnectionError(
                f"{self.table.qualified}: the brokers of the connection {self.connection!r} cannot be reached: "
                f"{with_reason(text, self.log.last)}. Check bootstrap_servers, security_protocol and the credentials"
            )
        return LoadError(f"{self.table.qualified}: reading the topic {self.topic} failed: {text}. Load again")

    # -- positions --------------------------------------------------------------------------------------

    def loaded(self) -> dict[int, int]:
        """Highest offset by partition that raw has, or that was read before and quarantined.

        What is quarantined counts as loaded: read again it would count against the tolerance again, and be a gap once
        it has expired.
        """
        rows = []
        if "_offset" in self.context.raw.columns(self.table):
            rows = self.context.con.execute(
                f'select _partition, max(_offset) from "{self.table.schema}"."{self.table.name}"'
                f" where _stream = {literal(self.topic)} group by all"
            ).fetchall()
        found = {int(partition): int(offset) for partition, offset in rows}
        for partition, offset in self.read_before().items():
            number = int(partition)
            if offset > found.get(number, -1) and self.context.raw.is_quarantined(
                self.table, _stream=self.topic, _partition=number, _offset=offset
            ):
                found[number] = offset
        return found

    def read_before(self) -> dict[str, int]:
        """The last offset by partition that a load which passed has read."""
        read: dict[str, int] = (self.context.kept(self.table.name).get("read") or {}).get(self.topic) or {}
        return read

    def ranges(self, consumer: Consumer) -> dict[int, tuple[int, int]]:
        """First offset to read and the end (excluded) of every partition."""
        partitions = self.partitions(consumer)
        loaded = self.loaded()
        if unknown := sorted(set(loaded) - set(partitions)):
            raise self.recreated(f"has no partition {unknown[0]}, which raw has messages of")
        begin, end = bounds(self.table, self.context)
        replays = bool(self.context.options.window and loaded)
        begins = self.offsets(consumer, partitions, begin)
        ends = self.offsets(consumer, partitions, end)
        ranges = {}
        for number in partitions:
            at = TopicPartition(self.topic, number)
            low, high = consumer.get_watermark_offsets(at, timeout=ANSWER_SECONDS)
            first, last = low, high
            known = loaded.get(number)
            if known is not None and high <= known:
                raise self.recreated(
                    f"ends at offset {high - 1} in partition {number}, but raw holds {known}"
                )
            if replays:
                # later messages are for the next load, all of them
                first = max(low, begins.get(number, low))
                last = min(ends.get(number, high), (known if known is not None else -1) + 1)
            elif known is not None:
                first = known + 1
                if low > first:
                    where = f"offset {first} to {low - 1} of partition {number} of {self.topic}"
                    gap(self.table, self.context, low - first, where)
                    first = low
            else:
                first = max(low, begins.get(number, low))
                last = min(ends.get(number, high), high)
            if first < last:
                if known is not None and low <= known and first == known + 1:
                    self.known[number] = first = known
                ranges[number] = (first, last)
        return ranges

    def partitions(self, consumer: Consumer) -> list[int]:
        topics = consumer.list_topics(timeout=ANSWER_SECONDS).topics
        topic = topics.get(self.topic)
        if topic is None or topic.error is not None:
            names = ", ".join(sorted(name for name in topics if not name.startswith("__"))) or "none"
            raise LoadError(
                f"{self.table.qualified}: there is no topic {self.topic!r}; the brokers have: {names}"
            )
        return sorted(topic.partitions)

    def offsets(self, consumer: Consumer, partitions: list[int], position: Position) -> dict[int, int]:
        """The offset of a position in each partition; its end where the time lies after the last message."""
        if position is None:
            return {}
        if isinstance(position, int):
            return dict.fromkeys(partitions, position)
        milliseconds = int(position.timestamp() * 1000)
        times = [TopicPartition(self.topic, number, milliseconds) for number in partitions]
        found = consumer.offsets_for_times(times, timeout=ANSWER_SECONDS)
        beyond = {p.partition: p.offset for p in found if p.offset >= 0}
        for number in partitions:
            if number not in beyond:
                beyond[number] = consumer.get_watermark_offsets(
                    TopicPartition(self.topic, number), timeout=ANSWER_SECONDS
                )[1]
        return beyond

    def check_same_topic(self, message: Message, number: int, offset: int) -> None:
        """Refuse a topic that has another message where raw ends, even if it is longer than raw."""
        if "_offset" not in self.context.raw.columns(self.table):
            return
        row = self.context.con.execute(
            f'select epoch_ms(_received_at) from "{self.table.schema}"."{self.table.name}"'
            f" where _stream = {literal(self.topic)} and _partition = {number} and _offset = {offset}"
        ).fetchone()
        if row and row[0] is not None and row[0] != _received(message):
            raise self.recreated(f"has another message at offset {offset} of partition {number} than raw")

    def recreated(self, what: str) -> LoadError:
        return recreated(self.table, "topic", self.topic, what)

    # -- messages --------------------------------------------------------------------------------------

    def read(self, consumer: Consumer) -> JsonRecords | None:
        ranges = self.ranges(consumer)
        if not ranges:
            return None
        consumer.assign([TopicPartition(self.topic, number, first) for number, (first, _) in ranges.items()])
        file = ValueBuffer(self.context.folder / f"{self.table.name}.messages.parquet", SCHEMA, self.context)
        left = most_messages(self.table, self.context)
        next_offsets: dict[int, int] = {}
        open_partitions = dict(ranges)
        heard = time.monotonic()
        while open_partitions and (left is None or left > 0):
            messages = consumer.consume(BATCH if left is None else min(BATCH, left), timeout=0.5)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_SECONDS:
                raise ConnectionError(
                    f"{self.table.qualified}: the brokers of the connection {self.connection!r} fell silent while "
                    f"{self.topic} was read. Nothing was loaded or acknowledged; load again"
                )
            kept = []
            for message in messages:
                number, offset = message.partition(), message.offset()
                if number is None or offset is None or number not in open_partitions:
                    continue
                if (error := message.error()) is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    del open_partitions[number]  # also where its last offsets hold no message for readers
                    continue
                if offset >= open_partitions[number][1]:
                    del open_partitions[number]
                    continue
                if offset <= self.known.get(number, -1):
                    self.check_same_topic(message, number, offset)
                    continue
                kept.append(message)
                next_offsets[number] = offset + 1
                if offset + 1 == open_partitions[number][1]:
                    del open_partitions[number]
            if kept:
                self.write(file, kept)
                self.context.progress(self.table.name, len(kept))
                left = None if left is None else left - len(kept)
        file.close()
        if not file.rows:
            return None
        again = bool(self.context.options.window and self.loaded())
        read = self.read_before() | {str(number): offset - 1 for number, offset in next_offsets.items()}
        return file.extracted(
            self.table,
            origin=Messages(IDENTITY),
            state={} if again else {"read": {self.topic: read}},
            on_commit=None if again else lambda: self.commit(next_offsets),
        )

    def write(self, file: ValueBuffer, messages: list[Message]) -> None:
        count = len(messages)
        payloads = [m.value() for m in messages]
        keys = [m.key() for m in messages]
        stamps = [_received(m) for m in messages]
        columns = [
            pa.array([self.topic] * count, pa.string()),
            pa.array([m.partition() for m in messages], pa.int32()),
            pa.array([m.offset() for m in messages], pa.int64()),
            pa.array([None if k is None else _text(k) for k in keys], pa.string()),
            pa.array(stamps, pa.timestamp("ms", "UTC")),
            pa.array([p is None for p in payloads], pa.bool_()),
            # a tombstone has no fields, only a key
            as_text([b"{}" if p is None else p for p in payloads]),
        ]
        file.write(pa.Table.from_arrays(columns, schema=SCHEMA))
        file.rows += count

    def commit(self, next_offsets: dict[int, int]) -> None:
        """Write the group's offsets; only people and monitors read them."""
        consumer = self.consumer()
        try:
            offsets = [TopicPartition(self.topic, number, offset) for number, offset in next_offsets.items()]
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            text = self.context.connections.redact(str(error))
            raise LoadError(
                f"{self.table.qualified}: the messages are in raw, but the offsets of {self.group} could not be "
                f"written ({text}). The next load continues where raw ends all the same"
            ) from None
        finally:
            consumer.close()


def _received(message: Message) -> int | None:
    """Milliseconds since 1970."""
    kind, stamp = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE else int(stamp)


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode("utf-8", "backslashreplace")


class _Log(logging.Handler):
    """Takes what librdkafka writes, instead of the terminal, and keeps the last of it: its errors have no reasons."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self.logger = logging.Logger("librdkafka")  # noqa: LOG001 - its own, below no other
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.last = record.getMessage()
