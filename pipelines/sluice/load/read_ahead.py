"""Reading one source: its tables are read and staged ahead, while dlt, which keeps the state, is being imported."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401 - both here: threads that import them at once may see them half done

from sluice.config.connections import Connections
from sluice.config.declaration import Source, Table
from sluice.config.reading import Changes, reading
from sluice.config.settings import Settings
from sluice.errors import DamagedError, LoadError, SluiceError, root_error
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
from sluice.load.declarations import changes_since_loaded, state_in_file
from sluice.load.normalise import normalise
from sluice.load.quarantine import extract_quarantined
from sluice.load.results import ProgressListener, TableResult
from sluice.load.staging import StagedFile

REMOTE = ("s3://", "sftp://")
"""Folders whose extractors import large packages of their own."""
MANY_ROWS = 1_000
"""With more rows of a table than these, some are probably new."""
VERSION = re.compile(r"\d+\.\d+\.\d+")
"""What dlt writes into its files `.version`."""


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
        self._is_complete = False
        self._has_news: Callable[[], None] = lambda: None
        self._error: Exception | None = None
        """Why reading ahead ended early."""
        self._rows: dict[str, int] = {}
        self.declared: dict[str, str] = {}
        """What the rows of each table are read with, as the state keeps it; known once reading begins."""
        self.context = ExtractContext(
            con=con.cursor(),
            folder=settings.landing / source.name,
            connections=connections,
            state=lambda table: self.state(table),
            progress=self._progress,
            root=settings.root,
            options=options,
            retried=self._retried,
            warned=self._warned,
        )

    @property
    def needs_imports(self) -> bool:
        """Whether it cannot be read before the libraries of its kind are imported."""
        return self.source.kind not in REREADABLE or str(getattr(self.source.load, "url", "")).startswith(
            REMOTE
        )

    @property
    def needs_pipeline(self) -> bool:
        """Whether it is read while dlt's pipeline runs: a project's function may ask dlt for it, or its settings."""
        return self.source.kind == "python"

    @property
    def has_packages(self) -> bool:
        """Whether an earlier load has left packages, which this one finishes or takes back before it reads."""
        # the places dlt itself looks at, and a folder without files counts there, too
        return any(
            any(self.folder.glob(f"{place}/*")) for place in ("normalize/extracted", "load/normalized")
        )

    @property
    def has_loaded(self) -> bool:
        """Whether dlt's working folder has a state of an earlier load."""
        return (self.folder / "state.json").is_file()

    def begin(self, until: Callable[[], bool], has_news: Callable[[], None]) -> None:
        """Read and stage tables, at least one, until `until` is true; no-op if the source cannot be read ahead.

        has_news: is called as soon as there is something to load.
        """
        if self.options.retry_quarantine or self.has_packages:
            return
        try:
            self._before = state_in_file(self.folder, self.source.name)
        except (OSError, ValueError, AttributeError):  # dlt meets it too, and it is reported then
            return
        self._has_news = has_news
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
                if not isinstance(staged, StagedFile) or staged.file or staged.quarantine:
                    self._has_news()
                if until():
                    return
            self._is_complete = True
        except Exception as error:
            self._error = error

    def complete(self) -> list[tuple[Extraction, StagedFile | Exception | None]] | None:
        """All that was read ahead, with its checked rows, if that is all there is."""
        return [(one.extraction, one.staged) for one in self._ahead] if self._is_complete else None

    def highest(self, table: Table[Any]) -> str | None:
        """The cursor raw has reached, as text."""
        cursor = table.load.cursor
        value = self.context.raw.maximum(table, table.raw_name(cursor)) if cursor else None
        return None if value is None else str(value)

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
            self._ahead, self._error, self._is_complete = [], None, False
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
        for result in self.results.values():
            result.warnings.clear()
        changed = self._compare_declarations()
        extract = extractor(self.source)
        if self.options.window:
            return self._within_window(extract, changed)
        if not self.options.retry_quarantine:
            return extract(self.source, self.source.tables, self.context)
        return self._quarantined(extract)

    def _compare_declarations(self) -> dict[str, Changes]:
        """Find tables whose rows were read with another declaration; they are read from scratch if that is possible."""
        self.context.reloaded.clear()
        found = {}
        for table in self.source.tables:
            now = reading(self.source, table, self._connections)
            self.declared[table.name] = json.dumps(now, sort_keys=True)
            changed = changes_since_loaded(self.source, table, self.state(table.name), now)
            if changed := changed.without(partial(self._is_void, table)):
                found[table.name] = changed
        if self.options.keep_rows:
            for name, changed in found.items():
                self.results[
                    name
                ].message = (
                    f"{self.source.name}.{name}: {changed} changed; rows loaded before stay as they were read"
                )
        elif not self.options.full_refresh and not self.options.window:
            self.context.reloaded.update(found)
        return found

    def _is_void(self, table: Table[Any], key: str, before: Any, now: Any) -> bool:
        """Whether a key says for the first time what raw has already: a column's type, or that it is left out."""
        held = self.context.raw.held(table)
        if key == "columns.exclude" and now and set(before or ()) <= set(now):
            return not any(table.raw_name(name) in held for name in set(now) - set(before or ()))
        types = {f"columns.{c.name}.data_type": held.get(table.raw_name(c.name)) for c in table.columns}
        return before is None and now is not None and types.get(key) == now

    def _within_window(
        self, extract: Extractor, changed: dict[str, Changes]
    ) -> Generator[Extraction, None, None]:
        """A range of each table that has ranges and is still read as before, and an error for the others."""
        tables = []
        for table in self.source.tables:
            if not table.load.has_range():
                why = "has no cursor, so a range of it cannot be loaded; leave out --from, --to"
            elif table.name in changed:
                why = (
                    f"{changed[table.name]} changed since its rows were read, so a range would differ from the rows "
                    f"around it. First load it whole: sluice load {table.qualified}"
                )
            else:
                tables.append(table)
                continue
            yield Failed(table, LoadError(f"{table.qualified}: {why}"))
        if tables:
            yield from extract(self.source, tables, self.context)

    def _quarantined(self, extract: Extractor) -> Generator[Extraction, None, None]:
        """Tables that are read from scratch, and with them their bad rows; of the others the bad rows."""
        whole = [t for t in self.source.tables if self.context.refreshes(t.name)]
        others = [t for t in self.source.tables if t not in whole]
        if whole:
            yield from extract(self.source, whole, self.context)
        if others:
            yield from extract_quarantined(self.source, others, self.context)

    def _state_before(self, table: str) -> dict[str, Any]:
        self._used.add(table)
        return copy.deepcopy(self._before.get(table, {}))

    def _progress(self, table: str, rows: int) -> None:
        self._rows[table] = self._rows.get(table, 0) + rows
        if self._rows[table] > MANY_ROWS:
            self._has_news()
        self.listener.rows(self.source.name, table, rows)

    def _retried(self, table: str, what: str) -> None:
        if table in self.results:  # not a parent that only its children need
            self.results[table].retries += 1
        self.listener.retried(self.source.name, table, self._connections.redact(what))

    def _warned(self, table: str, what: str) -> None:
        what = self._connections.redact(what)
        if table in self.results and what not in self.results[table].warnings:
            self.results[table].warnings.append(what)

    def format_error(self, error: BaseException, where: str | None = None) -> str:
        """The text of an error for a person: our own unchanged, others with their origin; no secrets."""
        cause = root_error(error)
        if not isinstance(cause, SluiceError):
            cause = damaged_state(self.folder) or cause
        text = (
            str(cause)
            if isinstance(cause, SluiceError)
            else f"{where or self.source.name}: {type(cause).__name__}: {cause}"
        )
        return self._connections.redact(text)


def damaged_state(folder: Path) -> DamagedError | None:
    """The error for the first of dlt's files in a source's working folder that cannot be read, or None."""
    for file in sorted([*folder.glob("*.json"), *folder.glob("schemas/*.json"), *folder.glob("*/.version")]):
        try:
            text = file.read_text(encoding="utf-8")
            if file.suffix == ".json" and not isinstance(json.loads(text), dict):
                raise ValueError("it does not hold an object")
            if file.suffix != ".json" and not VERSION.fullmatch(text.strip()):
                raise ValueError("it does not hold a version")
        except ValueError as error:  # also those of UTF-8 and of JSON
            return DamagedError(
                file,
                str(error),
                f"Move the folder {folder} away and load again: the state is restored from raw, and what was staged "
                "there is read from the source again",
            )
    return None
