"""Reading one source: its tables are read and staged ahead, while dlt, which keeps the state, is being imported."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401 - both here: threads that import them at once may see them half done

from sluice.config.connections import Connections
from sluice.config.declaration import Source
from sluice.config.settings import Settings
from sluice.errors import LoadError, SluiceError
from sluice.extract import REREADABLE, extractor
from sluice.extract.contract import (
    ExtractContext,
    Extraction,
    Extractor,
    Failed,
    JsonRecords,
    LoadOptions,
    TypedRows,
)
from sluice.load.normalise import normalise
from sluice.load.quarantine import extract_quarantined
from sluice.load.results import ProgressListener, TableResult
from sluice.load.staging import StagedFile

REMOTE = ("s3://", "sftp://")
"""Folders whose extractors import large packages of their own."""


@dataclass(frozen=True)
class _ReadAhead:
    """A table that was extracted before dlt was imported."""

    extraction: Extraction
    staged: StagedFile | Exception | None
    """Its checked rows, or why they could not be staged."""


class SourceReader:
    """Reads one source; its tables are read and staged from the beginning, while dlt is still being imported.

    Then the state is read from dlt's file. What was read is used only if dlt has the same state when it asks for it,
    and nothing has come into raw in between; else it is read again.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source[Any, Any],
        con: duckdb.DuckDBPyConnection,
        connections: Connections,
        options: LoadOptions,
        listener: ProgressListener,
        loaded_at: datetime,
    ) -> None:
        self.settings = settings
        self.source = source
        self.options = options
        self.listener = listener
        self.results = {t.name: TableResult(t.name) for t in source.tables}
        self.folder = settings.pipelines / source.name
        """dlt's working folder of the source."""
        self.loaded_at = loaded_at
        """Differs for every source of a run."""
        self.load_id = str(loaded_at.timestamp())
        """Id of the load package that brings the rows into raw."""
        self._connections = connections
        self.started = 0.0
        """When it began, by the monotonic clock."""
        self.state: Callable[[str], dict[str, Any]] = self._state_before
        """The state of a table; dlt's own, once it is imported."""
        self._before: dict[str, Any] = {}
        """The state in dlt's file, by table."""
        self._used: set[str] = set()
        """Tables whose state was used while reading ahead."""
        self._extractions: Generator[Extraction, None, None] | None = None
        self._ahead: list[_ReadAhead] = []
        self._error: Exception | None = None
        """Why reading ahead ended early."""
        self._rows: dict[str, int] = {}
        self.context = ExtractContext(
            con=con.cursor(),
            folder=settings.landing / source.name,
            connections=connections,
            state=lambda table: self.state(table),
            progress=self._progress,
            root=settings.root,
            options=options,
            retried=self._retried,
        )

    def begin(self, until: Callable[[], bool]) -> None:
        """Read and stage tables, at least one, until `until` is true; no-op if the source cannot be read ahead."""
        self.started = time.monotonic()
        if self.source.kind not in REREADABLE or str(getattr(self.source.load, "url", "")).startswith(REMOTE):
            return
        if self.options.retry_quarantine or self._has_packages():
            return
        try:
            self._before = self._state_in_file()
        except (OSError, ValueError):  # dlt reports it
            return
        self._extractions = self._extract()
        try:
            for extraction in self._extractions:
                staged: StagedFile | Exception | None = None
                if not isinstance(extraction, Failed):
                    try:
                        staged = self._stage(extraction)
                    except Exception as error:
                        staged = error
                self._ahead.append(_ReadAhead(extraction, staged))
                if until():
                    return
        except Exception as error:
            self._error = error

    def staged(self, extracted: TypedRows | JsonRecords) -> StagedFile:
        """The checked rows of a table; raises what `normalise` raises."""
        staged = next((ahead.staged for ahead in self._ahead if ahead.extraction is extracted), None)
        if isinstance(staged, Exception):
            raise staged
        return staged or self._stage(extracted)

    def _stage(self, extracted: TypedRows | JsonRecords) -> StagedFile:
        try:
            return normalise(extracted, self.context, self.load_id, self.loaded_at)
        finally:
            extracted.release()

    def extractions(self, *, is_as_before: bool) -> Generator[Extraction, None, None]:
        """All tables, one after the other; `is_as_before`: raw is as it was at the beginning."""
        if self._extractions is not None:
            if is_as_before and all(dict(self.state(t)) == self._before.get(t, {}) for t in self._used):
                yield from (ahead.extraction for ahead in self._ahead)
                if self._error:
                    raise self._error
                yield from self._extractions
                return
            self.close()
            self._ahead = []
            for table, rows in self._rows.items():
                self.listener.rows(self.source.name, table, -rows)
        self._extractions = self._extract()
        yield from self._extractions

    def close(self) -> None:
        """End the reading, and free what it holds at the source."""
        if self._extractions is not None:
            self._extractions.close()

    def _extract(self) -> Generator[Extraction, None, None]:
        shutil.rmtree(self.context.folder, ignore_errors=True)
        self.context.folder.mkdir(parents=True)
        self.context.raw.forget()
        return self._extracted(
            extract_quarantined if self.options.retry_quarantine else extractor(self.source)
        )

    def _extracted(self, extract: Extractor) -> Generator[Extraction, None, None]:
        """The extractor's results, and an error for each table without ranges if one was requested."""
        tables = [t for t in self.source.tables if not self.options.window or t.load.has_range()]
        for table in self.source.tables:
            if table not in tables:
                why = "has no cursor, so a range of it cannot be loaded; leave out --from, --to"
                yield Failed(table, LoadError(f"{table.qualified}: {why}"))
        if tables:
            yield from extract(self.source, tables, self.context)

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
        self.listener.rows(self.source.name, table, rows)

    def _retried(self, table: str, what: str) -> None:
        if table in self.results:  # not a parent that only its children need
            self.results[table].retries += 1
        self.listener.retried(self.source.name, table, self._connections.redact(what))

    def format_error(self, error: BaseException, where: str | None = None) -> str:
        """The text of an error for a person: our own unchanged, others with their origin; no secrets."""
        cause = error
        while not isinstance(cause, SluiceError) and cause.__cause__:
            cause = cause.__cause__
        text = (
            str(cause)
            if isinstance(cause, SluiceError)
            else f"{where or self.source.name}: {type(cause).__name__}: {cause}"
        )
        return self._connections.redact(text)
