"""What each environment of a project holds, as `sluice env` shows it; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sluice.config.environments import PRODUCTION
from sluice.config.profile import PROFILES
from sluice.config.settings import WAREHOUSE, Settings
from sluice.dbt.deferral import refusal
from sluice.publish.versions import Versions
from sluice.runs.store import last_times


@dataclass(frozen=True)
class EnvironmentStatus:
    """One environment; sizes are bytes, times ISO in UTC, None where there is nothing."""

    name: str
    is_active: bool
    folder: Path
    raw: Path
    raw_bytes: int | None
    raw_of: str
    """The environment whose raw it reads; empty if it is its own."""
    warehouse: Path | None
    warehouse_bytes: int | None
    last_load: str | None
    last_build: str | None
    published: str | None
    """The version that readers have."""
    pages: Path
    keys: Path
    variables: Path | None
    """The file with variables of this environment only, where it exists."""
    defers_to: str
    """The environment `--defer` reads from; empty if it cannot."""
    cannot_defer: str
    """Why not; empty in production."""
    problem: str


def environment_statuses(settings: Settings) -> list[EnvironmentStatus]:
    """Every environment as the profile lists it; in a project without environments its one warehouse."""
    if settings.environment is None:
        return [_status(settings, WAREHOUSE)]
    every = {one.name: one for one in (settings.environment, *settings.others)}
    found = []
    for name in settings.environment.profile.targets:
        others = tuple(one for one in every.values() if one.name != name)
        one = Settings(settings.root, every[name].home, every[name], others)
        found.append(_status(one, settings.environment.name))
    return found


def _status(settings: Settings, active: str) -> EnvironmentStatus:
    own = settings.environment
    name = own.name if own else WAREHOUSE
    warehouse = own.warehouse if own else settings.warehouse
    loaded, built = last_times(settings.ledger)
    variables = settings.root / f".env.{name}"
    why = "" if name == PRODUCTION or own is None else refusal(settings)
    return EnvironmentStatus(
        name=name,
        is_active=name == active,
        folder=settings.home,
        raw=settings.raw,
        raw_bytes=_size(settings.raw),
        raw_of=next((other.name for other in settings.others if other.owns(settings.raw)), ""),
        warehouse=warehouse,
        warehouse_bytes=_size(warehouse),
        last_load=loaded,
        last_build=built,
        published=Versions(settings.published).current,
        pages=settings.target,
        keys=settings.home / "keys",
        variables=variables if variables.is_file() else None,
        defers_to=PRODUCTION if own and name != PRODUCTION and not why else "",
        cannot_defer=why,
        problem=f"{PROFILES}: {own.problem}" if own and own.problem else "",
    )


def _size(file: Path | None) -> int | None:
    return file.stat().st_size if file and file.is_file() else None
