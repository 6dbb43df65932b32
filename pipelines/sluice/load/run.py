"""A load: every declared source side by side into raw, and the result of each.

Sources are read while dlt is still being imported, which takes as long as reading a small file.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import duckdb

from sluice.config.connections import Connections
from sluice.config.declaration import Source
from sluice.config.settings import Settings, keep_private
from sluice.engine import engine
from sluice.engine.locks import locked
from sluice.engine.raw import QUARANTINE, with_raw_columns
from sluice.engine.raw_versions import RawVersions
from sluice.extract import extractor
from sluice.extract.contract import LoadOptions
from sluice.load.nothing_new import is_settled, nothing_new
from sluice.load.read_ahead import SourceReader
from sluice.load.results import ProgressListener, SourceResult, TableResult
from sluice.load.startup import importing, prepare_dlt
from sluice.runs.raw_copy import SCHEMA as RUNS_SCHEMA
from sluice.runs.raw_copy import copy_to_raw
from sluice.runs.store import LoadRecord, RunStore
from sluice.sql import quoted

BREAKING_OFF_SECONDS = 0.6
"""How long to wait for interrupted loads to end; one that waits for a network may take longer."""
THREADS = 4
"""Sources loaded at once; more only wait for each other on two cores."""


def load(
    settings: Settings,
    sources: Sequence[Source[Any, Any]],
    run_id: str,
    options: LoadOptions,
    listener: ProgressListener | None = None,
) -> list[SourceResult]:
    """Load `sources` into raw; one that fails does not stop the others.

    Raises LockedError when another process works on the warehouse for longer than `settings.lock_seconds`.
    """
    connections = Connections(settings.root, settings.connections)
    ledger = RunStore(settings.ledger)
    with locked(settings.home, "sluice load", settings.lock_seconds):
        keep_private(settings)
        shutil.rmtree(settings.landing, ignore_errors=True)
        versions = RawVersions(settings.raw)
        con = engine().open_raw(settings.raw, settings.landing / "temp", settings.lock_seconds)
        packages = _packages(con, sources)
        began = datetime.now(UTC)
        readers = [
            SourceReader(
                settings,
                with_raw_columns(con, source),
                con,
                connections,
                options,
                listener or ProgressListener(),
                began + timedelta(microseconds=n),
            )
            for n, source in enumerate(sources)
        ]
        left = {reader.source.name for reader in readers if reader.has_packages}
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="load")
        dlt_pipeline: Future[Any] = Future()
        try:
            wanted = Event()
            loads = [pool.submit(_load, reader, dlt_pipeline, wanted) for reader in readers]
            _import_when_wanted(readers, loads, wanted, dlt_pipeline)
            results = []
            for done in as_completed(loads):
                _record(ledger, run_id, done.result())
                results.append(done.result())
        except BaseException:
            # usually Ctrl-C: running loads are interrupted; the next load finishes what was staged
            dlt_pipeline.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            _break_off(readers, loads)
            raise
        pool.shutdown()
        copy_to_raw(con, ledger, settings.landing)
        own = {reader.source.name: {reader.load_id} for reader in readers}
        new = {name: ids - packages[name] - own[name] for name, ids in _packages(con, sources).items()}
        changed = list(_changed(results, sources, new, left))
        con.close()
        # a run that has brought nothing is no news to the models of runs and loads: nothing would ever be unchanged
        versions.keep([*changed, (RUNS_SCHEMA, "")] if changed else (), run_id)
        shutil.rmtree(settings.landing, ignore_errors=True)
    return sorted(results, key=lambda result: result.source)


def _packages(con: duckdb.DuckDBPyConnection, sources: Sequence[Source[Any, Any]]) -> dict[str, set[str]]:
    """The load packages that raw has of each source."""
    found = {}
    for source in sources:
        kept = f"{quoted(source.schema)}._dlt_loads"
        try:
            found[source.name] = {row[0] for row in con.execute(f"select load_id from {kept}").fetchall()}
        except duckdb.CatalogException:
            found[source.name] = set()
    return found


def _changed(
    results: Sequence[SourceResult],
    sources: Sequence[Source[Any, Any]],
    packages: Mapping[str, set[str]],
    left: Collection[str],
) -> Iterator[tuple[str, str]]:
    """Schema and name of the tables that may have changed; without a name, all of the schema.

    packages: those that raw has got beside this load's own, whose tables are in the results. left: sources with
    packages of an earlier load, which may hold any table.
    """
    schemas = {source.name: source.schema for source in sources}
    for result in results:
        schema = schemas[result.source]
        if result.source in left or packages[result.source]:
            yield schema, ""
        for table in result.tables:
            if result.error or table.is_altered or table.quarantined or table.status != "unchanged":
                yield schema, table.table
                yield schema, f"{table.table}{QUARANTINE}"


def _import_when_wanted(
    readers: Sequence[SourceReader],
    loads: Sequence[Future[SourceResult]],
    wanted: Event,
    dlt_pipeline: Future[Any],
) -> None:
    """Import dlt, once a source wants it or cannot do without; not if all loads end before."""
    if any(reader.needs_imports or not reader.has_loaded for reader in readers):
        wanted.set()
    _set_when_done(wanted, loads)
    wanted.wait()
    if not all(load.done() for load in loads):
        dlt_pipeline.set_result(_import_dlt([reader.source for reader in readers]))


def _import_dlt(sources: Sequence[Source[Any, Any]]) -> Any:
    """The module that loads through dlt, and with it every extractor, in one thread: some import each other."""
    with importing("sluice.load.dlt_pipeline"):
        from sluice.load import dlt_pipeline

        prepare_dlt()
        for source in sources:
            extractor(source)
    return dlt_pipeline


def _load(reader: SourceReader, dlt_pipeline: Future[Any], wanted: Event) -> SourceResult:
    """Load one source; sets `wanted` as soon as it needs dlt."""
    reader.started = time.monotonic()
    settled = is_settled(reader)
    if not settled:
        wanted.set()
    elif reader.needs_imports:
        dlt_pipeline.result()
    if settled or not reader.needs_imports:
        reader.begin(lambda: dlt_pipeline.done() and not settled, wanted.set)
    if settled and (unchanged := nothing_new(reader)):
        return unchanged
    wanted.set()
    result: SourceResult = dlt_pipeline.result().SourceLoad(reader).run()
    return result


def _set_when_done(event: Event, loads: Sequence[Future[SourceResult]]) -> None:
    """Set the event when all loads have ended, whatever came of them; at once if there are none."""
    left = {*loads}
    if not left:
        event.set()

    def ended(load: Future[SourceResult]) -> None:
        left.discard(load)
        if not left:
            event.set()

    for load in loads:
        load.add_done_callback(ended)


def _break_off(readers: Sequence[SourceReader], loads: Sequence[Future[SourceResult]]) -> None:
    """Interrupt every statement, also those that begin later: a running one would keep the process from ending."""
    until = time.monotonic() + BREAKING_OFF_SECONDS
    while not all(load.done() for load in loads) and time.monotonic() < until:
        for reader in readers:
            with suppress(duckdb.ConnectionException):  # it has ended, and closed its connection
                reader.context.con.interrupt()
        time.sleep(0.02)


def _record(ledger: RunStore, run_id: str, result: SourceResult) -> None:
    def loaded(table: TableResult) -> LoadRecord:
        error = table.error or result.error
        lost = table.error or (result.error and not result.committed)
        return LoadRecord(
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
            message=None if lost else table.message,
            warnings="\n".join(table.warnings) or None,
            new_columns=", ".join(table.new_columns) or None,
            lost_columns=", ".join(table.lost_columns) or None,
        )

    ledger.record(*map(loaded, result.tables))
