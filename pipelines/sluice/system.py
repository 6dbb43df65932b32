"""Calls to the operating system, each with what is done on systems that do not have it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 10
"""Of work in the background; `nice` without a number gives the same."""
RESERVED_BYTES = 512_000_000
"""Addresses that allocators reserve and do not use."""


def lower_priority() -> None:
    """Give this process, and all it starts from now on, a lower priority than readers have."""
    tasks = Path("/proc/self/task")  # Linux has a priority a thread
    for number in [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]:
        with suppress(OSError):  # the thread has ended
            given = os.getpriority(os.PRIO_PROCESS, number)
            os.setpriority(os.PRIO_PROCESS, number, max(given, NICENESS))


def limit_memory(more: int) -> None:
    """Let this process allocate about `more` bytes at most from now on (Linux), and dump no memory (any Unix)."""
    try:
        import resource
    except ImportError:  # Windows
        return
    size = Path("/proc/self/statm")  # Linux
    if size.is_file():
        limit = int(size.read_text().split()[0]) * resource.getpagesize() + more + RESERVED_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def write_private(file: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only and flushed to disk; its folder is made if missing."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(
        os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
