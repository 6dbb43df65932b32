"""NATS JetStream: a durable consumer a table, read in large batches.

What the server remembers of a consumer is trusted only when it agrees with raw and nothing is in flight. Else the
consumer is put anew: behind raw's last message where the stream keeps messages by limits, and at everything not
acknowledged where acknowledging removes them (work queues, interest); what raw has already, its key recognises.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import nats
import pyarrow as pa
import pyarrow.compute as pc
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import NoServersError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, RetentionPolicy, StreamInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from sluice.config.declaration import Source, StreamSource, StreamTable, Table
from sluice.errors import ConnectionError, LoadError
from sluice.extract import retries
from sluice.extract.contract import ExtractContext, JsonRecords, Messages
from sluice.extract.row_buffer import ValueBuffer
from sluice.extract.stream.common import a_place, as_text, declared_start, gap
from sluice.sql import literal

T = TypeVar("T")
SCHEMA = pa.schema(
    [
        ("_stream", pa.string()),
        ("_sequence", pa.int64()),
        ("_subject", pa.string()),
        ("_received_at", pa.timestamp("us", "UTC")),
        ("_record", pa.string()),
    ]
)
IDENTITY = ("_stream", "_sequence")
BATCH = 5_000
"""Messages of one pull. With 1,000 the round trips show, beyond 5,000 nothing is gained."""
BATCH_BYTES = 32 * 2**20
"""Bounds the memory of a pull where messages are large; a single message may be larger (see `_pull`)."""
ENDED = ("Batch Completed", "Message Size Exceeds MaxBytes")
"""What a server says when a request has all it may bring."""
SILENCE_SECONDS = 20.0
"""A server that sends nothing for so long, while it says there are messages, is taken for gone."""
ACK_WAIT = timedelta(hours=12)
"""Longer than any load, so that nothing is delivered twice within one; a dead load's are fetched anew anyway."""
CONNECT_SECONDS = 10
TRIES = 3


def extract_table(
    source: Source[StreamSource, StreamTable], table: Table[StreamTable], context: ExtractContext
) -> JsonRecords | None:
    """New messages of a table's stream, or those of the context's window again; None when there are none."""
    name = source.load.connection
    load = _Load(source, table, context, context.connections.all(name) or {}, name)
    try:
        return asyncio.run(_retried(load, load.run))
    except (OSError, TimeoutError, nats.errors.Error) as error:
        raise load.failure(error) from error


async def _retried(load: _Load, act: Callable[[], Awaitable[T]]) -> T:
    """Do something again when its connection breaks; what was not acknowledged is delivered again."""
    attempt = 1
    while True:
        try:
            return await act()
        except (_UnreachableError, OSError, TimeoutError, nats.errors.Error) as error:
            if attempt == TRIES:
                raise
            wait = retries.backoff(attempt)
            load.context.retried(
                load.table.name, f"{load.why(error)}; try {attempt + 1} of {TRIES} in {wait:.1f} s"
            )
            await asyncio.sleep(wait)
            attempt += 1


class _UnreachableError(ConnectionError):
    """No server answers, or none to the end; in a moment one may."""


