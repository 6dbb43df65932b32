"""Calls that only some operating systems have, each with what is done where they are missing."""

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
