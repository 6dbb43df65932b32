"""Reads a JetStream consumer's messages in large batches.

The pull request is built here although nats-py has `fetch`: that starts a timer for each message, knows no limit of
bytes, and requests the next messages only once the last ones are handled. Here the server sends the next batch while
this one is written, and memory stays bounded where messages are large.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats
import pyarrow as pa
import pyarrow.compute as pc
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from sluice.config.declaration import StreamTable, Table
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext
from sluice.extract.row_buffer import ValueBuffer
from sluice.extract.stream.common import as_text
from sluice.extract.stream.nats_connection import Connection

SCHEMA = pa.schema(
    [
        ("_stream", pa.string()),
        ("_sequence", pa.int64()),
        ("_subject", pa.string()),
        ("_received_at", pa.timestamp("us", "UTC")),
        ("_record", pa.string()),
    ]
)
BATCH = 5_000
"""Messages of one pull. With 1,000 the round trips show, beyond 5,000 nothing is gained."""
BATCH_BYTES = 32 * 2**20
"""Bounds the memory of a pull where messages are large; a single message may be larger (see `_request`)."""
ENDED = ("Batch Completed", "Message Size Exceeds MaxBytes")
"""What a server says when a request has all it may bring."""
SILENCE_SECONDS = 20.0
"""A server that sends nothing for this long, while it says there are messages, counts as gone."""


class MessageBuffer(ValueBuffer):
    """Buffered messages, and the highest sequence among them."""

    last = 0

    def take(self, batch: pa.Table) -> None:
        self.write(batch)
        self.rows += batch.num_rows
        if batch.num_rows:
            self.last = max(self.last, pc.max(batch["_sequence"]).as_py())


@dataclass(frozen=True)
class _Request:
    """A request for messages that is under way."""

    inbox: str
    count: int


@dataclass(frozen=True)
class Fetch:
    """Reads messages of a table's stream over an open connection."""

    connection: Connection
    client: Client
    table: Table[StreamTable]
    context: ExtractContext
    is_queue: bool
    """Whether every message is acknowledged on its own; else the last one's acknowledgement counts for all before."""

    @property
    def stream(self) -> str:
        return str(self.table.load.stream)

    async def messages(
        self,
        consumer: str,
        wanted: int,
        end: int | datetime | None,
        last: int | None = None,
    ) -> tuple[MessageBuffer, list[str]]:
        """Up to `wanted` messages, before `end` (a sequence or time) and not beyond the sequence `last`.

        With the subjects by which they are acknowledged: each message's in a work queue, else the last one's.
        """
        file = MessageBuffer(
            self.context.folder / f"{self.table.name}.messages.parquet", SCHEMA, self.context
        )
        replies: list[str] = []
        inbox = self.client.new_inbox()
        subscription = await self.client.subscribe(
            f"{inbox}.*", pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        try:
            left = wanted
            request = await self._request(inbox, consumer, left)
            while request:
                messages, is_end = await self._received(subscription, request)
                left -= len(messages)
                # the next ones are requested before these are written: the server sends meanwhile
                request = None if is_end else await self._request(inbox, consumer, left)
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

    async def _request(self, inbox: str, consumer: str, left: int) -> _Request | None:
        """Request the next messages; None when none are wanted."""
        if left <= 0:
            return None
        request = _Request(f"{inbox}.{left}", min(left, BATCH))
        largest = max(BATCH_BYTES, self.client.max_payload + 2**16)  # else a large message could never come
        body = {"batch": request.count, "no_wait": True, "max_bytes": largest}
        domain = f"{self.connection.keys['domain']}." if "domain" in self.connection.keys else ""
        subject = f"$JS.{domain}API.CONSUMER.MSG.NEXT.{self.stream}.{consumer}"
        await self.client.publish(subject, json.dumps(body).encode(), reply=request.inbox)
        return request

    async def _received(self, subscription: Subscription, request: _Request) -> tuple[list[Any], bool]:
        """What a request brings, and whether the server has no more; the limit of bytes may end it early."""
        queue = subscription._pending_queue
        messages: list[Any] = []
        while len(messages) < request.count:
            message = queue.get_nowait() if queue.qsize() else await self._next(queue)
            if message.headers and not message.data and (status := message.headers.get("Status")):
                if message.subject != request.inbox:  # the end of an earlier request
                    continue
                description = message.headers.get("Description", "")
                if status in ("404", "408") or description in ENDED:
                    return messages, status != "409"
                raise LoadError(
                    f"{self.table.qualified}: the server ended the request: {status} {description}"
                )
            messages.append(message)
        return messages, False

    async def _next(self, queue: asyncio.Queue[Any]) -> Any:
        """The next message; TimeoutError when none comes, nats' error when the connection has ended."""
        coming, ended = asyncio.create_task(queue.get()), asyncio.create_task(self.connection.ended.wait())
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


def _as_columns(stream: str, messages: list[Any]) -> pa.Table:
    """Messages as columns; position and time stand in the subject that is acknowledged to.

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
    """The batch up to a position; messages come in order of sequence, so what follows is out too."""
    outside = [pc.greater(batch["_sequence"], last)] if last is not None else []
    if end is not None:
        column = batch["_received_at"] if isinstance(end, datetime) else batch["_sequence"]
        outside.append(pc.greater_equal(column, pa.scalar(end, column.type)))
    first = [pc.index(mask, True).as_py() for mask in outside]
    return batch.slice(0, min([index for index in first if index >= 0], default=batch.num_rows))
