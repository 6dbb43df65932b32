"""The first step of a run: the sources' rows into raw, recorded in the run store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.config.declaration import Source
from sluice.config.environments import RAW
from sluice.config.profile import PROFILES
from sluice.config.settings import Settings
from sluice.engine import engine
from sluice.errors import UsageError
from sluice.extract.contract import LoadOptions
from sluice.load.results import ProgressListener, SourceResult
from sluice.load.run import load as load_sources
from sluice.runs.store import RunStore
from sluice.sql import first_value, literal

SCHEMA, MARK = "sluice", "sample"
"""The schema of raw that holds what is known about runs, and its table in a sample."""


def load(
    settings: Settings,
    sources: Sequence[Source[Any, Any]],
    options: LoadOptions,
    listener: ProgressListener | None = None,
    *,
    is_complete: bool = True,
) -> list[SourceResult]:
    """Load `sources` as a run of its own; one that fails does not stop the others.

    is_complete: false if sources with a mistake were left out, so that the run counts as failed.
    Raises LockedError when another process works on the warehouse for longer than `settings.lock_seconds`, and
    UsageError if raw is another environment's, or a sample.
    """
    refuse_foreign_raw(settings)
    if settings.environment and is_sample(settings):
        raise UsageError(
            f"nothing is loaded: {settings.raw} is a sample, and a load would leave gaps in it. `sluice sample` takes "
            "another one; to load everything, move that file away first"
        )
    store = RunStore(settings.ledger)
    run_id = store.begin("load")
    status = "failed"
    try:
        results = load_sources(settings, sources, run_id, options, listener)
        status = "ok" if is_complete and not any(result.errors for result in results) else "failed"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        store.end(run_id, status)
    return results


def refuse_foreign_raw(settings: Settings) -> None:
    """Raise UsageError if the raw of this environment is another one's, which only reads it."""
    for other in settings.others:
        if settings.environment and other.owns(settings.raw):
            raise UsageError(
                f"nothing is loaded on the target {settings.environment.name}: what {PROFILES} attaches as {RAW}, "
                f"{settings.raw}, is {other.name}'s. `sluice load -t {other.name}` loads it"
            )


def is_sample(settings: Settings) -> bool:
    """Whether `sluice sample` has filled raw; raises LockedError if it is written for too long."""
    if not settings.raw.is_file():
        return False
    with engine().open_read_only({RAW: settings.raw}, settings.home / "tmp", settings.lock_seconds) as con:
        marks = (
            f"select count(*) from duckdb_tables() where database_name = {literal(RAW)}"
            f" and schema_name = {literal(SCHEMA)} and table_name = {literal(MARK)}"
        )
        return bool(first_value(con, marks))
