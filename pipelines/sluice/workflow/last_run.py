"""Whether docs, publication and catalog of the last run still hold after a build that left all as it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from sluice.config.settings import Settings
from sluice.config.sources import read_sources
from sluice.dbt.build_state import KEPT
from sluice.dbt.run_results import REUSED, BuildResult
from sluice.publish.versions import Versions
from sluice.runs.status import status
from sluice.runs.store import RunStore

MARKS = "last_run.json"
PAGES = ("static_index.html", "catalog.html")


def keep_marks(settings: Settings) -> None:
    """Keep what a run has worked from, and what it has made; to be called when all steps have succeeded."""
    new = settings.home / f".{MARKS}.new"
    new.write_text(json.dumps(_marks(settings)), encoding="utf-8")
    new.replace(settings.home / MARKS)


def is_nothing_left_to_do(settings: Settings, built: BuildResult) -> bool:
    """Whether the build has left everything, and all that the last run made of it is still there.

    A source that is too old is published no longer, so that publishing has to look again.
    """
    if {*built.models, *built.tests} != {REUSED} or built.failures or _is_stale(settings):
        return False
    try:
        kept = json.loads((settings.home / MARKS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return bool(kept == json.loads(json.dumps(_marks(settings))))


def _is_stale(settings: Settings) -> bool:
    sources, problems = read_sources(settings.sources)
    limits = {source.name: source.freshness.get("error_after") for source in sources}
    for state in status(sources, RunStore(settings.ledger)):
        if limit := limits[state.source]:
            allowed = timedelta(**{f"{limit['period']}s": int(limit["count"])})
            if state.lag is None or state.lag > allowed:
                return True
    return bool(problems)


def _marks(settings: Settings) -> list[list[object]]:
    """Content of what is read, size and time of change of what was made."""
    return [*_read(settings), *_made(settings), [Versions(settings.published).current]]


def _read(settings: Settings) -> Iterator[list[object]]:
    for file in (settings.home / KEPT, settings.audiences, *sorted(settings.sources.rglob("*.yml"))):
        if file.is_file():
            yield [file.name, hashlib.sha256(file.read_bytes()).hexdigest()]


def _made(settings: Settings) -> Iterator[list[object]]:
    published = settings.published / "current"
    pages = [settings.target / page for page in PAGES]
    for file in (*pages, *sorted(file for file in published.rglob("*") if file.is_file())):
        yield [file.name, *(_stamp(file) if file.is_file() else ())]


def _stamp(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_size, about.st_mtime_ns
