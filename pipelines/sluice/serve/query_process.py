"""The process that answers one query at a time over one published file, as the server sees it; see worker.py."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

import sluice
from sluice.errors import PublishError
from sluice.serve.statement_check import Refused
from sluice.system import NICENESS, lower_priority

LONG_NICENESS = NICENESS - 1
"""Of queries that take long: after short ones, but before loads and builds."""


@dataclass(frozen=True)
class Limits:
    """What all readers of a server may use."""

    memory_mb: int = 2048
    """Of all queries together; there is no spilling to disk."""
    seconds: float = 60
    """For one statement: waiting for its turn, preparing, running and fetching its rows."""
    queries: int = 8
    """Longer than `lanes.SHORT_SECONDS`, at the same time; shorter ones do not wait for them."""


class QueryError(Exception):
    """A query that failed; `kind` may be logged, the message is for its sender: it may quote values of the query."""

    def __init__(self, kind: str, message: str | None = None) -> None:
        super().__init__(message or kind)
        self.kind = kind


class EngineError(QueryError):
    """DuckDB failed, not the statement: the process has ended, and its sender learns no more than that."""


class QueryTimeoutError(QueryError):
    """A query that took longer than `Limits.seconds`."""


class QueryProcess:
    """One process over one published file, which answers statements about `tables`."""

    def __init__(
        self,
        file: Path,
        key: str | None,
        limits: Limits,
        tables: Collection[str] = (),
        *,
        yields: bool = False,
    ) -> None:
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
        self._memory_mb = limits.memory_mb
        self.yields = False
        """Whether it lets other processes have the processor first."""
        if yields:
            self.lower_priority()
        self.is_idle = False
        """Whether it has answered the last request completely and can take another one."""
        try:
            opening = {"file": str(file), "key": key, "memory_mb": limits.memory_mb, "tables": list(tables)}
            self._check(self._send(opening))
        except QueryError as error:
            self.close()
            raise PublishError(f"{file.name} cannot be opened: {error.kind}") from None
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

    def check(self, sql: str, *, with_rows: bool = True) -> None:
        """Begin a query; raises Refused for a statement that is not allowed. `answer` has the rest."""
        self.is_idle = False
        content = self._check(self._send({"sql": sql, "rows": with_rows}))
        if "refused" in content:
            self.is_idle = self._end is None
            raise Refused(content["refused"], content["named"])

    def answer(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The schema of the query, and its batches, none without rows; reading them raises QueryError, too."""
        self._check(self._read_line())
        try:
            reader = pa.ipc.open_stream(self._answers)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._broken() from error
        return reader.schema, self._batches(reader)

    def lower_priority(self) -> None:
        """Let other processes have the processor first, from now on."""
        self.yields = True
        lower_priority(self.pid, LONG_NICENESS)

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
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._broken() from error
        self._check(self._read_line())
        self.is_idle = self._end is None

    def _send(self, request: dict[str, Any]) -> bytes:
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        except (OSError, ValueError) as error:
            raise self._broken() from error
        return self._read_line()

    def _read_line(self) -> bytes:
        try:
            return self._answers.readline()
        except (OSError, ValueError) as error:
            raise self._broken() from error

    def _check(self, answer: bytes) -> dict[str, Any]:
        if not answer.endswith(b"\n"):
            raise self._broken()
        content: dict[str, Any] = json.loads(answer)
        if "message" in content:
            self.is_idle = self._end is None
            raise QueryError(content["error"], content["message"])
        if content.get("error") == "out of memory":
            limit = f"all queries together may use {self._memory_mb} MB"
            self.kill(QueryError("out of memory", f"out of memory: {limit}"))
            raise self._broken()
        if "error" in content:
            self.kill(EngineError(content["error"]))
            raise self._broken()
        return content

    def _broken(self) -> QueryError:
        self.kill(EngineError("the process of the query died"))
        assert self._end
        return self._end

    def _resident(self) -> int:
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0
