"""A load: every declared source side by side, each a dlt pipeline of file imports into raw.

dlt keeps state, schemas and load packages; what enters is checked by `shape` first, so a package that
exists can be loaded, and loaded again after a crash with the same result.
"""

from __future__ import annotations

import copy
import importlib
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pyarrow.parquet  # noqa: F401 - dlt imports it in threads, where a first import may be seen half done
from dlt.common.configuration.container import Container
from dlt.common.storages.load_package import (
    LoadPackageStateInjectableContext,
    ParsedLoadJobFileName,
    commit_load_package_state,
    destination_state,
)
from dlt.extract import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from pipelines.connections import Connections
from pipelines.declaration import Source, Table
from pipelines.destination import raw_destination
from pipelines.dlt_context import enter_dlt
from pipelines.engine import open_raw
from pipelines.errors import LoadError, SluiceError
from pipelines.extract import Delivery, Job, Landed, literal, quoted, unexplained
from pipelines.extract.retries import tell
from pipelines.ledger import Ledger, TableLoaded
from pipelines.ledger_in_raw import show_ledger
from pipelines.locks import locked
from pipelines.names import LOAD_ID, normalized
from pipelines.quarantine import ROW_ID, SUFFIX, Quarantined, address, quarantined_columns, retried
from pipelines.settings import Settings
from pipelines.shape import Packed, pack

BREAKING_OFF_SECONDS = 0.6
"""What waits for an answer from a network is not waited for."""
THREADS = 4
"""Sources loaded at once; more only wait for each other on two cores."""


class Watcher:
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
        return "failed" if self.error else "loaded" if self.rows else "unchanged"


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


def load(
    settings: Settings,
    sources: Sequence[Source[Any, Any]],
    run_id: str,
    *,
    full_refresh: bool = False,
    window: tuple[str | None, str | None] | None = None,
    retry_quarantine: bool = False,
    watcher: Watcher | None = None,
) -> list[SourceResult]:
    """Load `sources` into raw; one that fails does not stop the others.

    `full_refresh` drops the raw tables first; `window` loads a range of the cursor (from, to) again;
    `retry_quarantine` loads the quarantined rows again, and nothing else.
    Raises LockedError when another process works on the warehouse for longer than `settings.lock_seconds`.
    """
    watcher = watcher or Watcher()
    enter_dlt()
    connections = Connections(settings.root, settings.connections)
    ledger = Ledger(settings.ledger)
    with locked(settings.home, "sluice load", settings.lock_seconds):
        shutil.rmtree(settings.landing, ignore_errors=True)
        for source in sources:  # here, for modules that import each other do not bear two threads
            _extractor(source)
        con = open_raw(settings.raw, settings.landing / "temp", settings.lock_seconds)
        jobs = [
            _SourceLoad(settings, s, con, connections, full_refresh, window, retry_quarantine, watcher)
            for s in sources
        ]
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="load")
        try:
            loads = [pool.submit(job.run) for job in jobs]
            results = []
            for done in as_completed(loads):
                _record(ledger, run_id, done.result())
                results.append(done.result())
        except BaseException:
            # Ctrl-C above all: what runs is broken off, not waited for; the next load finishes what was packed
            pool.shutdown(wait=False, cancel_futures=True)
            _break_off(jobs, loads)
            raise
        pool.shutdown()
        show_ledger(con, ledger, settings.landing)
        con.close()
        shutil.rmtree(settings.landing, ignore_errors=True)
    return sorted(results, key=lambda result: result.source)


def _break_off(jobs: Sequence[_SourceLoad], loads: Sequence[Future[SourceResult]]) -> None:
    """Interrupt every statement, and those that begin after that: one that goes on keeps the process from ending."""
    until = time.monotonic() + BREAKING_OFF_SECONDS
    while not all(load.done() for load in loads) and time.monotonic() < until:
        for job in jobs:
            with suppress(duckdb.ConnectionException):  # it has ended, and closed its connection
                job.job.con.interrupt()
        time.sleep(0.02)


