"""Who goes first when the processors are not enough for all: those who read what was published."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 10
"""Of work in the background; `nice` without a number gives the same."""


def lower_priority() -> None:
    """Give this process, and all it starts from now on, a lower priority than readers have."""
    tasks = Path("/proc/self/task")  # Linux has a priority a thread
    for number in [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]:
        with suppress(OSError):  # the thread has ended
            given = os.getpriority(os.PRIO_PROCESS, number)
            os.setpriority(os.PRIO_PROCESS, number, max(given, NICENESS))
