"""NATS JetStream: messages into raw, acknowledged after the commit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import nats
from nats.js.errors import NotFoundError

from bench.case import Case, Figures, Subject, Verdict, expect, raw_file, rows_of
from servers import Nats

STREAM = "BENCH"
CONSUMER = "bench"


class JetStream(Case):
    name = "jetstream"
    work = "a JetStream stream of 300,000 page views (330 bytes each) into raw, acknowledged after the commit"
    target = "25,000 messages/s"

    def prepare(self) -> None:
        self.rows = self.count(300_000)
        self.server = Nats(self.folder / "nats")
        self.server.start()
        asyncio.run(self._publish())

    def close(self) -> None:
        if hasattr(self, "server"):
            self.server.stop()

    async def _publish(self) -> None:
        client = await nats.connect(self.server.url)
        js = client.jetstream()
        await js.add_stream(name=STREAM, subjects=["bench.*"])
        for number in range(self.rows):
            event = {
                "event_id": f"e{number}",
                "event_type": "page_view",
                "occurred_at": "2026-01-01T00:00:00Z",
                "session": {"id": f"s{number // 9}", "visitor_id": f"v{number // 30}", "customer_id": None},
                "page": {
                    "path": f"/products/{number % 400}",
                    "group": "product",
                    "title": "Espresso machine",
                },
                "timing": {"load_ms": number % 900 + 0.5, "ttfb_ms": number % 90, "dom_ms": number % 500},
                "device": {"type": "mobile", "os": "android", "browser": "firefox"},
                "geo": {"country": "AT"},
            }
            # every thousandth is waited for: the server takes them in order
            send = js.publish if number % 1000 == 999 or number == self.rows - 1 else client.publish
            await send("bench.views", json.dumps(event).encode())
        expect("messages of the stream", (await js.stream_info(STREAM)).state.messages, self.rows)
        await client.close()

    def subjects(self) -> list[Subject]:
        load = {"kind": "stream", "connection": "bench", "protocol": "nats"}
        table = {"stream": STREAM, "consumer": CONSUMER, "max_messages": self.rows}
        return [
            self.limit("messages", url=self.server.url, stream=STREAM, count=self.rows),
            self.sluice(load, {"views": table}, connection={"url": self.server.url}),
        ]

    def before(self, subject: Subject, turn: int) -> None:
        super().before(subject, turn)
        asyncio.run(self._forget())

    async def _forget(self) -> None:
        client = await nats.connect(self.server.url)
        for name in (CONSUMER, "limit"):
            try:
                await client.jetstream().delete_consumer(STREAM, name)
            except NotFoundError:
                continue
        await client.close()

    def after(self, subject: Subject, turn: int) -> None:
        table = "main.items" if subject.name == "limit" else "bench.views"
        expect(f"rows of {subject.name}", rows_of(raw_file(subject), table), self.rows)
        if subject.name == "sluice":
            asyncio.run(self._acknowledged())

    async def _acknowledged(self) -> None:
        client = await nats.connect(self.server.url)
        consumer = await client.jetstream().consumer_info(STREAM, CONSUMER)
        await client.close()
        expect("acknowledged", consumer.ack_floor and consumer.ack_floor.stream_seq, self.rows)

    def notes(self) -> list[str]:
        return ["dlt: has no source of NATS"]

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        speed = self.rows / figures["sluice"].wall()
        return [Verdict("at least 25,000 messages/s", f"{speed:,.0f} messages/s", speed >= 25_000)]


CASES = (JetStream,)
