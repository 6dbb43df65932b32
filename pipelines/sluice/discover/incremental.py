"""Finds by trying whether an API returns only the records that changed since a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sluice.discover.paging import Page

CHANGED = re.compile(r"(last_?)?(updated|modified|changed)(_?(at|on|time|date|timestamp))?", re.IGNORECASE)
"""Names of fields that say when a record last changed."""
SINCE = re.compile(
    r"(if_?)?(last_?)?((updated|modified|changed)(_?(at|on|time|date))?)?[_\[.]*(since|after|from|gte?|min|start)\]?",
    re.IGNORECASE,
)
"""Names of parameters by which an API returns what changed since a time."""
BEGINNING = "2000-01-01T00:00:00Z"
MOST_PARAMETERS = 2


@dataclass(frozen=True)
class Incremental:
    """How an endpoint returns only what changed."""

    keys: dict[str, Any]
    """As `endpoint.incremental` declares it."""
    params: dict[str, str]
    reason: str


def find_incremental(
    get: Callable[[Mapping[str, Any]], Page | None], first: Page, parameters: Mapping[str, Any]
) -> Incremental | None:
    """The parameter and field that go together, if a try proves it: only records that are as new or newer came back."""
    fields = [key for key in (first.records[0] if first.records else {}) if CHANGED.fullmatch(key)]
    names = [name for name in parameters if SINCE.fullmatch(name)][:MOST_PARAMETERS]
    for field in fields:
        times = sorted(
            (time, str(record[field])) for record in first.records if (time := _time(record.get(field)))
        )
        if len(times) < len(first.records) or times[0][0] == times[-1][0]:
            continue
        middle, text = times[len(times) // 2] if times[len(times) // 2][0] > times[0][0] else times[-1]
        for name in names:
            page = get({name: text})
            if page is None or not page.records:
                continue
            newer = [time for record in page.records if (time := _time(record.get(field)))]
            begun = get({name: BEGINNING})
            if (
                min(newer, default=middle) >= middle
                and begun is not None
                and len(begun.records) >= len(first.records)
            ):
                keys = {"cursor_path": field, "initial_value": BEGINNING}
                reason = f"{name} with a time in between brought only records with a later {field}"
                return Incremental(keys, {name: "{incremental.start_value}"}, reason)
    return None


def _time(value: Any) -> datetime | None:
    """An ISO time with a zone; None for anything else."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else None
