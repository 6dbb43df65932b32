"""What both kinds of streams share: payloads as text, positions, gaps, and streams that were recreated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa

from sluice.config.declaration import StreamTable, Table
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext
from sluice.extract.row_buffer import texts


def as_text(payloads: Sequence[bytes]) -> pa.StringArray:
    r"""Payloads as text; bytes that are not UTF-8 become `\xff`, which no JSON may hold, so they never pass as data."""
    try:
        return texts(payloads)
    except pa.ArrowInvalid:
        return pa.array([payload.decode("utf-8", "backslashreplace") for payload in payloads], pa.string())


def parse_position(text: str | None) -> int | datetime | None:
    """A position in a stream as people write it: a sequence (or offset), or an ISO time (UTC by default)."""
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise LoadError(
            f"{text!r} is not a position in a stream: write a sequence, or a time like 2026-09-30T12:00Z"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


Position = int | datetime | None


def bounds(table: Table[StreamTable], context: ExtractContext) -> tuple[Position, Position]:
    """Where to begin and end: the range that a load is asked for, else the declared start; None: no bound."""
    if context.options.window:
        begin, end = map(parse_position, context.options.window)
        return begin, end
    start = table.load.start
    if start is None:
        return None, None
    return (start.sequence if start.sequence is not None else parse_position(start.time)), None


def most_messages(table: Table[StreamTable], context: ExtractContext) -> int | None:
    """How many messages a load takes; None: all, for what it loads again takes the place of what raw has."""
    return None if context.options.window or context.refreshes(table.name) else table.load.max_messages


def recreated(table: Table[StreamTable], kind: str, name: str, what: str) -> LoadError:
    """The error for a stream or topic that is no longer the one raw was loaded from."""
    return LoadError(
        f"{table.qualified}: the {kind} {name} {what}. It was deleted and recreated, so its positions now mean other "
        f"messages. Declare another table for the new {kind} (raw keeps the old messages), or load only the new ones: "
        f"sluice load {table.qualified} --full-refresh"
    )


def gap(
    table: Table[StreamTable], context: ExtractContext, count: int, where: str, at_most: bool = False
) -> None:
    """Messages that expired before they were loaded: an error, or a warning where the declaration says so."""
    number = f"{'up to ' if at_most else ''}{count} message{'s' if count != 1 else ''}"
    text = f"{table.qualified}: {number} expired before they were loaded ({where}) and are lost."
    if table.load.on_gap == "fail":
        raise LoadError(
            f"{text} Keep messages longer than the time between two loads; to load what is left, write "
            "on_gap: continue"
        )
    context.warned(table.name, f"{text} The load continues, as on_gap says")
