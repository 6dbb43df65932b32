"""Finds by trying whether an API returns only the records that changed since a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sluice.discover.contract import SURE, DiscoveredTable
from sluice.discover.paging import Page
from sluice.discover.yaml_text import flow

CHANGED = re.compile(r"(last_?)?(updated|modified|changed)(_?(at|on|time|date|timestamp))?", re.IGNORECASE)
"""Names of fields that say when a record last changed."""
SINCE = re.compile(
    r"(if_?)?(last_?)?((updated|modified|changed)(_?(at|on|time|date))?)?[_\[.]*(since|after|from|gte?|min|start)\]?",
    re.IGNORECASE,
)
"""Names of parameters by which an API returns what changed since a time."""
BEGINNING = "2000-01-01T00:00:00Z"
START = "{incremental.start_value}"
MOST_PARAMETERS = 2
COMMON = (
    ("filter", "{field} >= '{value}'"),
    ("updated_since", "{value}"),
    ("since", "{value}"),
)
"""Parameters and their values that are tried where no document names any."""


@dataclass(frozen=True)
class Incremental:
    """How an endpoint returns only what changed."""

    keys: dict[str, Any]
    """As `endpoint.incremental` declares it."""
    params: dict[str, str]
    reason: str


def find_incremental(
    get: Callable[[Mapping[str, Any]], Page | None],
    first: Page,
    parameters: Mapping[str, Any],
    *,
    documented: bool,
) -> Incremental | None:
    """The parameter and field that go together, if a try proves it: only records that are as new or newer came back.

    `documented`: whether a document names the parameters; without one, common ones are tried.
    """
    fields = [key for key in (first.records[0] if first.records else {}) if CHANGED.fullmatch(key)]
    named = [(name, "{value}") for name in parameters if SINCE.fullmatch(name)][:MOST_PARAMETERS]
    for field in fields:
        times = sorted(
            (time, str(record[field])) for record in first.records if (time := _time(record.get(field)))
        )
        if len(times) < len(first.records) or times[0][0] == times[-1][0]:
            continue
        middle, text = times[len(times) // 2] if times[len(times) // 2][0] > times[0][0] else times[-1]
        for name, form in named if documented else COMMON:
            page = get({name: form.format(field=field, value=text)})
            if page is None or not page.records:
                continue
            newer = [time for record in page.records if (time := _time(record.get(field)))]
            begun = get({name: form.format(field=field, value=BEGINNING)})
            if (
                min(newer, default=middle) >= middle
                and begun is not None
                and len(begun.records) >= len(first.records)
            ):
                keys = {"cursor_path": field, "initial_value": BEGINNING}
                reason = f"{name} with a time in between brought only records with a later {field}"
                value = form.format(field=field, value=START)
                return Incremental(keys, {name: value}, reason)
    return None


def only_with_key(table: DiscoveredTable) -> None:
    """Read a table whole that has no sure key: its changed records would be added beside the older ones."""
    endpoint = table.load.get("endpoint", {})
    if "incremental" not in endpoint or (table.primary_key and table.primary_key.confidence >= SURE):
        return
    field = endpoint["incremental"]["cursor_path"]
    params = {key: value for key, value in endpoint.get("params", {}).items() if START not in str(value)}
    kept = {key: value for key, value in endpoint.items() if key not in ("incremental", "params")}
    table.load["endpoint"] = {**kept, **({"params": params} if params else {})}
    table.questions.append(
        f"which field is the key? With a primary_key, a load can read only what changed, by {field}: {flow(endpoint)}"
    )


def _time(value: Any) -> datetime | None:
    """An ISO time with a zone; None for anything else."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else None