class _SourceLoad:
    """One source on its way into raw, in one thread."""

    def __init__(
        self,
        settings: Settings,
        source: Source[Any, Any],
        con: duckdb.DuckDBPyConnection,
        connections: Connections,
        full_refresh: bool,
        window: tuple[str | None, str | None] | None,
        retry_quarantine: bool,
        watcher: Watcher,
    ) -> None:
        self.settings = settings
        self.source = source
        self.results = {t.name: TableResult(t.name) for t in source.tables}
        self.afterwards: list[Callable[[], object]] = []
        """What waits for the rows to be committed."""
        self.loaded_at = datetime.now(UTC)
        self.connections = connections
        self.full_refresh = full_refresh
        self.job = Job(
            con=con.cursor(),
            folder=settings.landing / source.name,
            connections=connections,
            state=lambda table: dlt.current.resource_state(table),
            progress=lambda table, rows: watcher.rows(source.name, table, rows),
            root=settings.root,
            full_refresh=full_refresh,
            window=window,
            retried=self._retried,
            retry_quarantine=retry_quarantine,
        )
        self.deliveries: Generator[Delivery, None, None] | None = None
        self.broken: Exception | None = None
        self.watcher = watcher
        self.waiting: dict[str, Landed | Exception] = {}
        self.packed: dict[str, Quarantined | None] = {}
        """Tables that are packed, and their bad rows."""

    def _retried(self, table: str, what: str) -> None:
        if table in self.results:  # not a parent that only its children need
            self.results[table].retries += 1
        self.watcher.retried(self.source.name, table, self.connections.redact(what))

    def run(self) -> SourceResult:
        started = time.monotonic()
        error, committed = None, False
        try:
            self.job.folder.mkdir(parents=True)
            _mend(self.settings.pipelines / self.source.name)
            pipeline = self._pipeline()
            if pipeline.has_pending_data:
                pipeline = self._finish_pending(pipeline)
            anew: Any = {"refresh": "drop_resources"} if self.full_refresh else {}
            pipeline.run(self._dlt_source(), **anew)
            committed = True
            self._finish()
        except Exception as caught:
            error = self._told(caught)
        finally:
            if self.deliveries:
                self.deliveries.close()
            self.job.con.close()
        result = SourceResult(
            self.source.name, list(self.results.values()), time.monotonic() - started, error, committed
        )
        self.watcher.finished(result)
        return result

    def _finish(self) -> None:
        """All that waits for the commit; one step that fails does not keep the others. Raises the first error."""
        errors = []
        for step in self.afterwards:
            try:
                step()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _pipeline(self) -> dlt.Pipeline:
        return dlt.pipeline(
            self.source.name,
            destination=raw_destination(self.settings.raw),
            dataset_name=self.source.schema,
            pipelines_dir=str(self.settings.pipelines),
        )

    def _finish_pending(self, pipeline: dlt.Pipeline) -> dlt.Pipeline:
        """Load what a run that was cut short had packed; what cannot be loaded is set aside, not in the way.

        Set aside goes dlt's whole working folder of the source: packages, and the state that counts their rows as
        loaded. The state of the last committed load is restored from raw, so those rows are read again.
        """
        try:
            _refuse_incomplete(pipeline)
            pipeline.run()
            return pipeline
        except (LoadError, PipelineStepFailed) as error:
            reason = self._told(error)
        aside = self.settings.home / "set_aside" / f"{self.source.name}-{self.loaded_at:%Y%m%dT%H%M%SZ}"
        aside.parent.mkdir(exist_ok=True)
        self._take_back([*pipeline.list_extracted_load_packages(), *pipeline.list_normalized_load_packages()])
        pipeline.deactivate()
        Path(pipeline.working_dir).rename(aside)
        (aside / "REASON.txt").write_text(
            f"{reason}\n\nThis load package could not be loaded. It is kept for inspection only: the load that set it "
            "aside read the same rows from the source again. Delete the folder when it is of no more use.\n",
            encoding="utf-8",
        )
        self.watcher.set_aside(self.source.name, aside, reason)
        return self._pipeline()

    def _take_back(self, packages: Sequence[str]) -> None:
        """Delete what packages that never became whole brought to tables where it would come a second time.

        Those are rows without any identity: they are known by the package that brought them only.
        """
        if not packages:
            return
        ids = ", ".join(map(literal, packages))
        loads = f"{quoted(self.source.schema)}._dlt_loads"
        for table in self.source.tables:
            known = self.job.raw_columns(table)
            if LOAD_ID in known and not table.load.primary_key and table.load.disposition() == "append":
                self.job.con.execute(
                    f"delete from {quoted(table.schema)}.{quoted(table.name)} where {LOAD_ID} in ({ids})"
                    f" and {LOAD_ID} not in (select load_id from {loads} where status = 0)"
                )

    def _dlt_source(self) -> DltSource:
        extract = retried if self.job.retry_quarantine else _extractor(self.source).extract
        self.deliveries = extract(self.source, self.source.tables, self.job)

        def resources() -> list[Any]:
            contract: Any = {"columns": "evolve", "data_type": "freeze"}
            return [
                # in a chain: of a generator itself dlt seeks the module, among all that are imported
                dlt.resource(chain(rows), name=name, schema_contract=contract)
                for table in self.source.tables
                for name, rows in {
                    table.name: self._rows(table),
                    table.name + SUFFIX: self._bad_rows(table),
                }.items()
            ]

        return dlt.source(resources, name=self.source.name, max_table_nesting=0)()

    def _rows(self, table: Table[Any]) -> Iterator[Any]:
        """What dlt reads as a resource: the packed files of one table."""
        result = self.results[table.name]
        before = copy.deepcopy(dict(self.job.state(table.name)))
        explain: Callable[[Exception], Exception] = unexplained
        try:
            if "_after" in before:  # a load that was killed may not have come to it
                self._tidy(table, **before["_after"])
            for landed in self._landed(table):
                if isinstance(landed, Exception):
                    raise landed
                explain = landed.explain
                load_id = Container()[LoadPackageStateInjectableContext].load_id
                highest = self._highest(table)
                packed = pack(table, landed, self.job, load_id, self.loaded_at)
                result.read += packed.read
                result.new_columns, result.lost_columns = packed.new_columns, packed.lost_columns
                if packed.quarantine:
                    result.quarantined += packed.quarantine.rows
                    self.packed[table.name] = packed.quarantine
                if packed.refused:
                    raise LoadError(packed.refused)
                state = self.job.state(table.name)
                state.update(landed.remember)
                gone = {landed.identity[0]: list(landed.gone)} if landed.gone else {}
                state["_after"] = {"gone": gone, "settled": packed.settled}
                if gone or packed.settled:
                    self.afterwards.append(partial(self._tidy, table, gone, packed.settled))
                else:
                    del state["_after"]
                if landed.committed:
                    self.afterwards.append(landed.committed)
                result.cursor = (highest, packed.cursor or highest)
                if packed.file and not packed.rows and not self.job.raw_columns(table):
                    self.afterwards.append(partial(self._make, table, packed.file))
                elif packed.file:
                    result.package = load_id
                    yield self._import(table, packed, packed.file, result)
        except Exception as caught:
            state = self.job.state(table.name)
            state.clear()
            state.update(before)
            result.error = self._told(explain(caught), f"{self.source.name}.{table.name}")
        finally:
            self.packed.setdefault(table.name, None)

    def _landed(self, table: Table[Any]) -> Iterator[Landed | Exception]:
        """Deliveries of one table; what the extractor lands for others on the way waits for them."""
        if table.name in self.waiting:
            yield self.waiting.pop(table.name)
            return
        assert self.deliveries is not None
        while self.broken is None:
            try:
                other, landed = next(self.deliveries)
            except StopIteration:
                return
            except Exception as error:  # the source as a whole, such as a connection that is refused
                self.broken = error
                break
            if other.name == table.name:
                yield landed
                return
            self.waiting[other.name] = landed
        raise self.broken

    def _highest(self, table: Table[Any]) -> str | None:
        """The cursor raw has reached, as text."""
        value = self.job.raw_maximum(table, normalized(table.load.cursor)) if table.load.cursor else None
        return None if value is None else str(value)

    def _import(self, table: Table[Any], packed: Packed, file: Path, result: TableResult) -> Any:
        result.rows += packed.rows
        result.deleted += packed.deleted
        result.bytes += file.stat().st_size
        destination_state().setdefault("tables", []).append(table.name)
        commit_load_package_state()
        columns: Any = packed.columns
        hints = dlt.mark.make_hints(columns=columns, **packed.hints)
        return dlt.mark.with_file_import(str(file), "parquet", packed.rows, hints=hints)

    def _bad_rows(self, table: Table[Any]) -> Iterator[Any]:
        """What dlt reads as the resource of a table's quarantine."""
        while table.name not in self.packed:
            yield None  # dlt goes on to another resource
        if quarantined := self.packed[table.name]:
            columns: Any = quarantined.columns
            merge: Any = {"disposition": "merge", "strategy": "delete-insert"}
            hints = dlt.mark.make_hints(columns=columns, write_disposition=merge, primary_key=[ROW_ID])
            yield dlt.mark.with_file_import(str(quarantined.file), "parquet", quarantined.rows, hints=hints)

    def _tidy(self, table: Table[Any], gone: Mapping[str, Sequence[str]], settled: Sequence[str]) -> None:
        """What leaves once a load is committed: rows of emptied files, and of the quarantine; again changes nothing."""
        for column, values in gone.items():
            if self.job.raw_columns(table):
                self._delete(f"{quoted(table.schema)}.{quoted(table.name)}", column, values)
        if settled and quarantined_columns(table, self.job):
            self._delete(address(table), ROW_ID, settled)

    def _delete(self, where: str, column: str, values: Sequence[str]) -> None:
        listed = ", ".join(map(literal, values))
        # in a connection of its own: an extractor's transaction may still be open, and see what is dropped by now
        with self.job.con.cursor() as con, suppress(duckdb.CatalogException):
            con.execute(f"delete from {where} where {quoted(column)} in ({listed})")

    def _make(self, table: Table[Any], file: Path) -> None:
        """A table without a row is a table, which models read; dlt would not make it."""
        with self.job.con.cursor() as con:  # an extractor's transaction may still be open
            con.execute(f"create schema if not exists {quoted(table.schema)}")
            con.execute(
                f"create or replace table {quoted(table.schema)}.{quoted(table.name)} as "
                f"select * from read_parquet({literal(str(file))})"
            )

    def _told(self, error: BaseException, where: str | None = None) -> str:
        """An error as the person reads it: ours as written, others with where they came from; no secrets."""
        cause = error
        while not isinstance(cause, SluiceError) and cause.__cause__:
            cause = cause.__cause__
        text = (
            str(cause)
            if isinstance(cause, SluiceError)
            else f"{where or self.source.name}: {type(cause).__name__}: {cause}"
        )
        return self.connections.redact(text)


