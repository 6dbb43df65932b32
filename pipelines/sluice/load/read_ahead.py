"""A source while it is read: what it is read with, what it has brought so far, and what became of its tables."""

from __future__ import annotations

import copy
import importlib
import json
import shutil
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401 - both here: threads that import them at once may see them half done

from sluice.config.connections import Connections
from sluice.config.declaration import Source, Table
from sluice.config.settings import Settings
from sluice.errors import LoadError, SluiceError
from sluice.extract.contract import Delivery, Job, Landed
from sluice.extract.retries import tell
from sluice.load.normalise import StagedFile, normalise
from sluice.load.quarantine import retried

AHEAD = ("database", "files")
"""Kinds whose extractors need no dlt, and change nothing where they read."""
REMOTE = ("s3://", "sftp://")
"""Folders that bring large packages of their own."""


class ProgressListener:
    """Is told how a load goes, from several threads; this one keeps it to itself."""

    def rows(self, source: str, table: str, rows: int) -> None:
        """So many more rows of a table were read."""

    def finished(self, result: SourceResult) -> None:
        """A source is done, well or not."""

    def retried(self, source: str, table: str, what: str) -> None:
        """Something failed on a network and is tried again."""
        tell(f"{source}.{table}", what)

    def set_aside(self, source: str, folder: Path, reason: str) -> None:
        """A package of an earlier run could not be loaded and was moved to `folder`."""


@dataclass
class TableResult:
    """What became of one table."""

    table: str
    read: int = 0
    rows: int = 0
    deleted: int = 0
    quarantined: int = 0
    retries: int = 0
    """Requests, connections and readings that failed on a network and were made again."""
    bytes: int = 0
    new_columns: tuple[str, ...] = ()
    lost_columns: tuple[str, ...] = ()
    package: str | None = None
    cursor: tuple[str | None, str | None] = (None, None)
    error: str | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def status(self) -> str:
        return "failed" if self.error else "loaded" if self.rows or self.package else "unchanged"


@dataclass
class SourceResult:
    """What became of one source; `error` when it failed as a whole."""

    source: str
    tables: list[TableResult]
    seconds: float
    error: str | None = None
    committed: bool = False
    """Whether raw has the rows, although something after that may have failed."""

    @property
    def rows(self) -> int:
        return sum(t.rows for t in self.tables)

    @property
    def failed(self) -> list[str]:
        """Qualified names of the tables that raw does not have up to date."""
        return [f"{self.source}.{t.table}" for t in self.tables if t.error or self.error]

    @property
    def errors(self) -> list[str]:
        """What went wrong, each once."""
        own = [self.error] if self.error else []
        return list(dict.fromkeys(own + [t.error for t in self.tables if t.error]))


@dataclass(frozen=True)
class LoadOptions:
    """What a load is asked for beyond what is new."""

    full_refresh: bool = False
    window: tuple[str | None, str | None] | None = None
    retry_quarantine: bool = False


