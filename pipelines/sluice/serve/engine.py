"""A published version and the processes that answer queries over it; each query has one to itself.

A process is killed when its query takes too long, or when all of them together take too much memory; it is used
again when its query ended well.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

import sluice
from sluice.errors import PublishError
from sluice.publish.versions import Versions

LOOK_SECONDS = 0.05
"""How often the memory of running queries is looked at."""

OUT_OF_MEMORY = {"OutOfMemoryException", "MemoryError"}
"""What leaves a process in which the next query finds no room."""


@dataclass(frozen=True)
class Limits:
    """What all readers of a server may use."""

    memory_mb: int = 2048
    """Of all queries together; there is no spilling to disk."""
    seconds: float = 60
    """For one query, fetching its rows included."""
    queries: int = 8
    """At the same time."""


class QueryError(Exception):
    """A query that failed; `kind` is safe to keep, the words may quote what was asked for."""

    def __init__(self, kind: str, words: str | None = None) -> None:
        super().__init__(words or kind)
        self.kind = kind


class LateError(QueryError):
    """A query whose time was over."""


class Worker:
    """One process over one published file."""

    def __init__(self, file: Path, key: str | None, limits: Limits) -> None:
        package = str(Path(sluice.__file__).parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sluice.serve.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=file.parent,
            process_group=0,  # Ctrl-C is for the server, which says to a query's client why it ended
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._end: QueryError | None = None
        self.is_idle = False
        """Whether it answered the last request to the end, and can take another one."""
        try:
            self._hear(self._said({"file": str(file), "key": key, "memory_mb": limits.memory_mb}))
        except QueryError as error:
            self.kill(error)
            raise PublishError(f"{file.name} cannot be opened: {error.kind}: {error}") from None
        self._base = self._resident()
        self.is_idle = True

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def used(self) -> int:
        """Bytes of memory beyond what an idle one has."""
        return max(0, self._resident() - self._base)

    def query(self, sql: str, *, with_rows: bool = True) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The schema of a query, and its batches; without rows there are none. Raises QueryError, also later on."""
        self.is_idle = False
        try:
            self._hear(self._said({"sql": sql, "rows": with_rows}))
        except QueryError as error:
            self.is_idle = self._end is None and error.kind not in OUT_OF_MEMORY
            raise
        try:
            reader = pa.ipc.open_stream(self._answers)
        except (pa.ArrowException, OSError) as error:
            raise self._broken() from error
        return reader.schema, self._batches(reader)

    def kill(self, why: QueryError | None = None) -> None:
        """End it, whatever it does; `why` is what its query fails with."""
        self._end = self._end or why
        self.is_idle = False
        self._process.kill()

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self.kill()
        self._process.wait()
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()

    def _batches(self, reader: Any) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (pa.ArrowException, OSError) as error:
            raise self._broken() from error
        self._hear(self._answers.readline())
        self.is_idle = self._end is None

    def _said(self, request: dict[str, Any]) -> bytes:
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        except OSError as error:
            raise self._broken() from error
        return self._answers.readline()

    def _hear(self, answer: bytes) -> None:
        if not answer.endswith(b"\n"):
            raise self._broken()
        words = json.loads(answer)
        if "error" in words:
            raise QueryError(words["error"], words["words"])

    def _broken(self) -> QueryError:
        self.kill(QueryError("the query ended early: it took too much memory, or DuckDB failed"))
        assert self._end
        return self._end

    def _resident(self) -> int:
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0


class Engine:
    """One version; its processes end when it is retired and their last query has."""

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
        self._idle = [Worker(self._file, key, limits)]

    def enter(self) -> Worker:
        """A process for one query; give it back with `leave`."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Worker(self._file, self.key, self._limits)

    def leave(self, worker: Worker) -> None:
        with self._lock:
            share = self._limits.memory_mb * 1_000_000 / self._limits.queries
            keeps = worker.is_idle and not self._is_retired and worker.used < share
            if keeps:
                self._idle.append(worker)
        if not keeps:
            worker.close()

    def retire(self) -> None:
        """No new queries come; those that run go on."""
        with self._lock:
            self._is_retired = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()


class Engines:
    """The engine of the current version; looks at the link before every query, and at memory all the time."""

    def __init__(
        self, versions: Versions, audience: str, find_key: Callable[[], str | None], limits: Limits
    ) -> None:
        self._versions = versions
        self._audience = audience
        self._find_key = find_key
        self._key = find_key()
        self._limits = limits
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._busy: set[Worker] = set()
        self._is_closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Engine, Worker]]:
        """The engine of the version readers get, and a process; raises PublishError when nothing is published."""
        engine, worker = self._entered()
        self._busy.add(worker)
        try:
            yield engine, worker
        finally:
            self._busy.discard(worker)
            engine.leave(worker)

    def close(self) -> None:
        """End all processes; no new ones come."""
        with self._lock:
            self._is_closed.set()
        for worker in list(self._busy):
            worker.kill(QueryError("the server is ending"))
        if self._engine:
            self._engine.retire()

    def _entered(self) -> tuple[Engine, Worker]:
        while True:
            version, key = self._versions.current, self._key
            try:
                engine = self._current()
                return engine, engine.enter()
            except PublishError:
                if self._versions.current == version and not self._has_other_key_than(key):
                    raise  # else the version went, or its key, while its file was being opened

    def _current(self) -> Engine:
        with self._lock:
            if self._is_closed.is_set():
                raise PublishError("the server is ending")
            version = self._versions.current
            if version is None:
                raise PublishError("nothing is published yet; `sluice publish` does it")
            if self._engine is None or (self._engine.version, self._engine.key) != (version, self._key):
                old = self._engine
                self._engine = Engine(self._versions, version, self._audience, self._key, self._limits)
                if old:
                    old.retire()
            return self._engine

    def _has_other_key_than(self, key: str | None) -> bool:
        """Whether the key was rotated; it is looked for only when it is wrong, as a keyring takes its time."""
        self._key = self._find_key()
        return self._key != key

    def _watch(self) -> None:
        """Kill the largest query when all of them together take more memory than they may."""
        while not self._is_closed.wait(LOOK_SECONDS):
            used = {worker: worker.used for worker in list(self._busy)}
            if sum(used.values()) > self._limits.memory_mb * 1_000_000:
                largest = max(used, key=lambda worker: used[worker])
                words = f"out of memory: all queries together may use {self._limits.memory_mb} MB"
                largest.kill(QueryError(words))
