"""The process that answers one query at a time over one published file, as the server sees it; see worker.py."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

import sluice
from sluice.errors import PublishError

OUT_OF_MEMORY = {"OutOfMemoryException", "MemoryError"}
"""Errors after which a process has too little memory left for the next query."""


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
    """A query that failed; `kind` may be logged, the message may quote values of the query."""

    def __init__(self, kind: str, message: str | None = None) -> None:
        super().__init__(message or kind)
        self.kind = kind


class QueryTimeoutError(QueryError):
    """A query that took longer than `Limits.seconds`."""


class QueryProcess:
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
            process_group=0,  # Ctrl-C goes to the server alone, which tells clients why their query ended
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._end: QueryError | None = None
        self.is_idle = False
        """Whether it has answered the last request completely and can take another one."""
        try:
            self._check(self._send({"file": str(file), "key": key, "memory_mb": limits.memory_mb}))
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
        """Bytes of memory beyond those of an idle process."""
        return max(0, self._resident() - self._base)

    def query(self, sql: str, *, with_rows: bool = True) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The schema of a query, and its batches: none without rows. Raises QueryError, also while batches are read."""
        self.is_idle = False
        try:
            self._check(self._send({"sql": sql, "rows": with_rows}))
        except QueryError as error:
            self.is_idle = self._end is None and error.kind not in OUT_OF_MEMORY
            raise
        try:
            reader = pa.ipc.open_stream(self._answers)
        except (pa.ArrowException, OSError) as error:
            raise self._broken() from error
        return reader.schema, self._batches(reader)

    def kill(self, why: QueryError | None = None) -> None:
        """End the process at once; `why` is the error its query then raises."""
        self._end = self._end or why
        self.is_idle = False
        self._process.kill()

    def close(self) -> None:
        """End the process, and wait until it is gone."""
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
        self._check(self._answers.readline())
        self.is_idle = self._end is None

    def _send(self, request: dict[str, Any]) -> bytes:
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        except OSError as error:
            raise self._broken() from error
        return self._answers.readline()

    def _check(self, answer: bytes) -> None:
        if not answer.endswith(b"\n"):
            raise self._broken()
        content = json.loads(answer)
        if "error" in content:
            raise QueryError(content["error"], content["message"])

    def _broken(self) -> QueryError:
        self.kill(QueryError("the query ended early: it took too much memory, or DuckDB failed"))
        assert self._end
        return self._end

    def _resident(self) -> int:
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0