def _mend(folder: Path) -> None:
    """Finish what a kill left half done in dlt's working folder, and what dlt does not go on with by itself."""
    for place in ("load/new", "load/normalized", "load/loaded", "normalize/extracted"):
        if (folder / place).parent.is_dir():
            (folder / place).mkdir(exist_ok=True)
    # a package that is marked as complete but was not moved away: completing it again changes nothing
    for mark in folder.glob("load/normalized/*/package_completed.json"):
        mark.unlink()


def _refuse_incomplete(pipeline: dlt.Pipeline) -> None:
    """Raise LoadError for a package that lacks the file of a table it says it brings.

    dlt would load the rest, and the state that counts the lost rows as loaded.
    """
    extracted, normalized = pipeline._get_normalize_storage(), pipeline._get_load_storage()
    for packages, load_ids in (
        (extracted.extracted_packages, pipeline.list_extracted_load_packages()),
        (normalized.normalized_packages, pipeline.list_normalized_load_packages()),
    ):
        for load_id in load_ids:
            state: Mapping[str, Any] = packages.get_load_package_state(load_id).get("destination_state") or {}
            folder = Path(packages.storage.make_full_path(packages.get_package_path(load_id)))
            there = {ParsedLoadJobFileName.parse(file.name).table_name for file in folder.glob("*_jobs/*")}
            if lost := sorted(set(state.get("tables", ())) - there):
                raise LoadError(
                    f"{pipeline.pipeline_name}: the load package {load_id} has lost the file of {', '.join(lost)}"
                )


def _extractor(source: Source[Any, Any]) -> Any:
    return importlib.import_module(f"pipelines.extract.{source.kind}")


def _record(ledger: Ledger, run_id: str, result: SourceResult) -> None:
    for table in result.tables:
        error = table.error or result.error
        lost = table.error or (result.error and not result.committed)
        ledger.record(
            TableLoaded(
                run_id=run_id,
                source=result.source,
                table_name=table.table,
                started_at=table.started,
                ended_at=datetime.now(UTC),
                status="failed" if error else table.status,
                rows_read=table.read,
                rows_loaded=0 if lost else table.rows,
                rows_deleted=0 if lost else table.deleted,
                rows_quarantined=table.quarantined if result.committed or not result.error else 0,
                retries=table.retries,
                bytes=0 if lost else table.bytes,
                cursor_from=table.cursor[0],
                cursor_to=table.cursor[0] if lost else table.cursor[1],
                package=None if lost else table.package,
                error=error,
                new_columns=", ".join(table.new_columns) or None,
                lost_columns=", ".join(table.lost_columns) or None,
            )
        )
