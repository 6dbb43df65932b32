"""The engine's wheel in a project that carries it, as `sluice new` makes one: the wheel, its pin, and the lock."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from sluice import __version__
from sluice.scaffold.wheels import ENGINE, FOLDER, find_wheels, locked, with_hashes
from sluice.upgrade.project_files import FileChange

LOCK = "requirements.lock"
ENTRY = re.compile(r"^(?=[\w.-]+==|\./)", re.MULTILINE)
"""Where an entry of a lock begins: a pin, or a wheel of the project."""


def wheel_changes(root: Path, given: Path | None) -> list[FileChange]:
    """The wheel of this engine instead of an earlier one, and the lock with what it needs; none without a wheel.

    given: the folder of the new wheel, if it is not found by itself. What the project has locked beside the engine's
    own requirements stays. Raises UsageError if the wheel is not found.
    """
    earlier = [
        wheel
        for wheel in sorted((root / FOLDER).glob(f"{ENGINE}-*.whl"))
        if wheel.name.split("-")[1] != __version__
    ]
    if not earlier:
        return []
    with tempfile.TemporaryDirectory() as scratch:
        (wheel,) = find_wheels([ENGINE], given, Path(scratch))
        reason = f"the engine is Sluice {__version__}"
        changes = [FileChange(f"{FOLDER}/{wheel.name}", None, wheel.read_bytes(), reason)]
        changes += [FileChange(f"{FOLDER}/{old.name}", old.read_bytes(), None, reason) for old in earlier]
        if (lock := root / LOCK).is_file():
            content = lock.read_bytes()
            own = _own_entries(content.decode("utf-8"), locked(earlier[-1]), new := locked(wheel))
            text = with_hashes([wheel], new) + own
            changes.append(FileChange(LOCK, content, text.encode("utf-8"), "locks what this engine needs"))
    return changes


def _own_entries(lock: str, old: str, new: str) -> str:
    """Entries of the project's lock that no engine's lock has."""
    theirs = _names(old) | _names(new)
    entries = (
        entry
        for entry in ENTRY.split(lock)
        if entry.strip() and not entry.startswith(f"./{FOLDER}/{ENGINE}-")
    )
    return "".join(entry for entry in entries if entry.partition("==")[0] not in theirs)


def _names(lock: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
