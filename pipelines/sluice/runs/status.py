"""The state of each source: its last load, its rows, and how far it is behind its freshness limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sluice.config.declaration import Source
from sluice.runs.store import RunStore


@dataclass(frozen=True)
class SourceStatus:
    """One source; `lag` is the time since its oldest table was last up to date, None before a first load."""

    source: str
    last_load: datetime | None
    state: str
    """fresh, stale (past warn_after), expired (past error_after), failed or never loaded."""
    rows_loaded: int
    """By the last load of each table."""
    lag: timedelta | None
    limit: timedelta | None
    """The freshness error limit; without one, the warning's."""
    errors: tuple[str, ...]
    drift: tuple[str, ...] = ()
    """One line per table whose columns changed at the source with its last load."""
    quarantined: int = 0
    """Bad rows in the last load of each table."""
    warnings: tuple[str, ...] = ()
    """What was doubtful about the last load of each table."""


def status(sources: Sequence[Source[Any, Any]], store: RunStore) -> list[SourceStatus]:
    """The state of every declared source, from the run store."""
    rows = store.latest()
    now = datetime.now(UTC)
    found = []
    for source in sources:
        names = {t.name for t in source.tables}
        loads = [r for r in rows if r["source"] == source.name and r["table_name"] in names]
        warn, error = (_limit(source.freshness, key) for key in ("warn_after", "error_after"))
        succeeded = [r["succeeded_at"] for r in loads]
        complete = len(loads) == len(names) and all(succeeded)
        lag = now - min(map(datetime.fromisoformat, succeeded)) if complete else None
        errors = tuple(dict.fromkeys(r["error"] for r in loads if r["error"]))
        if not loads:
            state = "never loaded"
        elif errors:
            state = "failed"
        elif lag is not None and error and lag > error:
            state = "expired"
        elif lag is not None and warn and lag > warn:
            state = "stale"
        else:
            state = "fresh" if complete else "incomplete"
        last = max((datetime.fromisoformat(r["ended_at"]) for r in loads), default=None)
        loaded = sum(r["rows_loaded"] for r in loads)
        drift = tuple(line for r in loads if (line := _drift(r)))
        bad = sum(r["rows_quarantined"] for r in loads)
        warnings = tuple(line for r in loads for line in (r["warnings"] or "").splitlines())
        found.append(
            SourceStatus(source.name, last, state, loaded, lag, error or warn, errors, drift, bad, warnings)
        )
    return found


def _drift(load: Any) -> str | None:
    words = {"new columns": load["new_columns"], "columns that are gone": load["lost_columns"]}
    said = "; ".join(f"{what}: {names}" for what, names in words.items() if names)
    return f"{load['source']}.{load['table_name']}: {said}" if said else None


def _limit(freshness: Any, key: str) -> timedelta | None:
    after = (freshness or {}).get(key)
    return timedelta(**{f"{after['period']}s": int(after["count"])}) if after else None