@dataclass
class _Load:
    source: Source[StreamSource, StreamTable]
    table: Table[StreamTable]
    context: ExtractContext
    keys: dict[str, str]
    connection: str

    def __post_init__(self) -> None:
        self.stream = str(self.table.load.stream)
        self.ended = asyncio.Event()
        """Set when the connection has ended."""
        self.is_queue = False
        self.durable = self.table.load.consumer or f"sluice_{self.source.name}_{self.table.name}"

    async def run(self) -> JsonRecords | None:
        async with self.connected() as client:
            js = client.jetstream(domain=self.keys.get("domain"))
            stream = await self.stream_info(js)
            self.is_queue = stream.config.retention == RetentionPolicy.WORK_QUEUE
            loaded = self.loaded()
            self.check_same_stream(stream, loaded)
            if self.context.options.window and loaded is not None:
                return await self.replay(client, js, stream, loaded)
            return await self.go_on(client, js, stream, loaded)

    # -- connection ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        url = self.context.connections.require(self.connection, "url")
        options: dict[str, Any] = {
            option: self.keys[key]
            for key, option in {
                "user": "user",
                "password": "password",
                "token": "token",
                "credentials": "user_credentials",
                "nkey_seed": "nkeys_seed_str",
            }.items()
            if key in self.keys
        }
        if "tls_ca" in self.keys or "tls_cert" in self.keys:
            context = ssl.create_default_context(cafile=self.keys.get("tls_ca"))
            if "tls_cert" in self.keys:
                context.load_cert_chain(self.keys["tls_cert"], self.keys.get("tls_key"))
            options["tls"] = context

        async def ignore(_: Exception) -> None:  # what matters is raised where it is awaited
            return

        async def closed() -> None:
            ended.set()

        ended = self.ended = asyncio.Event()
        try:
            client = await nats.connect(
                url,
                name="sluice",
                allow_reconnect=False,
                connect_timeout=CONNECT_SECONDS,
                max_reconnect_attempts=2,  # of the first connection
                reconnect_time_wait=0.5,
                error_cb=ignore,
                closed_cb=closed,
                **options,
            )
        except (NoServersError, OSError, TimeoutError) as error:
            raise self.unreachable(error) from None
        except nats.errors.Error as error:
            raise self.unreachable(error) from None
        try:
            yield client
        finally:
            await client.close()

    def unreachable(self, error: Exception) -> ConnectionError:
        server = self.context.connections.redact(self.context.connections.require(self.connection, "url"))
        text = str(error).lower()
        if "authorization" in text or "authentication" in text or "nkeys" in text:
            return ConnectionError(
                f"{self.table.qualified}: {server} refused the credentials of the connection {self.connection!r}: "
                "check user and password in its url, or its token or credentials"
            )
        return _UnreachableError(
            f"{self.table.qualified}: no connection to {server} ({type(error).__name__}). Does it run, and is the url "
            f"of the connection {self.connection!r} right? (Is it the sandbox's? `sluice sandbox up`.)"
        )

    def failure(self, error: Exception) -> ConnectionError:
        return ConnectionError(
            f"{self.table.qualified}: reading the stream {self.stream} over the connection {self.connection!r} failed "
            f"after {TRIES} tries: {self.why(error)}. Nothing was loaded or acknowledged; load again"
        )

    def why(self, error: Exception) -> str:
        """What broke, in a few words."""
        if isinstance(error, TimeoutError):
            return "the server fell silent"
        if isinstance(error, _UnreachableError):
            return "no connection"
        return self.context.connections.redact(str(error)) or type(error).__name__

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

    # -- where to go on --------------------------------------------------------------------------------

    def loaded(self) -> int | None:
        """The highest sequence that raw has, or that was read before and set apart."""
        found: int | None = self.context.raw.maximum(
            self.table, "_sequence", f"_stream = {literal(self.stream)}"
        )
        read = (self.context.state(self.table.name).get("read") or {}).get(self.stream, 0)
        if self.context.options.full_refresh or read <= (found or 0):
            return found
        is_quarantined = self.context.raw.is_quarantined(self.table, _stream=self.stream, _sequence=read)
        return read if is_quarantined else found

    def check_same_stream(self, stream: StreamInfo, loaded: int | None) -> None:
        """Refuse a stream that is not the one raw was loaded from: its sequences mean other messages."""
        if loaded is None:
            return
        received = self.context.raw.maximum(self.table, "_received_at", f"_stream = {literal(self.stream)}")
        what = None
        if stream.state.last_seq < loaded:
            what = f"ends at sequence {stream.state.last_seq}, but raw holds messages up to {loaded}"
        elif stream.created and not stream.mirror and received and stream.created > received:
            what = f"was made {stream.created:%Y-%m-%d %H:%M:%S} UTC, after the messages that raw holds of it"
        if what:
            raise LoadError(
                f"{self.table.qualified}: the stream {self.stream} {what}. It was deleted and made anew, so its "
                "sequences now mean other messages. Declare another table for the new stream (raw keeps the old "
                f"messages), or load only the new ones: sluice load {self.table.qualified} --full-refresh"
            )

    def check_gap(self, stream: StreamInfo, loaded: int | None) -> None:
        """Tell of messages that were removed before they were loaded, where that is not how the stream works."""
        config = stream.config
        if loaded is None or _removes_acknowledged(stream) or (config.max_msgs_per_subject or 0) > 0:
            return
        # up to `seen` everything was looked at, also what went to other subjects than the table's
        state = self.context.state(self.table.name).get("seen") or {}
        seen = max(loaded, int(state.get("last", 0))) if state.get("raw") == loaded else loaded
        missing = stream.state.first_seq - seen - 1
        if missing > 0:
            where = f"sequence {seen + 1} to {stream.state.first_seq - 1} of the stream {self.stream}"
            gap(self.table, missing, where, at_most=self.table.load.subject is not None)

    async def go_on(
        self, client: Client, js: JetStreamContext, stream: StreamInfo, loaded: int | None
    ) -> JsonRecords | None:
        self.check_gap(stream, loaded)
        begin: int | datetime | None = declared_start(self.table.load.start)
        end: int | datetime | None = None
        if self.context.options.window:  # the first load, of a part
            begin, end = map(a_place, self.context.options.window)
        if begin is not None and _removes_acknowledged(stream):
            raise LoadError(
                f"{self.table.qualified}: the stream {self.stream} removes messages once they are acknowledged, so "
                "there is no place to start at: drop `start`"
            )
        if loaded is not None:
            begin = loaded + 1
        consumer = await self.consumer(js, stream, loaded, begin)
        wanted = min(consumer.num_pending or 0, self.table.load.max_messages)
        file, replies = await self.read(client, self.durable, wanted, end)
        whole = wanted == consumer.num_pending
        highest = max(file.last, loaded or 0)
        seen = {"raw": highest, "last": stream.state.last_seq if whole else file.last}
        file.close()
        if not file.rows and (loaded is None or not self.table.load.subject):
            return None
        return JsonRecords(
            table=self.table,
            relation=file.relation(),
            is_exact=file.is_exact,
            release=file.release,
            origin=Messages(IDENTITY),
            state={"seen": seen, "read": {self.stream: highest}},
            on_commit=(lambda: asyncio.run(self.acknowledge(replies))) if replies else None,
        )

    async def consumer(
        self, js: JetStreamContext, stream: StreamInfo, loaded: int | None, begin: int | datetime | None
    ) -> ConsumerInfo:
        """The durable consumer, put where raw ends if it is anywhere else."""
        config = ConsumerConfig(
            durable_name=self.durable,
            description="Loads a warehouse table; acknowledges what is committed.",
            # a work queue takes no other policy; elsewhere the last acknowledgement speaks for all before it
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
            made = await self.put_anew(js, stream, config)
        except APIError as error:
            raise LoadError(
                f"{self.table.qualified}: the consumer {self.durable} could not be made on the stream {self.stream}: "
                f"{error.description or error}. Check subject and consumer, and what the account may do"
            ) from None
        return made

    def agrees(
        self, there: ConsumerInfo, config: ConsumerConfig, stream: StreamInfo, loaded: int | None
    ) -> bool:
        """Whether nothing is in flight and what comes next is what raw lacks next."""
        same = (
            (there.config.filter_subject or None) == config.filter_subject
            and there.config.ack_policy == config.ack_policy
            and not there.num_ack_pending
        )
        if _removes_acknowledged(stream):
            return same
        delivered = there.delivered.stream_seq if there.delivered else 0
        return same and loaded is not None and delivered == loaded

    async def put_anew(
        self, js: JetStreamContext, stream: StreamInfo, config: ConsumerConfig
    ) -> ConsumerInfo:
        # a stream that keeps messages only while somebody is interested must not lose its last consumer
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

    # -- again -----------------------------------------------------------------------------------------

    async def replay(
        self, client: Client, js: JetStreamContext, stream: StreamInfo, loaded: int
    ) -> JsonRecords | None:
        """Messages of the window that raw already has, once more; the durable consumer is left alone."""
        begin, end = map(a_place, self.context.options.window or (None, None))
        if _removes_acknowledged(stream):
            raise LoadError(
                f"{self.table.qualified}: the stream {self.stream} removes messages once they are acknowledged, so "
                "none can be loaded again"
            )
        if isinstance(begin, int) and begin > loaded:
            raise LoadError(
                f"{self.table.qualified}: raw holds the stream up to sequence {loaded}, so {begin} cannot be loaded "
                "again. Without --from, a load goes on where raw ends"
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
        # beyond what raw has lies what the next load will take, all of it
        file, _ = await self.read(client, consumer.name, consumer.num_pending or 0, end, last=loaded)
        await js.delete_consumer(self.stream, consumer.name)
        file.close()
        if not file.rows:
            return None
        return JsonRecords(
            table=self.table,
            relation=file.relation(),
            is_exact=file.is_exact,
            origin=Messages(IDENTITY),
            release=file.release,
        )

    # -- messages --------------------------------------------------------------------------------------

    async def read(
        self,
        client: Client,
        consumer: str,
        wanted: int,
        end: int | datetime | None,
        last: int | None = None,
    ) -> tuple[_Messages, list[str]]:
        """Up to `wanted` messages, before `end` (a sequence or time) and not beyond the sequence `last`.

        With the subjects by which they are acknowledged: each message's in a work queue, else the last one's.
        """
        file = _Messages(self.context.folder / f"{self.table.name}.messages.parquet", SCHEMA, self.context)
        replies: list[str] = []
        inbox = client.new_inbox()
        subscription = await client.subscribe(f"{inbox}.*", pending_msgs_limit=-1, pending_bytes_limit=-1)
        try:
            left = wanted
            asked = await self.ask(client, inbox, consumer, left)
            while asked:
                messages, is_end = await self.gather(subscription, asked)
                left -= len(messages)
                # asked for before the last ones are worked on: the server sends while we write
                asked = None if is_end else await self.ask(client, inbox, consumer, left)
                if not messages:
                    continue
                batch = _as_columns(self.stream, messages)
                kept = _before(batch, end, last)
                file.take(kept)
                self.context.progress(self.table.name, kept.num_rows)
                new = [message.reply for message in messages[: kept.num_rows]]
                replies = replies + new if self.is_queue else new[-1:] or replies
                if kept.num_rows < batch.num_rows:
                    break
        finally:
            await subscription.unsubscribe()
        return file, replies

    async def ask(self, client: Client, inbox: str, consumer: str, left: int) -> _Asked | None:
        """Request the next messages; None when none are wanted."""
        if left <= 0:
            return None
        asked = _Asked(f"{inbox}.{left}", min(left, BATCH))
        largest = max(BATCH_BYTES, client.max_payload + 2**16)  # else a large message could never come
        request = {"batch": asked.count, "no_wait": True, "max_bytes": largest}
        domain = f"{self.keys['domain']}." if "domain" in self.keys else ""
        subject = f"$JS.{domain}API.CONSUMER.MSG.NEXT.{self.stream}.{consumer}"
        await client.publish(subject, json.dumps(request).encode(), reply=asked.inbox)
        return asked

    async def gather(self, subscription: Subscription, asked: _Asked) -> tuple[list[Any], bool]:
        """What a request brings, and whether the server has no more; less than asked for also when its bytes do."""
        queue = subscription._pending_queue
        messages: list[Any] = []
        while len(messages) < asked.count:
            message = queue.get_nowait() if queue.qsize() else await self.next_of(queue)
            if message.headers and not message.data and (status := message.headers.get("Status")):
                if message.subject != asked.inbox:  # the end of an earlier request
                    continue
                description = message.headers.get("Description", "")
                if status in ("404", "408") or description in ENDED:
                    return messages, status != "409"
                raise LoadError(
                    f"{self.table.qualified}: the server ended the request: {status} {description}"
                )
            messages.append(message)
        return messages, False

    async def next_of(self, queue: asyncio.Queue[Any]) -> Any:
        """The next message; TimeoutError when none comes, nats' error when the connection has ended."""
        coming, ended = asyncio.create_task(queue.get()), asyncio.create_task(self.ended.wait())
        try:
            done, _ = await asyncio.wait(
                {coming, ended}, timeout=SILENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ended.cancel()
        if coming in done:
            return coming.result()
        coming.cancel()
        raise nats.errors.ConnectionClosedError if done else TimeoutError

    async def acknowledge(self, replies: list[str]) -> None:
        """Tell the server that the messages are in raw; again where the connection breaks, for it changes nothing."""
        try:
            await _retried(self, partial(self.send_acknowledgements, replies))
        except (ConnectionError, OSError, TimeoutError, nats.errors.Error) as error:
            raise LoadError(
                f"{self.table.qualified}: the messages are in raw, but could not be acknowledged to {self.stream} "
                f"({self.why(error)}). The next load puts that right"
            ) from None

    async def send_acknowledgements(self, replies: list[str]) -> None:
        """Send them all; the last one is waited for, which settles those before."""
        async with self.connected() as client:
            for reply in replies[:-1]:
                await client.publish(reply, b"+ACK")
            await client.request(replies[-1], b"+ACK", timeout=10)


@dataclass(frozen=True)
class _Asked:
    """A request for messages that is under way."""

    inbox: str
    count: int


class _Messages(ValueBuffer):
    """Buffered messages, and the highest sequence among them."""

    last = 0

    def take(self, batch: pa.Table) -> None:
        self.write(batch)
        self.rows += batch.num_rows
        if batch.num_rows:
            self.last = max(self.last, pc.max(batch["_sequence"]).as_py())


def _removes_acknowledged(stream: StreamInfo) -> bool:
    return stream.config.retention in (RetentionPolicy.WORK_QUEUE, RetentionPolicy.INTEREST)


def _start(begin: int | datetime | None) -> dict[str, Any]:
    if begin is None:
        return {"deliver_policy": DeliverPolicy.ALL}
    if isinstance(begin, datetime):
        return {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": begin.astimezone(UTC)}
    return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": max(begin, 1)}


def _as_columns(stream: str, messages: list[Any]) -> pa.Table:
    """Messages as columns; place and time stand in the subject that is acknowledged to.

    `$JS.ACK.<stream>.<consumer>.<times delivered>.<stream sequence>.<consumer sequence>.<ns>.<pending>`, with
    domain and account before the stream in newer servers' longer form.
    """
    parts = pc.split_pattern(pa.array([m.reply for m in messages], pa.string()), ".")
    at = 5 if len(messages[0].reply.split(".")) == 9 else 7
    nanoseconds = pc.cast(pc.list_element(parts, at + 2), pa.int64())
    count = len(messages)
    return pa.table(
        [
            pa.array([stream] * count, pa.string()),
            pc.cast(pc.list_element(parts, at), pa.int64()),
            pa.array([m.subject for m in messages], pa.string()),
            pc.divide(nanoseconds, 1000).cast(pa.timestamp("us", "UTC")),
            as_text([m.data for m in messages]),
        ],
        schema=SCHEMA,
    )


def _before(batch: pa.Table, end: int | datetime | None, last: int | None) -> pa.Table:
    """The batch up to a place; messages come in order of sequence, so what follows is out too."""
    outside = [pc.greater(batch["_sequence"], last)] if last is not None else []
    if end is not None:
        column = batch["_received_at"] if isinstance(end, datetime) else batch["_sequence"]
        outside.append(pc.greater_equal(column, pa.scalar(end, column.type)))
    first = [pc.index(mask, True).as_py() for mask in outside]
    return batch.slice(0, min([place for place in first if place >= 0], default=batch.num_rows))
