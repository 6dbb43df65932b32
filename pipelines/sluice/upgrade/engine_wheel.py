"""Sluice's wheels in a project that carries them, as `sluice new` makes one: the wheels, their pins, and the lock."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from sluice import __version__
from sluice.scaffold.wheels import ENGINE, FOLDER, RELEASED, find_wheels, locked, with_hashes
from sluice.upgrade.project_files import FileChange

LOCK = "requirements.lock"
ENTRY = re.compile(r"^(?=[\w.-]+==|\./)", re.MULTILINE)
"""Where an entry of a lock begins: a pin, or a wheel of the project."""


def wheel_changes(root: Path, given: Path | None) -> list[FileChange]:
    """The wheels of this version instead of earlier ones, and the lock with what they need; none without a wheel.

    given: the folder of the new wheels, if they are not found by themselves. What the project has locked beside their
    own requirements stays. Raises UsageError if one is not found, SluiceError for one that cannot be read.
    """
    carried = {name: found for name in RELEASED if (found := sorted((root / FOLDER).glob(f"{name}-*.whl")))}
    earlier = [w for found in carried.values() for w in found if w.name.split("-")[1] != __version__]
    if not earlier:
        return []
    with tempfile.TemporaryDirectory() as scratch:
        wheels = find_wheels(list(carried), given, Path(scratch))
        reason = f"Sluice {__version__}"
        changes = [
            FileChange(f"{FOLDER}/{new.name}", None, new.read_bytes(), reason)
            for new in wheels
            if not (root / FOLDER / new.name).exists()
        ]
        changes += [FileChange(f"{FOLDER}/{old.name}", old.read_bytes(), None, reason) for old in earlier]
        if ENGINE in carried and (lock := root / LOCK).is_file():
            content = lock.read_bytes()
            old = locked([found[0] for found in carried.values()])
            own = _own_entries(content.decode("utf-8"), old, new := locked(wheels))
            text = with_hashes(wheels, new) + own
            changes.append(FileChange(LOCK, content, text.encode("utf-8"), "locks what this version needs"))
    return changes


def _own_entries(lock: str, old: str, new: str) -> str:
    """Entries of the project's lock that no lock of Sluice's has."""
    theirs = _names(old) | _names(new)
    wheels = tuple(f"./{FOLDER}/{name}-" for name in RELEASED)
    entries = (e for e in ENTRY.split(lock) if e.strip() and not e.startswith(wheels))
    return "".join(entry for entry in entries if entry.partition("==")[0] not in theirs)


def _names(lock: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
