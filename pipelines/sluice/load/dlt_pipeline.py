"""A source through dlt: a pipeline of file imports into raw.

dlt keeps state, schemas and load packages; what enters is checked by `shape` first, so a package that
exists can be loaded, and loaded again after a crash with the same result.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import dlt
import duckdb
from dlt.common.storages.load_package import (
    ParsedLoadJobFileName,
    commit_load_package_state,
    destination_state,
)
from dlt.extract import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from sluice.config.column_names import LOAD_ID, normalized
from sluice.config.declaration import Table
from sluice.engine import engine
from sluice.errors import LoadError
from sluice.extract.contract import Delivery, Landed, literal, quoted, unexplained
from sluice.load.dlt_context import package_called
from sluice.load.normalise import StagedFile
from sluice.load.quarantine import ROW_ID, SUFFIX, Quarantined, address, quarantined_columns
from sluice.load.read_ahead import Reading, SourceResult, TableResult


class SourceLoad:
    """One source on its way into raw, in one thread."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.settings = reading.settings
        self.source = reading.source
        self.job = reading.job
        self.results = reading.results
        self.afterwards: list[Callable[[], object]] = []
        """What waits for the rows to be committed."""
        self.has_finished_packages = False
        """Whether an earlier run's rows came into raw since the reading began."""
        self.deliveries: Generator[Delivery, None, None] | None = None
        self.broken: Exception | None = None
        self.waiting: dict[str, Landed | Exception] = {}
        self.packed: dict[str, Quarantined | None] = {}
        """Tables that are packed, and their bad rows."""

    def run(self) -> SourceResult:
        error, committed = None, False
        try:
            _mend(self.reading.folder)
            pipeline = self._pipeline()
            if pipeline.has_pending_data:
                self.has_finished_packages = True
                pipeline = self._finish_pending(pipeline)
            anew: Any = {"refresh": "drop_resources"} if self.reading.asked.full_refresh else {}
            with package_called(self.reading.load_id):
                pipeline.run(self._dlt_source(), **anew)
            committed = True
            self._finish()
        except Exception as caught:
            error = self.reading.told(caught)
        finally:
            self.reading.close()
            self.job.con.close()
        seconds = time.monotonic() - self.reading.started
        result = SourceResult(self.source.name, list(self.results.values()), seconds, error, committed)
        self.reading.watcher.finished(result)
        return result

    def _finish(self) -> None:
        """All that waits for the commit; one step that fails does not keep the others. Raises the first error."""
        errors = []
        self.job.known.clear()
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
            destination=engine().dlt_destination(self.settings.raw),
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
            reason = self.reading.told(error)
        aside = (
            self.settings.home / "set_aside" / f"{self.source.name}-{self.reading.loaded_at:%Y%m%dT%H%M%SZ}"
        )
        aside.parent.mkdir(exist_ok=True)
        self._take_back([*pipeline.list_extracted_load_packages(), *pipeline.list_normalized_load_packages()])
        pipeline.deactivate()
        Path(pipeline.working_dir).rename(aside)
        (aside / "REASON.txt").write_text(
            f"{reason}\n\nThis load package could not be loaded. It is kept for inspection only: the load that set it "
            "aside read the same rows from the source again. Delete the folder when it is of no more use.\n",
            encoding="utf-8",
        )
        self.reading.watcher.set_aside(self.source.name, aside, reason)
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
        self.reading.state = lambda table: dlt.current.resource_state(table)

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
                highest = self._highest(table)
                packed = self.reading.packed(table, landed)
                result.read += packed.read
                result.new_columns, result.lost_columns = packed.new_columns, packed.lost_columns
                if packed.quarantine:
                    result.quarantined += packed.quarantine.rows
                    self.packed[table.name] = packed.quarantine
                if packed.refused:
                    raise LoadError(packed.refused)
                state = self.job.state(table.name)
                state.update(landed.remember)
                gone = {landed.identity[0]: list(packed.gone)} if packed.gone else {}
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
                    result.package = self.reading.load_id
                    yield self._import(table, packed, packed.file, result)
        except Exception as caught:
            state = self.job.state(table.name)
            state.clear()
            state.update(before)
            result.error = self.reading.told(explain(caught), f"{self.source.name}.{table.name}")
        finally:
            self.packed.setdefault(table.name, None)

    def _landed(self, table: Table[Any]) -> Iterator[Landed | Exception]:
        """Deliveries of one table; what the extractor lands for others on the way waits for them."""
        if table.name in self.waiting:
            yield self.waiting.pop(table.name)
            return
        if self.deliveries is None:
            unsettled = any("_after" in self.job.state(t.name) for t in self.source.tables)
            as_before = not self.has_finished_packages and not unsettled
            self.deliveries = self.reading.deliveries(is_as_before=as_before)
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

    def _import(self, table: Table[Any], packed: StagedFile, file: Path, result: TableResult) -> Any:
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


def _mend(folder: Path) -> None:
    """Finish what a kill left half done in dlt's working folder, and what dlt does not go on with by itself."""
    for place in ("load/new", "load/normalized", "load/loaded", "normalize/extracted"):
        if (folder / place).parent.is_dir():
            (folder / place).mkdir(exist_ok=True)
    # a package that is normalised; the one it was made from may be deleted in part, and then looks like a broken one
    for package in folder.glob("load/normalized/*"):
        shutil.rmtree(folder / "normalize/extracted" / package.name, ignore_errors=True)
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
