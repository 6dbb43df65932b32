"""Calls to the operating system, each with what is done on systems that do not have it."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NICENESS = 10
"""Of work in the background; `nice` without a number gives the same."""
RESERVED_BYTES = 512_000_000
"""Addresses that allocators reserve and do not use."""
OPEN_FILES = Path("/dev/fd")
"""Lists this process's open files, on Linux and macOS."""
LAST_DATA_RECEIVED = 52
"""Offset in Linux's struct tcp_info (<linux/tcp.h>) of the milliseconds since data came, 32 bits."""


def lower_priority() -> None:
    """Give this process, and all it starts from now on, a lower priority than readers have."""
    tasks = Path("/proc/self/task")  # Linux has a priority per thread
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


def sockets() -> Iterator[socket.socket]:
    """Duplicates of this process's sockets, for the caller to close; none on Windows, which does not list them."""
    for entry in list(OPEN_FILES.iterdir()) if OPEN_FILES.is_dir() else []:
        with suppress(OSError):  # closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                yield socket.socket(fileno=os.dup(int(entry.name)))


def seconds_since_received(connection: socket.socket) -> float | None:
    """Seconds since a connection last received data; None on systems other than Linux, which do not know."""
    if sys.platform != "linux":
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        milliseconds: int = struct.unpack_from("I", info, LAST_DATA_RECEIVED)[0]
    except (OSError, struct.error):  # it is closed by now
        return 0.0
    return milliseconds / 1000


def git(root: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails, or there is no git."""
    with suppress(OSError):
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return None
