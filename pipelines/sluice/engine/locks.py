"""One writer at a time: the lock of every command that writes raw, builds on it, or publishes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from sluice.errors import LockedError, SluiceError
from sluice.system import lock_folder

POLL_SECONDS = 0.05


@contextmanager
def locked(folder: Path, command: str, seconds: float, place: str = "the warehouse") -> Iterator[None]:
    """Hold `folder` and `folder/lock`, in which others can read the command, the process and since when it runs.

    Waits up to `seconds`, then raises LockedError, which calls the folder `place` and names the holder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "lock"

    until = time.monotonic() + seconds
    lock = FileLock(file, timeout=seconds)
    try:
        lock.acquire()
        # not enough: whoever removed the file of a running command would get a second lock beside it
        while (folder_lock := lock_folder(folder)) is None:
            if time.monotonic() >= until:
                lock.release()
                raise Timeout(str(file))
            time.sleep(POLL_SECONDS)
    except Timeout:
        holder = ""
        with suppress(OSError):  # Windows lets nobody read a locked file
            holder = file.read_text(encoding="utf-8")
        raise LockedError(
            f"{place} {folder} is in use: {holder or 'holder unknown'}. Waited {seconds:.0f} s; "
            "try again when it has ended"
        ) from None
    except IsADirectoryError:
        raise SluiceError(f"{file} is a folder, where a file is expected: remove it") from None
    try:
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        file.write_text(f"{command}, process {os.getpid()}, since {since}", encoding="utf-8")
        yield
    finally:
        with suppress(FileNotFoundError):  # the folder was removed meanwhile
            os.truncate(file, 0)
        folder_lock()
        lock.release()
