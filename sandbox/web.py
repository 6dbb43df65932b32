"""The web shop's page views: nested JSON messages in the NATS JetStream stream WEB, subject web.page_views.

Messages stand in the order of publishing: views are published up to three days late, and some twice (the same body).
Message n of the stream is the n-th of the world, whatever the dates of writing were.
"""

from __future__ import annotations

import asyncio
import datetime as dt

import duckdb
import nats
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig

from sluice.errors import SluiceError

STREAM = "WEB"
SUBJECT = "web.page_views"

# One acknowledged message per batch proves the whole batch, since one connection keeps its order. The server drops
# what exceeds 10,000 messages that it has received and not yet stored, so a batch stays well below.
BATCH = 4000


def write(
    world: duckdb.DuckDBPyConnection, url: str, *, date: dt.date, previous: dt.date | None
) -> dict[str, int]:
    """Publish the messages known at `date` that the stream does not have yet; {"messages": published}.

    The stream itself tells how far it is, so `previous` is not needed and a crash repeats nothing.
    """
    return {"messages": asyncio.run(_publish(messages(world, date=date), url))}


def messages(world: duckdb.DuckDBPyConnection, *, date: dt.date) -> list[str]:
    """Bodies of all messages published until the end of `date`, in their order."""
    rows = world.cursor().execute(_MESSAGES, {"date": date}).fetchall()
    return [body for (body,) in rows]


_MESSAGES = """
    with publications as (
        select known_at as published_at, 1 as attempt, * from events.page_views
        union all
        select duplicate_at as published_at, 2 as attempt, * from events.page_views where duplicate_at is not null
    )

    select
        to_json({
            event_id: event_id,
            event_type: 'page_view',
            occurred_at: strftime(occurred_at, '%Y-%m-%dT%H:%M:%S.%gZ'),
            session: {id: session_id, visitor_id: visitor_id, customer_id: customer_id},
            page: {path: path, "group": page_group, title: title, referrer: referrer},
            timing: {load_ms: load_ms, ttfb_ms: ttfb_ms, dom_ms: dom_ms},
            device: {type: device_type, os: os, browser: browser},
            geo: {country: country_code}
        })::varchar as body
    from publications
    where published_at < $date::date + interval 1 day
    order by published_at, event_id, attempt
"""


def _strange(sequence: int) -> SluiceError:
    return SluiceError(
        f"Message {sequence} of the stream {STREAM} is not the sandbox's: something else publishes to it."
        " Delete the stream; the next start or advance of the sandbox fills it again."
    )


async def _body(stream: JetStreamContext, sequence: int) -> str:
    return ((await stream.get_msg(STREAM, sequence)).data or b"").decode()


async def _publish(bodies: list[str], url: str) -> int:
    client = await nats.connect(url, connect_timeout=5, max_reconnect_attempts=2)
    try:
        stream = client.jetstream(timeout=30)
        configuration = StreamConfig(name=STREAM, subjects=["web.>"], storage=StorageType.FILE)
        done = (await stream.add_stream(configuration)).state.last_seq
        if done and (done > len(bodies) or await _body(stream, done) != bodies[done - 1]):
            raise _strange(done)
        for start in range(done, len(bodies), BATCH):
            batch = bodies[start : start + BATCH]
            for body in batch[:-1]:
                await client.publish(SUBJECT, body.encode())
            stored = (await stream.publish(SUBJECT, batch[-1].encode())).seq
            if stored != start + len(batch):
                raise _strange(stored)
        return len(bodies) - done
    finally:
        await client.close()
