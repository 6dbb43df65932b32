"""A load of one stream into a DuckDB file that kills itself at a given point."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import duckdb

from sluice.extract import stream
from sluice.extract.stream import nats as stream_nats
from sluice.extract.stream import nats_fetch
from tests.python.extract.rig import into_raw, run

POINTS = ["while_reading", "extracted", "before_commit", "after_commit", "acknowledging"]


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def load(folder: Path, declaration: dict[str, Any], url: str, point: str) -> None:
    """Load `web.views` into `folder/raw.duckdb`; SIGKILL at `point`, one of POINTS, or never."""
    nats_fetch.BATCH = 40
    if point == "while_reading":
        takes = iter(range(3))
        take = nats_fetch.MessageBuffer.take

        def take_two(self: Any, batch: Any) -> None:
            take(self, batch)
            if next(takes) == 1:
                die()

        nats_fetch.MessageBuffer.take = take_two  # type: ignore[method-assign]
    if point == "acknowledging":

        async def acknowledge(self: Any, replies: list[str]) -> None:
            async with self.connection.opened() as client:
                for reply in replies[: len(replies) // 2 + 1]:
                    await client.publish(reply, b"+ACK")
                await client.flush()
                die()

        stream_nats._Load.acknowledge = acknowledge  # type: ignore[method-assign]
    with duckdb.connect(str(folder / "raw.duckdb")) as con:
        result = run(stream.extract, declaration, folder, values={"web": {"url": url}}, raw=con)
        if result.errors:
            raise result.errors["views"]
        if point == "extracted":
            die()
        if "views" not in result.extracted:
            return
        con.execute("begin")
        into_raw(con, "web.views", result.extracted["views"])
        if point == "before_commit":
            die()
        con.execute("commit")
        if point == "after_commit":
            die()
        committed = result.extracted["views"].on_commit
        assert committed is not None
        committed()