class Reading:
    """One source; its tables are read and packed from the begin, until dlt, which keeps the state, is there.

    Then the state is read from dlt's file. What was read is used only if dlt has the same state when it asks for it,
    and nothing has come into raw in between; else it is read again.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source[Any, Any],
        con: duckdb.DuckDBPyConnection,
        connections: Connections,
        asked: LoadOptions,
        watcher: ProgressListener,
        loaded_at: datetime,
    ) -> None:
        self.settings = settings
        self.source = source
        self.asked = asked
        self.watcher = watcher
        self.results = {t.name: TableResult(t.name) for t in source.tables}
        self.folder = settings.pipelines / source.name
        """dlt's working folder of the source."""
        self.loaded_at = loaded_at
        """Another instant for every source of a run."""
        self.load_id = str(loaded_at.timestamp())
        """Of the package the rows come into raw by."""
        self._connections = connections
        self.started = 0.0
        """When it began, by the monotonic clock."""
        self.state: Callable[[str], dict[str, Any]] = self._state_before
        """Of a table; dlt's own, once it is there."""
        self._before: dict[str, Any] = {}
        """The state in dlt's file, by table."""
        self._used: set[str] = set()
        """Tables whose reading ahead has asked for it."""
        self._deliveries: Generator[Delivery, None, None] | None = None
        self._ahead: list[tuple[Table[Any], Landed | Exception, StagedFile | Exception | None]] = []
        """What was delivered before dlt was there, and what became of its rows."""
        self._broken: Exception | None = None
        """Why no more was delivered then."""
        self._rows: dict[str, int] = {}
        self.job = Job(
            con=con.cursor(),
            folder=settings.landing / source.name,
            connections=connections,
            state=lambda table: self.state(table),
            progress=self._progress,
            root=settings.root,
            full_refresh=asked.full_refresh,
            window=asked.window,
            retried=self._retried,
            retry_quarantine=asked.retry_quarantine,
        )

    def begin(self, until: Callable[[], bool]) -> None:
        """Read and pack tables, at least one, until that is true, where nothing stands against it."""
        self.started = time.monotonic()
        if self.source.kind not in AHEAD or str(getattr(self.source.load, "url", "")).startswith(REMOTE):
            return
        if self.asked.retry_quarantine or self._has_packages():
            return
        try:
            self._before = self._state_in_file()
        except (OSError, ValueError):  # what to make of it is dlt's to say
            return
        self._extract()
        assert self._deliveries is not None
        try:
            for table, landed in self._deliveries:
                packed: StagedFile | Exception | None = None
                if isinstance(landed, Landed):
                    try:
                        packed = self._pack(table, landed)
                    except Exception as error:
                        packed = error
                self._ahead.append((table, landed, packed))
                if until():
                    return
        except Exception as error:
            self._broken = error

    def packed(self, table: Table[Any], landed: Landed) -> StagedFile:
        """The checked rows of a delivery; raises what `shape.pack` raises."""
        packed = next((packed for _, other, packed in self._ahead if other is landed), None)
        if isinstance(packed, Exception):
            raise packed
        return packed or self._pack(table, landed)

    def _pack(self, table: Table[Any], landed: Landed) -> StagedFile:
        try:
            return normalise(table, landed, self.job, self.load_id, self.loaded_at)
        finally:
            landed.release()

    def deliveries(self, *, is_as_before: bool) -> Generator[Delivery, None, None]:
        """All tables, one after the other; `is_as_before`: raw is as it was at the begin."""
        if self._deliveries is not None:
            if is_as_before and all(dict(self.state(t)) == self._before.get(t, {}) for t in self._used):
                yield from ((table, landed) for table, landed, _ in self._ahead)
                if self._broken:
                    raise self._broken
                yield from self._deliveries
                return
            self.close()
            self._ahead = []
            for table, rows in self._rows.items():
                self.watcher.rows(self.source.name, table, -rows)
        self._extract()
        assert self._deliveries is not None
        yield from self._deliveries

    def close(self) -> None:
        """End the reading; what it holds at the source is let go."""
        if self._deliveries is not None:
            self._deliveries.close()

    def _extract(self) -> None:
        shutil.rmtree(self.job.folder, ignore_errors=True)
        self.job.folder.mkdir(parents=True)
        self.job.known.clear()
        extract = retried if self.asked.retry_quarantine else extractor(self.source).extract
        self._deliveries = self._extracted(extract)

    def _extracted(self, extract: Any) -> Generator[Delivery, None, None]:
        """The extractor's deliveries, and an error for each table that a range is asked of and has none."""
        tables = [t for t in self.source.tables if not self.asked.window or t.load.has_range()]
        for table in self.source.tables:
            if table not in tables:
                why = "has no cursor, so a range of it cannot be loaded; leave out --from, --to"
                yield table, LoadError(f"{table.qualified}: {why}")
        if tables:
            yield from extract(self.source, tables, self.job)

    def _has_packages(self) -> bool:
        """Whether an earlier run left something to finish, which comes first."""
        return any(
            file.is_file()
            for place in ("normalize/extracted", "load/new", "load/normalized")
            for file in (self.folder / place).glob("*/*")
        )

    def _state_in_file(self) -> dict[str, Any]:
        file = self.folder / "state.json"
        state = json.loads(file.read_bytes()) if file.exists() else {}
        for key in ("sources", self.source.name, "resources"):
            state = state.get(key, {})
        return dict(state)

    def _state_before(self, table: str) -> dict[str, Any]:
        self._used.add(table)
        return copy.deepcopy(self._before.get(table, {}))

    def _progress(self, table: str, rows: int) -> None:
        self._rows[table] = self._rows.get(table, 0) + rows
        self.watcher.rows(self.source.name, table, rows)

    def _retried(self, table: str, what: str) -> None:
        if table in self.results:  # not a parent that only its children need
            self.results[table].retries += 1
        self.watcher.retried(self.source.name, table, self._connections.redact(what))

    def told(self, error: BaseException, where: str | None = None) -> str:
        """An error as the person reads it: ours as written, others with where they came from; no secrets."""
        cause = error
        while not isinstance(cause, SluiceError) and cause.__cause__:
            cause = cause.__cause__
        text = (
            str(cause)
            if isinstance(cause, SluiceError)
            else f"{where or self.source.name}: {type(cause).__name__}: {cause}"
        )
        return self._connections.redact(text)


def extractor(source: Source[Any, Any]) -> Any:
    """The module that reads this kind of source."""
    return importlib.import_module(f"sluice.extract.{source.kind}")
