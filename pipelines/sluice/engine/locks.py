"""One writer at a time: the lock of every command that writes raw, builds on it, or publishes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from sluice.errors import LockedError


@contextmanager
def locked(folder: Path, command: str, seconds: float, place: str = "the warehouse") -> Iterator[None]:
    """Hold `folder/lock`, in which others can read the command, the process and since when it runs.

    Waits up to `seconds`, then raises LockedError, which calls the folder `place` and names the holder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "lock"

    def sign(descriptor: int) -> None:
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{command}, process {os.getpid()}, since {since}".encode())

    lock = FileLock(file, timeout=seconds, on_acquired=sign)
    try:
        lock.acquire()
    except Timeout:
        holder = ""
        with suppress(OSError):  # Windows lets nobody read a locked file
            holder = file.read_text(encoding="utf-8")
        raise LockedError(
            f"{place} {folder} is in use: {holder or 'holder unknown'}. Waited {seconds:.0f} s; "
            "try again when it has ended"
        ) from None
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # the folder was removed meanwhile
            os.truncate(file, 0)
        lock.release()
