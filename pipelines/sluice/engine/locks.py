"""One writer at a time: the lock that every command takes that writes raw or builds on it."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from sluice.errors import LockedError


@contextmanager
def locked(home: Path, what: str, seconds: float = 60) -> Iterator[None]:
    """Hold the warehouse's lock; waits up to `seconds`, then raises LockedError naming the holder."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a+") as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise LockedError(
                        f"the warehouse {home} is in use: {file.read() or 'holder unknown'}. "
                        f"Waited {seconds:.0f} s; try again when it has ended"
                    ) from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(f"{what}, process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        file.flush()
        yield
        file.truncate(0)


def file_holder(error: duckdb.IOException) -> str | None:
    """Which process keeps DuckDB from opening a file, as DuckDB tells it; None when the error is another one."""
    text = str(error)
    if "lock" not in text.lower():
        return None
    found = re.search(r"held in (.*? \(PID \d+\))", text)
    return found[1] if found else "another process"
