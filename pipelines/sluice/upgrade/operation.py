"""Moves a project to the installed engine: copies first, then exchanges everything, or puts everything back.

backups/<name>/   copies of what is changed, complete and compared before anything else happens
upgrade.json      the journal: stands while files are exchanged; every other command refuses to work meanwhile
ledger.sqlite     is migrated last, in one transaction that records <name>: from then on the upgrade is complete
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from sluice import __version__
from sluice.config.settings import Settings, keep_private
from sluice.engine.locks import locked
from sluice.errors import DamagedError, UpgradeError
from sluice.publish.versions import Versions
from sluice.runs.migrations import migrate
from sluice.upgrade.backup import PROJECT, WAREHOUSE, back_up, remove_unfinished, sync_folder, write_synced
from sluice.upgrade.plan import UpgradePlan, refuse_other_storage, still_holds


class JournalFile(BaseModel):
    """A file of the project that is exchanged, by its path below it."""

    name: str
    old: str | None
    """SHA-256; None: there was no file."""
    new: str | None


class Journal(BaseModel):
    """The content of upgrade.json."""

    upgrade: str
    """The name of the backup's folder, which the run store records when the upgrade is complete."""
    has_store: bool
    files: list[JournalFile]


def upgrade(settings: Settings, shown: UpgradePlan) -> Path:
    """Do what `shown` says; returns the folder of the backup. After an error everything is as it was.

    Raises UpgradeError if the project has changed since, LockedError while another process works on the warehouse, and
    what `plan_upgrade` raises.
    """
    with _alone(settings):
        refuse_other_storage(settings)
        if not still_holds(settings, shown):
            raise UpgradeError("The project has changed since this was shown. Nothing was changed: try again")
        before = (shown.store and shown.store.engine) or "earlier"
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{before}-to-{__version__}"
        folder = settings.backups / name
        try:
            back_up(settings, shown, folder)
            if shown.store:
                _rehearse(folder / WAREHOUSE / settings.ledger.name)
            files = [JournalFile(name=c.name, old=_digest(c.old), new=_digest(c.new)) for c in shown.files]
            journal = Journal(upgrade=name, has_store=shown.store is not None, files=files)
            _write(settings.upgrade_journal, journal.model_dump_json(indent=2).encode())
        except BaseException:
            remove_unfinished(settings.backups)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _exchange(settings, shown, journal)
    return folder


def finish_interrupted(settings: Settings) -> str | None:
    """Put back, or complete, what an interrupted upgrade left; says what was done, None if there was nothing."""
    if not settings.upgrade_journal.exists():
        return None
    with _alone(settings):
        journal = _read_journal(settings)
        if _is_complete(settings, journal):
            _clean_up(settings, journal)
            return f"The upgrade {journal.upgrade} was complete when it was interrupted."
        _put_back(settings, journal)
        return f"The upgrade {journal.upgrade} was interrupted: every file is back as it was."


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Keep loads, builds and publications out."""
    keep_private(settings)
    versions = Versions(settings.published)
    with (
        locked(settings.home, "sluice upgrade", settings.lock_seconds),
        versions.locked(settings.lock_seconds) if versions.folder.is_dir() else nullcontext(),
    ):
        if not settings.upgrade_journal.exists():
            remove_unfinished(settings.backups)
        yield


def _rehearse(copy: Path) -> None:
    """Migrate a copy of the copy: what fails there would fail in the run store."""
    trial = copy.with_name(f".{copy.name}.trial")
    shutil.copyfile(copy, trial)
    try:
        before = _rows(trial)
        with closing(sqlite3.connect(trial)) as con, con:
            con.execute("begin immediate")
            migrate(con, "trial")
        after = _rows(trial)
        if lost := {name for name, rows in before.items() if after.get(name) != rows}:
            raise UpgradeError(
                f"The migration would change the rows of {', '.join(sorted(lost))}. Nothing was changed"
            )
    except sqlite3.Error as error:
        raise UpgradeError(f"The run store cannot be migrated: {error}. Nothing was changed") from None
    finally:
        trial.unlink()


def _rows(file: Path) -> dict[str, int]:
    with closing(sqlite3.connect(file)) as con:
        names = [name for (name,) in con.execute("select name from sqlite_master where type = 'table'")]
        rows = {name: con.execute(f"select count(*) from {name}").fetchone()[0] for name in names}
    return {name: count for name, count in rows.items() if name != "engines"}


def _exchange(settings: Settings, plan: UpgradePlan, journal: Journal) -> None:
    try:
        for change in plan.files:
            _replace(settings.root / change.name, change.new)
        if plan.store:
            with closing(sqlite3.connect(settings.ledger, timeout=30)) as con, con:
                con.execute("begin immediate")
                migrate(con, journal.upgrade)
    except BaseException:
        if not _is_complete(settings, journal):
            _put_back(settings, journal)
        raise
    _clean_up(settings, journal)


def _is_complete(settings: Settings, journal: Journal) -> bool:
    if not journal.has_store:
        return all(_digest(_content(settings.root / entry.name)) == entry.new for entry in journal.files)
    with closing(sqlite3.connect(settings.ledger, timeout=30)) as con:
        if not con.execute("select 1 from sqlite_master where name = 'engines'").fetchone():
            return False
        return (
            con.execute("select 1 from engines where upgrade = ?", [journal.upgrade]).fetchone() is not None
        )


def _put_back(settings: Settings, journal: Journal) -> None:
    """Give every file the content it had; one that somebody has changed since is left, and named."""
    folder = settings.backups / journal.upgrade
    changed = []
    for entry in journal.files:
        file = settings.root / entry.name
        now = _digest(_content(file))
        if now == entry.old:
            continue
        if now != entry.new:
            changed.append(f"{file} (its earlier content is in {folder / PROJECT / entry.name})")
            continue
        _replace(file, (folder / PROJECT / entry.name).read_bytes() if entry.old else None)
    if changed:
        raise UpgradeError(
            "These files were changed after the upgrade was interrupted and are left as they are: "
            f"{', '.join(changed)}. Decide what they are to hold, remove {settings.upgrade_journal}, and run "
            "`sluice upgrade` again"
        )
    _clean_up(settings, journal)
    shutil.rmtree(folder, ignore_errors=True)


def _clean_up(settings: Settings, journal: Journal) -> None:
    """Remove what stands only while an upgrade runs; the journal last."""
    for entry in journal.files:
        _aside(settings.root / entry.name).unlink(missing_ok=True)
    settings.upgrade_journal.unlink()
    sync_folder(settings.home)


def _read_journal(settings: Settings) -> Journal:
    try:
        return Journal.model_validate_json(settings.upgrade_journal.read_bytes())
    except ValidationError:
        raise DamagedError(
            settings.upgrade_journal,
            "it is not an upgrade's journal",
            f"Compare the project's files with the newest copies in {settings.backups}, then remove it",
        ) from None


def _replace(file: Path, content: bytes | None) -> None:
    """Give a file another content in one step, with its rights; None removes it."""
    file = file.resolve()  # a link stays one
    if content is None:
        file.unlink(missing_ok=True)
        return
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, content, mode)


def _write(file: Path, content: bytes, mode: int = 0o600) -> None:
    aside = _aside(file)
    try:
        write_synced(aside, content)
        aside.chmod(mode)
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def _aside(file: Path) -> Path:
    file = file.resolve()
    return file.with_name(f".{file.name}.upgrade")


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
