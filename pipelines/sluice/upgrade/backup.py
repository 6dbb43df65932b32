"""Copies of what an upgrade changes, complete and compared before anything is changed."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from sluice import __version__
from sluice.config.settings import Settings
from sluice.errors import DamagedError, UpgradeError
from sluice.runs.store import WAY_BACK
from sluice.upgrade.plan import UpgradePlan

WAREHOUSE, PROJECT, ELSEWHERE = "warehouse", "project", "elsewhere"
"""Folders of a backup: files of SLUICE_HOME and of the project, by their paths there, and of other places."""
UNFINISHED = ".unfinished"
"""Ending of the folder's name while it is not complete."""
SPARE_BYTES = 50_000_000
"""What has to stay free on the disk."""
GUIDE = """\
Copies of what the upgrade to Sluice {version} changed. manifest.json has the size and SHA-256 of each.

To go back, install the earlier engine again, let nothing use the warehouse, and in the project's folder:

{commands}

What was loaded, built and published after the upgrade is then unknown to the run store. The next load brings what is
newer than the copy of raw, if there is one here. Delete this folder when you do not need it any more.
"""


def back_up(settings: Settings, plan: UpgradePlan, folder: Path) -> None:
    """Copy what `plan` changes into `folder`, which is there afterwards only if every copy is complete.

    Raises UpgradeError without room for it, or if a file changes meanwhile.
    """
    _refuse_full_disk(settings.backups, plan.copies)
    aside = folder.with_name(f".{folder.name}{UNFINISHED}")
    copied: dict[str, Path] = {}
    for file in plan.copies:
        is_inside = file.is_relative_to(settings.home)
        place = file.relative_to(settings.home).as_posix() if is_inside else file.name
        name = f"{WAREHOUSE if is_inside else ELSEWHERE}/{place}"
        target = aside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file == settings.ledger:
            _copy_store(file, target)
        else:
            _copy(file, target)
        copied[name] = target
    for folder_name in (WAREHOUSE, PROJECT):
        (aside / folder_name).mkdir(parents=True, exist_ok=True)
    for change in plan.files:
        if change.old is not None:
            target = aside / PROJECT / change.name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_synced(target, change.old)
            copied[f"{PROJECT}/{change.name}"] = target
    write_synced(aside / "manifest.json", _manifest(copied))
    guide = GUIDE.format(version=__version__, commands="\n".join(_way_back(settings, plan, folder)))
    write_synced(aside / "README.txt", guide.encode())
    aside.rename(folder)
    sync_folder(folder.parent)


def _way_back(settings: Settings, plan: UpgradePlan, folder: Path) -> Iterator[str]:
    """Commands of a shell that put the copies in `folder` back, indented."""
    home, copies = shlex.quote(str(settings.home)), shlex.quote(str(folder))
    if plan.copies:
        yield f"    rm -f {home}/ledger.sqlite-wal {home}/ledger.sqlite-shm"
    if len(plan.copies) > 1:
        yield f"    rm -rf {home}/pipelines"
        for database in (file for file in plan.copies if file.suffix == ".duckdb"):
            yield f"    rm -f {shlex.quote(str(database))}.wal"
    if plan.copies:
        yield f"    cp -R {copies}/{WAREHOUSE}/. {home}/"
    for file in plan.copies:
        if not file.is_relative_to(settings.home):
            yield f"    cp {copies}/{ELSEWHERE}/{shlex.quote(file.name)} {shlex.quote(str(file))}"
    yield f"    cp -R {copies}/{PROJECT}/. ."
    for change in plan.files:
        if change.old is None:
            yield f"    rm -f {shlex.quote(change.name)}"


def remove_unfinished(backups: Path) -> None:
    """Delete what a killed upgrade had begun to copy."""
    for folder in backups.glob(f".*{UNFINISHED}"):
        shutil.rmtree(folder, ignore_errors=True)


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_synced(file: Path, content: bytes) -> None:
    """Write a file and flush it to disk."""
    with file.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Flush what a folder lists to disk, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _manifest(copied: Mapping[str, Path]) -> bytes:
    files = {name: {"bytes": file.stat().st_size, "sha256": digest(file)} for name, file in copied.items()}
    return json.dumps({"upgrade_to": __version__, "files": files}, indent=2).encode()


def _refuse_full_disk(backups: Path, files: Sequence[Path]) -> None:
    backups.mkdir(parents=True, exist_ok=True)
    needed, free = sum(file.stat().st_size for file in files), shutil.disk_usage(backups).free
    if needed + SPARE_BYTES > free:
        raise UpgradeError(
            f"The backup needs {needed / 1e6:,.0f} MB and {backups} has {free / 1e6:,.0f} MB. Make room, or "
            "replace the folder by a link to one on another disk. Nothing was changed"
        )


def _copy(file: Path, target: Path) -> None:
    shutil.copy2(file, target)
    with target.open("rb+") as opened:
        os.fsync(opened.fileno())
    if file.stat().st_size != target.stat().st_size or digest(file) != digest(target):
        raise UpgradeError(
            f"{file} was written while it was copied. Close what uses the warehouse and try again. Nothing was changed"
        )


def _copy_store(file: Path, target: Path) -> None:
    """A copy of the run store with what its log holds; raises DamagedError if not all of it can be read."""
    with closing(sqlite3.connect(file, timeout=30)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
        new.execute("pragma journal_mode = delete")
        if (found := new.execute("pragma integrity_check").fetchone()[0]) != "ok":
            raise DamagedError(file, str(found), WAY_BACK)
