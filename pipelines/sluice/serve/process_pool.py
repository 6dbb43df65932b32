"""The processes over the current version: one for each query that runs, and idle ones for the next.

A process is killed when its query takes too long, or when all of them together take too much memory; it is used
again when its query ended well.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from sluice.errors import DamagedError, PublishError
from sluice.publish.versions import Versions
from sluice.serve.lanes import SHORT_QUERIES, SHORT_SECONDS, Lanes, Place
from sluice.serve.query_process import Limits, QueryError, QueryProcess

WATCH_SECONDS = 0.05
"""Between two looks at the time and the memory that running queries use."""
READY_PROCESSES = 2
"""Idle ones of normal priority that are kept ready; starting one takes about 0.15 s."""


class ServedVersion:
    """One version with its processes, which end once it is retired and their last query is over."""

    def __init__(
        self, versions: Versions, version: str, audience: str, key: str | None, limits: Limits
    ) -> None:
        try:
            published = versions.read(version).audiences.get(audience)
        except (OSError, DamagedError) as error:  # removed by a publication meanwhile, or damaged
            raise PublishError(f"the manifest of version {version} cannot be read") from error
        if published is None or published.format != "duckdb":
            raise PublishError(f"version {version} has no DuckDB file for the audience {audience!r}")
        self.version = version
        self.tables = frozenset(published.tables)
        columns = (name for table in published.tables.values() for name in table.columns)
        self.names = frozenset(name.lower() for name in (*self.tables, *columns))
        self._file = versions.path(version) / f"{audience}.duckdb"
        self.key = key
        self._limits = limits
        self._changed = threading.Condition()
        self._is_retired = False
        self._idle = [self._start()]

    def acquire(self, *, yields: bool) -> QueryProcess:
        """A process for one query; give it back with `release`.

        One of normal priority is waited for, while another query may end soon: where many begin at once, starting as
        many processes would take longer.
        """
        with self._changed:
            if not yields:
                self._changed.wait_for(lambda: self._is_retired or self._ready(yields), SHORT_SECONDS)
            if ready := self._ready(yields):
                self._idle.remove(ready[0])
                return ready[0]
        return self._start(yields=yields)

    def release(self, process: QueryProcess) -> None:
        share = self._limits.memory_mb * 1_000_000 / self._limits.queries
        is_good = process.is_idle and process.used < share
        with self._changed:
            others = len(self._ready(process.yields))
            keeps = is_good and not self._is_retired and others < SHORT_QUERIES + READY_PROCESSES
            if keeps:
                self._idle.append(process)
                self._changed.notify_all()
        if not keeps:
            process.close()

    def refill(self) -> None:
        """Have processes ready for the next queries."""
        while not self._is_retired and len(self._ready(False)) < READY_PROCESSES:
            self.release(self._start())

    def retire(self) -> None:
        """Take no new queries; those that run go on."""
        with self._changed:
            self._is_retired = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for process in idle:
            process.close()

    def _ready(self, yields: bool) -> list[QueryProcess]:
        return [process for process in self._idle if process.yields == yields]

    def _start(self, *, yields: bool = False) -> QueryProcess:
        return QueryProcess(self._file, self.key, self._limits, self.tables, yields=yields)


class ProcessPool:
    """Follows the current version: the link is read before every query, time and memory are watched all the time."""

    def __init__(
        self, versions: Versions, audience: str, find_key: Callable[[], str | None], limits: Limits
    ) -> None:
        self._versions = versions
        self._audience = audience
        self._find_key = find_key
        self._key = find_key()
        self._limits = limits
        self.lanes = Lanes(limits)
        self._lock = threading.Lock()
        self._served: ServedVersion | None = None
        self._is_closed = threading.Event()
        self._is_needed = threading.Event()
        """Whether processes may have to be started for the next queries."""
        for work in (self._watch, self._refill):
            threading.Thread(target=work, daemon=True).start()

    @contextlib.contextmanager
    def process(self, who: str, deadline: float) -> Iterator[tuple[ServedVersion, QueryProcess, Place]]:
        """The current version and a process for one query; raises PublishError when nothing is published."""
        with self.lanes.place(who, deadline) as place:
            self._is_needed.set()
            served, process = self._acquired(place)
            self.lanes.begin(place, process)
            self._is_needed.set()
            try:
                yield served, process, place
            finally:
                served.release(process)

    def current(self) -> ServedVersion:
        """The current version; raises PublishError when nothing is published."""
        with self._lock:
            if self._is_closed.is_set():
                raise PublishError("the server is ending")
            version = self._versions.current
            if version is None:
                raise PublishError("nothing is published yet; `sluice publish` does it")
            if self._served is None or (self._served.version, self._served.key) != (version, self._key):
                old = self._served
                self._served = ServedVersion(self._versions, version, self._audience, self._key, self._limits)
                self._is_needed.set()
                if old:
                    old.retire()
            return self._served

    def close(self) -> None:
        """End all processes, and start no new ones."""
        with self._lock:
            self._is_closed.set()
            self._is_needed.set()
        self.lanes.close(QueryError("the server is ending"))
        if self._served:
            self._served.retire()

    def _acquired(self, place: Place) -> tuple[ServedVersion, QueryProcess]:
        is_crowd = place.is_new and sum(other.is_new for other in list(self.lanes.places)) > 1
        while True:
            version, key = self._versions.current, self._key
            try:
                served = self.current()
                return served, served.acquire(yields=place.is_long or is_crowd)
            except PublishError:
                if self._versions.current == version and not self._has_other_key_than(key):
                    raise  # else the version or its key changed while its file was being opened

    def _has_other_key_than(self, key: str | None) -> bool:
        """Whether the key was rotated; it is read again only when it does not fit, as keyrings are slow."""
        self._key = self._find_key()
        return self._key != key

    def _refill(self) -> None:
        while not self._is_closed.is_set():
            self._is_needed.wait()
            self._is_needed.clear()
            if (served := self._served) and not self._is_closed.is_set():
                with contextlib.suppress(PublishError, OSError):  # the next query says so
                    served.refill()

    def _watch(self) -> None:
        """Look after the lanes, and kill the largest query whenever all together take more memory than allowed."""
        while not self._is_closed.is_set() or self.lanes.places:
            time.sleep(WATCH_SECONDS)
            self.lanes.watch()
            busy = [place.process for place in list(self.lanes.places) if place.process]
            used = {process: process.used for process in busy}
            if sum(used.values()) > self._limits.memory_mb * 1_000_000:
                largest = max(used, key=lambda process: used[process])
                message = f"out of memory: all queries together may use {self._limits.memory_mb} MB"
                largest.kill(QueryError("out of memory", message))
