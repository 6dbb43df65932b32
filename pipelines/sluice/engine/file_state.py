"""Whether a database file is still as a process has left it."""

from __future__ import annotations

import hashlib
from pathlib import Path

HEADERS = 3 * 4096
"""Bytes before the blocks. With each change DuckDB writes one of the two later headers, which count checkpoints."""


def file_state(file: Path) -> str:
    """What tells a database file from every other state of it: its headers, its size, the time of its last change.

    Empty if there is none, or if changes wait in a log beside it, which the headers do not show.
    """
    try:
        if file.with_name(f"{file.name}.wal").exists():
            return ""
        with file.open("rb") as opened:
            headers = opened.read(HEADERS)
        about = file.stat()
    except FileNotFoundError:
        return ""
    return hashlib.sha256(headers + f"{about.st_size} {about.st_mtime_ns}".encode()).hexdigest()
