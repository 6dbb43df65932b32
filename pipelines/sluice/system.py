"""Calls to the operating system, each with what is done on systems that do not have it."""

from __future__ import annotations

import gc
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

NICENESS = 10
"""Of work in the background; `nice` without a number gives the same."""
RESERVED_BYTES = 512_000_000
"""Addresses that allocators reserve and do not use."""
OPEN_FILES = Path("/dev/fd")
"""Lists this process's open files, on Linux and macOS."""
LAST_DATA_RECEIVED = 52
"""Offset in Linux's struct tcp_info (<linux/tcp.h>) of the milliseconds since data came, 32 bits."""


def lower_priority(process: int | None = None, niceness: int = NICENESS) -> None:
    """Give a process (default: this one), and all it starts from now on, a lower priority than readers have."""
    tasks = Path(f"/proc/{process or 'self'}/task")  # Linux has a priority per thread
    with suppress(OSError):  # the process has ended
        for number in [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [process or 0]:
            with suppress(OSError):  # the thread has ended
                given = os.getpriority(os.PRIO_PROCESS, number)
                os.setpriority(os.PRIO_PROCESS, number, max(given, niceness))


@contextmanager
def without_collector() -> Iterator[None]:
    """Look for no garbage among objects that stay to the end, neither while they are made nor when the process ends.

    With the manifest of 2,000 models, that is about a quarter of a catalog's CPU.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


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
    try:
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(file)) from None  # a full disk names no file
    new.replace(file)


def keep_new_files_private() -> None:
    """Let what this process and its children create from now on be readable by its owner only (any Unix)."""
    os.umask(0o077)


def tighten(folder: Path, *, leave: Collection[str] = ()) -> None:
    """Take the rights of group and others from what lies in a folder, without the names to `leave`, and to list it.

    On Windows the rights of the folder hold, which are those of its owner's profile by default.
    """
    with suppress(OSError):  # it is somebody else's, or gone
        for path in [p for p in folder.iterdir() if p.name not in leave and not p.is_symlink()]:
            with suppress(OSError):
                path.chmod(path.stat().st_mode & 0o700)
        folder.chmod(folder.stat().st_mode & 0o711)


def group_number(name: str) -> int | None:
    """The number of a group of this machine; None if there is no such group, or no groups at all (Windows)."""
    with suppress(ImportError, KeyError):
        import grp

        return grp.getgrnam(name).gr_gid
    return None


def may_share_with(group: int) -> bool:
    """Whether this user may give own files to a group."""
    return os.geteuid() == 0 or group in (os.getegid(), *os.getgroups())


def share(path: Path, group: int | None) -> None:
    """Let the owner of a file or folder, and a group if there is one, read it, and nobody write a file.

    Raises PermissionError where this user may not give files to the group.
    """
    if group is not None and path.stat().st_gid != group:
        os.chown(path, -1, group)
    alone, together = (0o700, 0o750) if path.is_dir() else (0o400, 0o440)
    path.chmod(alone if group is None else together)


def lock_folder(folder: Path) -> Callable[[], None] | None:
    """Lock a folder against other processes until the returned function is called; None: another one has the lock.

    A no-op on Windows, and on file systems that lock no folders.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where a locked file cannot be removed
        return lambda: None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # some network file systems
        pass
    return partial(os.close, descriptor)


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
        command = ["git", "-c", "core.quotePath=false", *arguments]  # names with umlauts as they are
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return None
