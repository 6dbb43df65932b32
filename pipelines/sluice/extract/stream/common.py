"""What both kinds of streams share: payloads as text, places to start at, gaps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa

from sluice.config.declaration import Start, StreamTable, Table
from sluice.errors import LoadError
from sluice.extract.row_buffer import texts

log = logging.getLogger(__name__)


def as_text(payloads: Sequence[bytes]) -> pa.StringArray:
    r"""Payloads as text; bytes that are not UTF-8 become `\xff`, which no JSON may hold, so they never pass as data."""
    try:
        return texts(payloads)
    except pa.ArrowInvalid:
        return pa.array([payload.decode("utf-8", "backslashreplace") for payload in payloads], pa.string())


def a_place(text: str | None) -> int | datetime | None:
    """A place in a stream as written on the command line: a sequence (or offset), or an ISO time (UTC by default)."""
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise LoadError(
            f"{text!r} is no place in a stream: write a sequence, or a time like 2026-09-30T12:00Z"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def declared_start(start: Start | None) -> int | datetime | None:
    """Where the first load begins, if that is declared."""
    if start is None:
        return None
    return start.sequence if start.sequence is not None else a_place(start.time)


def gap(table: Table[StreamTable], count: int, where: str, at_most: bool = False) -> None:
    """Messages that expired before they were loaded: an error, or a warning where the declaration says so."""
    number = f"{'up to ' if at_most else ''}{count} message{'s' if count != 1 else ''}"
    text = (
        f"{table.qualified}: {number} expired before they were loaded ({where}) and cannot be had any more."
    )
    if table.load.on_gap == "fail":
        raise LoadError(
            f"{text} Keep messages longer than the time between two loads; to go on with what is left, write "
            "on_gap: continue"
        )
    log.warning("%s on_gap says to go on", text)
