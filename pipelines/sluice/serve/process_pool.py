"""The processes over the current version: one for each query that runs, and idle ones for the next.

A process is killed when its query takes too long, or when all of them together take too much memory; it is used
again when its query ended well.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from sluice.errors import PublishError
from sluice.publish.versions import Versions
from sluice.serve.query_process import Limits, QueryError, QueryProcess

MEMORY_CHECK_SECONDS = 0.05
"""Between two checks of the memory that running queries use."""


class ServedVersion:
    """One version with its processes, which end once it is retired and their last query is over."""

    def __init__(
        self, versions: Versions, version: str, audience: str, key: str | None, limits: Limits
    ) -> None:
        published = versions.read(version).audiences.get(audience)
        if published is None or published.format != "duckdb":
            raise PublishError(f"version {version} has no DuckDB file for the audience {audience!r}")
        self.version = version
        self.tables = frozenset(published.tables)
        columns = (name for table in published.tables.values() for name in table.columns)
        self.names = frozenset(name.lower() for name in (*self.tables, *columns))
        self._file = versions.path(version) / f"{audience}.duckdb"
        self.key = key
        self._limits = limits
        self._lock = threading.Lock()
        self._is_retired = False
        self._idle = [QueryProcess(self._file, key, limits)]

    def acquire(self) -> QueryProcess:
        """A process for one query; give it back with `release`."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return QueryProcess(self._file, self.key, self._limits)

    def release(self, process: QueryProcess) -> None:
        with self._lock:
            share = self._limits.memory_mb * 1_000_000 / self._limits.queries
            keeps = process.is_idle and not self._is_retired and process.used < share
            if keeps:
                self._idle.append(process)
        if not keeps:
            process.close()

    def retire(self) -> None:
        """Take no new queries; those that run go on."""
        with self._lock:
            self._is_retired = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.close()


class ProcessPool:
    """Follows the current version: the link is read before every query, memory is checked all the time."""

    def __init__(
        self, versions: Versions, audience: str, find_key: Callable[[], str | None], limits: Limits
    ) -> None:
        self._versions = versions
        self._audience = audience
        self._find_key = find_key
        self._key = find_key()
        self._limits = limits
        self._lock = threading.Lock()
        self._served: ServedVersion | None = None
        self._busy: set[QueryProcess] = set()
        self._is_closed = threading.Event()
        threading.Thread(target=self._watch_memory, daemon=True).start()

    @contextlib.contextmanager
    def process(self) -> Iterator[tuple[ServedVersion, QueryProcess]]:
        """The current version and a process for one query; raises PublishError when nothing is published."""
        served, process = self._acquired()
        self._busy.add(process)
        try:
            yield served, process
        finally:
            self._busy.discard(process)
            served.release(process)

    def close(self) -> None:
        """End all processes, and start no new ones."""
        with self._lock:
            self._is_closed.set()
        for process in list(self._busy):
            process.kill(QueryError("the server is ending"))
        if self._served:
            self._served.retire()

    def _acquired(self) -> tuple[ServedVersion, QueryProcess]:
        while True:
            version, key = self._versions.current, self._key
            try:
                served = self._current()
                return served, served.acquire()
            except PublishError:
                if self._versions.current == version and not self._has_other_key_than(key):
                    raise  # else the version or its key changed while its file was being opened

    def _current(self) -> ServedVersion:
        with self._lock:
            if self._is_closed.is_set():
                raise PublishError("the server is ending")
            version = self._versions.current
            if version is None:
                raise PublishError("nothing is published yet; `sluice publish` does it")
            if self._served is None or (self._served.version, self._served.key) != (version, self._key):
                old = self._served
                self._served = ServedVersion(self._versions, version, self._audience, self._key, self._limits)
                if old:
                    old.retire()
            return self._served

    def _has_other_key_than(self, key: str | None) -> bool:
        """Whether the key was rotated; it is read again only when it does not fit, as keyrings are slow."""
        self._key = self._find_key()
        return self._key != key

    def _watch_memory(self) -> None:
        """Kill the largest query whenever all of them together take more memory than allowed."""
        while not self._is_closed.wait(MEMORY_CHECK_SECONDS):
            used = {process: process.used for process in list(self._busy)}
            if sum(used.values()) > self._limits.memory_mb * 1_000_000:
                largest = max(used, key=lambda process: used[process])
                message = f"out of memory: all queries together may use {self._limits.memory_mb} MB"
                largest.kill(QueryError(message))
