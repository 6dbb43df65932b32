"""NATS JetStream: one durable consumer per table.

What the server remembers of a consumer is trusted only if it agrees with raw and no message is in flight. Otherwise the
consumer is recreated: behind raw's last message where the stream keeps messages by limits, and at everything that is
not acknowledged where acknowledging removes them (work queues, interest). Messages that raw already has are recognised
by their key.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import zip_longest
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, RetentionPolicy, StreamInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from sluice.config.declaration import Source, StreamSource, StreamTable, Table
from sluice.engine.raw import address
from sluice.errors import ConnectionError, LoadError
from sluice.extract.contract import ExtractContext, JsonRecords, Messages
from sluice.extract.stream.common import bounds, gap, most_messages, recreated
from sluice.extract.stream.nats_connection import BROKEN, Connection
from sluice.extract.stream.nats_fetch import Fetch
from sluice.sql import literal

IDENTITY = ("_stream", "_sequence")
ACK_WAIT = timedelta(hours=12)
"""Longer than any load, so that none gets a message twice; those of a load that died are fetched again anyway."""


def extract_table(
    source: Source[StreamSource, StreamTable], table: Table[StreamTable], context: ExtractContext
) -> JsonRecords | None:
    """New messages of a table's stream, or those of the context's window again; None when there are none."""
    connection = Connection(source.load.connection, table, context)
    load = _Load(source, table, context, connection)
    try:
        return asyncio.run(connection.retried(load.run))
    except BROKEN as error:
        raise connection.failure(error) from error


@dataclass
class _Load:
    source: Source[StreamSource, StreamTable]
    table: Table[StreamTable]
    context: ExtractContext
    connection: Connection

    def __post_init__(self) -> None:
        self.stream = str(self.table.load.stream)
        self.is_queue = False
        self.durable = self.table.load.consumer or f"sluice_{self.source.name}_{self.table.name}"

    async def run(self) -> JsonRecords | None:
        async with self.connection.opened() as client:
            js = client.jetstream(domain=self.connection.keys.get("domain"))
            stream = await self.stream_info(js)
            self.is_queue = stream.config.retention == RetentionPolicy.WORK_QUEUE
            self.check_subject(stream)
            self.check_can_be_read_again(stream)
            loaded = self.loaded()
            self.check_same_stream(stream, loaded)
            if self.context.options.window and loaded is not None:
                return await self.replay(client, js, stream, loaded)
            return await self.resume(client, js, stream, loaded)

    def fetch(self, client: Client) -> Fetch:
        return Fetch(self.connection, client, self.table, self.context, self.is_queue)

    async def stream_info(self, js: JetStreamContext) -> StreamInfo:
        try:
            return await js.stream_info(self.stream)
        except NotFoundError:
            names = ", ".join(sorted(s.config.name or "" for s in await js.streams_info())) or "none"
            raise LoadError(
                f"{self.table.qualified}: there is no stream {self.stream!r}; the server has: {names}"
            ) from None
        except ServiceUnavailableError:
            raise LoadError(f"{self.table.qualified}: the server runs without JetStream") from None

    def loaded(self) -> int | None:
        """The highest sequence that raw has, or that was read before and quarantined."""
        found: int | None = self.context.raw.maximum(
            self.table, "_sequence", f"_stream = {literal(self.stream)}"
        )
        read = (self.context.kept(self.table.name).get("read") or {}).get(self.stream, 0)
        if read <= (found or 0):
            return found
        is_quarantined = self.context.raw.is_quarantined(self.table, _stream=self.stream, _sequence=read)
        return read if is_quarantined else found

    def check_subject(self, stream: StreamInfo) -> None:
        """Refuse a subject that the stream does not take: its consumer may be there still, and get nothing."""
        config, wanted = stream.config, self.table.load.subject
        has_others = config.mirror or config.sources or config.subject_transform
        if (
            wanted
            and config.subjects
            and not has_others
            and not any(_meet(wanted, s) for s in config.subjects)
        ):
            raise LoadError(
                f"{self.table.qualified}: the stream {self.stream} takes no subject {wanted!r}; it takes "
                f"{', '.join(config.subjects)}"
            )

    def check_can_be_read_again(self, stream: StreamInfo) -> None:
        """Refuse to read a table from scratch if raw has the only copy of its messages."""
        if not self.context.refreshes(self.table.name) or not _removes_acknowledged(stream):
            return
        if self.context.raw.held(self.table):
            way = "Load without --full-refresh, or, t" if self.context.options.full_refresh else "T"
            raise LoadError(
                f"{self.table.qualified}: the stream {self.stream} removes messages once they are acknowledged, so raw "
                f"has the only copy of those it loaded, and to read it whole would lose them. {way}o begin again "
                f"without them: drop table {address(self.table)}"
            )

    def check_same_stream(self, stream: StreamInfo, loaded: int | None) -> None:
        """Refuse a stream that is not the one raw was loaded from: its sequences mean other messages."""
        if loaded is None:
            return
        received = self.context.raw.maximum(self.table, "_received_at", f"_stream = {literal(self.stream)}")
        what = None
        if stream.state.last_seq < loaded:
            what = f"ends at sequence {stream.state.last_seq}, but raw holds messages up to {loaded}"
        elif stream.created and not stream.mirror and received and stream.created > received:
            what = (
                f"was created {stream.created:%Y-%m-%d %H:%M:%S} UTC, after the messages that raw holds of it"
            )
        if what:
            raise recreated(self.table, "stream", self.stream, what)

    def check_gap(self, stream: StreamInfo, loaded: int | None) -> None:
        """Report messages that were removed before they were loaded, unless the stream is meant to remove them."""
        config = stream.config
        if loaded is None or _removes_acknowledged(stream) or (config.max_msgs_per_subject or 0) > 0:
            return
        # up to `seen` every message was read, also those of subjects that are not the table's
        state = self.context.kept(self.table.name).get("seen") or {}
        seen = max(loaded, int(state.get("last", 0))) if state.get("raw") == loaded else loaded
        missing = stream.state.first_seq - seen - 1
        if missing > 0:
            where = f"sequence {seen + 1} to {stream.state.first_seq - 1} of the stream {self.stream}"
            gap(self.table, self.context, missing, where, at_most=self.table.load.subject is not None)

    async def resume(
        self, client: Client, js: JetStreamContext, stream: StreamInfo, loaded: int | None
    ) -> JsonRecords | None:
        """Messages after the last one that raw has, or from where the first load begins."""
        self.check_gap(stream, loaded)
        begin, end = bounds(self.table, self.context)
        if begin is not None and _removes_acknowledged(stream):
            raise LoadError(
                f"{self.table.qualified}: the stream {self.stream} removes messages once they are acknowledged, so "
                "a load cannot start at a position: drop `start`"
            )
        if loaded is not None:
            begin = loaded + 1
        consumer = await self.consumer(js, stream, loaded, begin)
        pending = consumer.num_pending or 0
        wanted = min(pending, most_messages(self.table, self.context) or pending)
        file, replies = await self.fetch(client).messages(self.durable, wanted, end)
        whole = wanted == consumer.num_pending
        highest = max(file.last, loaded or 0)
        seen = {"raw": highest, "last": stream.state.last_seq if whole else file.last}
        file.close()
        if not file.rows and (loaded is None or not self.table.load.subject):
            return None
        return file.extracted(
            self.table,
            origin=Messages(IDENTITY),
            state={"seen": seen, "read": {self.stream: highest}},
            on_commit=(lambda: asyncio.run(self.acknowledge(replies))) if replies else None,
        )

    async def consumer(
        self, js: JetStreamContext, stream: StreamInfo, loaded: int | None, begin: int | datetime | None
    ) -> ConsumerInfo:
        """The durable consumer, recreated where raw ends if it is anywhere else."""
        config = ConsumerConfig(
            durable_name=self.durable,
            description="Loads a warehouse table; acknowledges what is committed.",
            # a work queue allows no other policy; elsewhere the last acknowledgement counts for all before it
            ack_policy=AckPolicy.EXPLICIT if self.is_queue else AckPolicy.ALL,
            ack_wait=ACK_WAIT.total_seconds(),
            max_ack_pending=-1,
            filter_subject=self.table.load.subject,
        )
        if not _removes_acknowledged(stream):
            config = config.evolve(**_start(begin))
        try:
            there: ConsumerInfo | None = await js.consumer_info(self.stream, self.durable)
        except NotFoundError:
            there = None
        if there and self.agrees(there, config, stream, loaded):
            return there
        try:
            made = await self.recreate(js, stream, config)
        except APIError as error:
            raise LoadError(
                f"{self.table.qualified}: the consumer {self.durable} could not be created on the stream "
                f"{self.stream}: {error.description or error}. Check subject and consumer, and what the account may do"
            ) from None
        return made

    def agrees(
        self, there: ConsumerInfo, config: ConsumerConfig, stream: StreamInfo, loaded: int | None
    ) -> bool:
        """Whether no message is in flight and the consumer's next one is the first that raw lacks."""
        same = (
            (there.config.filter_subject or None) == config.filter_subject
            and there.config.ack_policy == config.ack_policy
            and not there.num_ack_pending
        )
        if _removes_acknowledged(stream):
            return same
        delivered = there.delivered.stream_seq if there.delivered else 0
        return same and loaded is not None and delivered == loaded

    async def recreate(
        self, js: JetStreamContext, stream: StreamInfo, config: ConsumerConfig
    ) -> ConsumerInfo:
        # a stream that keeps messages only as long as it has consumers must not lose its last one
        holds = f"{self.durable}__hold" if stream.config.retention == RetentionPolicy.INTEREST else None
        if holds:
            await js.add_consumer(
                self.stream,
                ConsumerConfig(
                    durable_name=holds, ack_policy=AckPolicy.EXPLICIT, filter_subject=config.filter_subject
                ),
            )
        with suppress(NotFoundError):
            await js.delete_consumer(self.stream, self.durable)
        made: ConsumerInfo = await js.add_consumer(self.stream, config)
        if holds:
            await js.delete_consumer(self.stream, holds)
        return made

    async def replay(
        self, client: Client, js: JetStreamContext, stream: StreamInfo, loaded: int
    ) -> JsonRecords | None:
        """Messages of the window that raw already has, once more; the durable consumer is left alone."""
        begin, end = bounds(self.table, self.context)
        if _removes_acknowledged(stream):
            raise LoadError(
                f"{self.table.qualified}: the stream {self.stream} removes messages once they are acknowledged, so "
                "none can be loaded again"
            )
        if isinstance(begin, int) and begin > loaded:
            raise LoadError(
                f"{self.table.qualified}: raw holds the stream up to sequence {loaded}, so {begin} cannot be loaded "
                "again. Without --from, a load continues where raw ends"
            )
        consumer = await js.add_consumer(
            self.stream,
            ConsumerConfig(
                ack_policy=AckPolicy.NONE,
                filter_subject=self.table.load.subject,
                inactive_threshold=60.0,
                mem_storage=True,
                **_start(begin),
            ),
        )
        # later messages are for the next load, all of them
        file, _ = await self.fetch(client).messages(
            consumer.name, consumer.num_pending or 0, end, last=loaded
        )
        await js.delete_consumer(self.stream, consumer.name)
        file.close()
        if not file.rows:
            return None
        return file.extracted(self.table, origin=Messages(IDENTITY))

    async def acknowledge(self, replies: list[str]) -> None:
        """Acknowledge messages that are in raw; repeated where the connection breaks, which changes nothing."""
        try:
            await self.connection.retried(partial(self.send_acknowledgements, replies))
        except (ConnectionError, *BROKEN) as error:
            raise LoadError(
                f"{self.table.qualified}: the messages are in raw, but could not be acknowledged to {self.stream} "
                f"({self.connection.why(error)}). The next load does so"
            ) from None

    async def send_acknowledgements(self, replies: list[str]) -> None:
        """Send all; the answer to the last one confirms those before."""
        async with self.connection.opened() as client:
            for reply in replies[:-1]:
                await client.publish(reply, b"+ACK")
            await client.request(replies[-1], b"+ACK", timeout=10)


def _removes_acknowledged(stream: StreamInfo) -> bool:
    return stream.config.retention in (RetentionPolicy.WORK_QUEUE, RetentionPolicy.INTEREST)


def _start(begin: int | datetime | None) -> dict[str, Any]:
    if begin is None:
        return {"deliver_policy": DeliverPolicy.ALL}
    if isinstance(begin, datetime):
        return {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": begin.astimezone(UTC)}
    return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": max(begin, 1)}


def _meet(one: str, other: str) -> bool:
    """Whether some subject matches both filters."""
    for a, b in zip_longest(one.split("."), other.split(".")):
        if ">" in (a, b):
            return a is not None and b is not None
        if a is None or b is None or (a != b and "*" not in (a, b)):
            return False
    return True
