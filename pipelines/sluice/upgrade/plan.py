"""What an upgrade would change, and what it copies first; looking changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from sluice import __version__
from sluice.config.settings import Settings
from sluice.engine import engine
from sluice.errors import DamagedError
from sluice.runs.migrations import MIGRATIONS, is_empty, refuse_newer, store_version, written_by
from sluice.runs.store import WAY_BACK
from sluice.upgrade.engine_wheel import wheel_changes
from sluice.upgrade.project_files import FileChange, changes, is_newer, left_to_do, refuse_newer_pin


@dataclass(frozen=True)
class StoreChange:
    """What happens to the run store."""

    migrations: int
    """How many it lacks; 0: only the version of the engine is recorded."""
    engine: str | None
    """The version that wrote it; None where it says none."""


@dataclass(frozen=True)
class UpgradePlan:
    """Everything an upgrade does."""

    files: tuple[FileChange, ...]
    """Files of the project."""
    store: StoreChange | None
    """None: there is no run store, or it is this engine's."""
    copies: tuple[Path, ...]
    """Files in SLUICE_HOME that are copied first."""
    left_to_do: tuple[str, ...]
    """What a person has to do."""

    @property
    def is_empty(self) -> bool:
        return not self.files and self.store is None


def plan_upgrade(settings: Settings, wheels: Path | None = None) -> UpgradePlan:
    """What moves the project to this engine.

    wheels: the folder of its wheel, for a project that carries one, if it is not found by itself. Raises VersionError
    if a file is newer than the engine, DamagedError if one cannot be read, UsageError without the wheel, and
    LockedError while another process writes.
    """
    refuse_newer_pin(settings.root)
    refuse_other_storage(settings)
    store, copies = _warehouse(settings)
    files = {change.name: change for change in changes(settings.root)}
    files |= {change.name: change for change in wheel_changes(settings.root, wheels)}
    left = left_to_do(settings.root, files)
    return UpgradePlan(tuple(files.values()), store, copies, tuple(left))


def still_holds(settings: Settings, plan: UpgradePlan) -> bool:
    """Whether everything that a plan changes is as it was when the plan was made."""
    contents = (
        (file.read_bytes() if (file := settings.root / change.name).is_file() else None) == change.old
        for change in plan.files
    )
    return all(contents) and _warehouse(settings) == (plan.store, plan.copies)


def _warehouse(settings: Settings) -> tuple[StoreChange | None, tuple[Path, ...]]:
    """What happens to the run store, and which files are copied."""
    store, database = _store(settings.ledger)
    copies: list[Path] = []
    if store:
        copies.append(settings.ledger)
        if database != installed("duckdb"):  # it may write these so that the earlier one cannot read them
            copies += _databases(settings)
            copies += sorted(file for file in settings.pipelines.rglob("*") if file.is_file())
    return store, tuple(copies)


def refuse_other_storage(settings: Settings) -> None:
    """Raise VersionError for a database of this warehouse that the engine cannot read, DamagedError for a bad one."""
    there = {name: file for name, file in _own_databases(settings).items() if file.is_file()}
    with engine().open_read_only(there, settings.home / "tmp", settings.lock_seconds):
        pass
    for file in sorted(settings.published.glob("versions/*/*.duckdb")):
        engine().refuse_other_storage(file)


def _own_databases(settings: Settings) -> dict[str, Path]:
    """Raw and the warehouse, without those of another target, which are upgraded there."""
    files = {"raw": settings.raw, "warehouse": settings.warehouse}
    target = settings.environment
    return {name: file for name, file in files.items() if target is None or target.owns(file)}


def _databases(settings: Settings) -> list[Path]:
    """The files of `_own_databases`, with the logs that a killed process left beside them."""
    names = [log for file in _own_databases(settings).values() for log in (file, Path(f"{file}.wal"))]
    return [file for file in names if file.is_file()]


def _store(file: Path) -> tuple[StoreChange | None, str | None]:
    """What happens to the run store, and the version of the database engine that wrote the warehouse, if it says so."""
    if not file.is_file():
        return None, None
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as con:
            if is_empty(con):
                return None, None
            refuse_newer(con, file)
            version, by = store_version(con), written_by(con)
            database = (
                con.execute("select database from engines order by rowid desc").fetchone() if by else None
            )
    except sqlite3.DatabaseError as error:
        raise DamagedError(file, str(error), WAY_BACK) from None
    if version == len(MIGRATIONS) and by and not is_newer(__version__, by):
        return None, None
    return StoreChange(len(MIGRATIONS) - version, by), database and str(database[0])
