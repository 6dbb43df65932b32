"""A source through dlt: a pipeline of file imports into raw.

dlt keeps state, schemas and load packages; what enters is checked by `normalise` first, so a package that
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

from sluice.config.column_names import DELETED_AT, LOAD_ID
from sluice.config.declaration import Table
from sluice.engine import engine
from sluice.engine.dlt_destination import EXCHANGED, GONE
from sluice.engine.raw import QUARANTINE, address, quarantine_address
from sluice.errors import ConnectionError, LoadError, root_error
from sluice.extract.contract import (
    AFTER_COMMIT,
    READ_WITH,
    Extraction,
    Failed,
    JsonRecords,
    TypedRows,
)
from sluice.load.quarantine import ROW_ID
from sluice.load.read_ahead import SourceReader
from sluice.load.refresh import nothing_delivered
from sluice.load.results import SourceResult, TableResult
from sluice.load.staging import QuarantineFile, StagedFile
from sluice.load.startup import package_id
from sluice.sql import listed, quoted

ENDS_IN_A_ROW = 200
"""Resources that may end in a row: for each, dlt goes one call deeper, and 1,000 are too deep for Python."""


class SourceLoad:
    """One source on its way into raw, in one thread."""

    def __init__(self, reader: SourceReader) -> None:
        self.reader = reader
        self.settings = reader.settings
        self.source = reader.source
        self.context = reader.context
        self.results = reader.results
        self.afterwards: list[Callable[[], object]] = []
        """Steps to take once the rows are committed."""
        self.has_finished_packages = False
        """Whether an earlier run's rows came into raw since the reading began."""
        self.extractions: Generator[Extraction, None, None] | None = None
        self.source_error: Exception | None = None
        """Why the source as a whole could not be read further."""
        self.waiting: dict[str, Extraction] = {}
        """Tables that were extracted before dlt asked for them."""
        self.bad_rows: dict[str, QuarantineFile | None] = {}
        """By table, once it is staged."""
        self.ended = 0
        """Resources that have ended in a row."""

    def run(self) -> SourceResult:
        error, committed, is_unconnected = None, False, False
        try:
            _repair(self.reader.folder)
            pipeline = self._pipeline()
            if pipeline.has_pending_data:
                self.has_finished_packages = True
                pipeline = self._finish_pending(pipeline)
            with package_id(self.reader.load_id):
                pipeline.run(self._dlt_source())
            committed = True
            self._finish()
        except Exception as caught:
            error = self.reader.format_error(caught)
            is_unconnected = isinstance(root_error(caught), ConnectionError)
        finally:
            self.reader.close()
            self.context.con.close()
        seconds = time.monotonic() - self.reader.started
        tables = list(self.results.values())
        result = SourceResult(self.source.name, tables, seconds, error, committed, is_unconnected)
        self.reader.listener.finished(result)
        return result

    def _finish(self) -> None:
        """Run the steps that wait for the commit; a failed step does not stop the others. Raises the first error."""
        errors = []
        self.context.raw.forget()
        self.afterwards.extend(partial(self._add_deleted_at, table) for table in self.source.tables)
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
        """Load what a run that was cut short had staged; what cannot be loaded is moved out of the way.

        Set aside goes dlt's whole working folder of the source: packages, and the state that counts their rows as
        loaded. The state of the last committed load is restored from raw, so those rows are read again.
        """
        try:
            _refuse_incomplete(pipeline)
            pipeline.run()
            # a run killed between packing its rows and writing dlt's state left an old one, to which they are new
            pipeline.sync_destination()
            return pipeline
        except (LoadError, PipelineStepFailed) as error:
            reason = self.reader.format_error(error)
        aside = (
            self.settings.home / "set_aside" / f"{self.source.name}-{self.reader.loaded_at:%Y%m%dT%H%M%S.%fZ}"
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
        self.reader.listener.set_aside(self.source.name, aside, reason)
        return self._pipeline()

    def _take_back(self, packages: Sequence[str]) -> None:
        """Delete the rows that incomplete packages brought into tables where they would be loaded twice.

        Those are rows without any identity: only the package that brought them identifies them.
        """
        if not packages:
            return
        ids = listed(packages)
        loads = f"{quoted(self.source.schema)}._dlt_loads"
        for table in self.source.tables:
            known = self.context.raw.columns(table)
            if LOAD_ID in known and not table.load.primary_key and table.load.disposition() == "append":
                self.context.con.execute(
                    f"delete from {address(table)} where {LOAD_ID} in ({ids})"
                    f" and {LOAD_ID} not in (select load_id from {loads} where status = 0)"
                )

    def _dlt_source(self) -> DltSource:
        self.reader.state = lambda table: dlt.current.resource_state(table)

        def resources() -> list[Any]:
            contract: Any = {"columns": "evolve", "data_type": "freeze"}
            return [
                # in a chain: for a bare generator dlt searches all imported modules for the one it comes from
                dlt.resource(chain(rows, self._ending()), name=name, schema_contract=contract)
                for table in self.source.tables
                for name, rows in {
                    table.name: self._rows(table),
                    table.name + QUARANTINE: self._bad_rows(table),
                }.items()
            ]

        return dlt.source(resources, name=self.source.name, max_table_nesting=0)()

    def _rows(self, table: Table[Any]) -> Iterator[Any]:
        """What dlt reads as a resource: the staged file of one table, if it has rows."""
        result = self.results[table.name]
        before = copy.deepcopy(dict(self.context.state(table.name)))
        extraction: Extraction | None = None
        try:
            if AFTER_COMMIT in before:  # a killed load may not have reached it
                self._tidy(table, **before[AFTER_COMMIT])
            extraction = self._extracted(table)
            if isinstance(extraction, Failed):
                raise extraction.error
            if extraction is None:
                if self.context.refreshes(table.name) and self.context.raw.held(table):
                    raise nothing_delivered(table)
                state = self.context.state(table.name)
                state.pop(AFTER_COMMIT, None)  # else every load without news would take these steps again
                state[READ_WITH] = self.reader.declared[table.name]
                return
            staged = self._staged(extraction, result)
            if staged.file:
                result.package = self.reader.load_id
                yield self._import(table, staged, staged.file, result)
        except Exception as caught:
            state = self.context.state(table.name)
            state.clear()
            state.update(before)
            error = (
                caught if extraction is None or isinstance(extraction, Failed) else extraction.explain(caught)
            )
            result.error = self._explained(table, error)
            result.is_unconnected = isinstance(root_error(error), ConnectionError)
        finally:
            self.bad_rows.setdefault(table.name, None)

    def _explained(self, table: Table[Any], error: Exception) -> str:
        """The text of an error, with the reason and the way out where a changed declaration led to it."""
        text = self.reader.format_error(error, table.qualified)
        if not (changed := self.context.reloaded.get(table.name)):
            return text
        keep = (
            "\nOr keep the rows as they were read, and read only new ones as it is declared now: sluice load "
            f"{table.qualified} --keep-rows"
        )
        keep = "" if isinstance(root_error(error), ConnectionError) else keep
        return (
            f"{table.qualified}: {changed} changed since its rows were read, so it was read whole again, without "
            f"success; raw stays as it is: {text.removeprefix(f'{table.qualified}: ')}{keep}"
        )

    def _staged(self, extracted: TypedRows | JsonRecords, result: TableResult) -> StagedFile:
        """Stage the rows, and note what to save or do with them; LoadError for too many bad rows."""
        table = extracted.table
        highest = self.reader.highest(table)
        staged = self.reader.staged(extracted)
        result.read += staged.read
        result.new_columns, result.lost_columns = staged.new_columns, staged.lost_columns
        if staged.quarantine:
            result.quarantined += staged.quarantine.rows
            self.bad_rows[table.name] = staged.quarantine
        if staged.refused:
            raise LoadError(staged.refused)
        said = [result.message, staged.message]
        result.message = "\n".join(filter(None, said)) or None
        state = self.context.state(table.name)
        if self.context.refreshes(table.name):
            state.clear()
        state.update(staged.state)
        state.pop(AFTER_COMMIT, None)
        state[READ_WITH] = self.reader.declared[table.name]
        if staged.emptied or staged.settled:
            after: dict[str, Any] = {"gone": dict(staged.emptied), "settled": list(staged.settled)}
            state[AFTER_COMMIT] = after
            self.afterwards.append(partial(self._tidy, table, **after))
        if extracted.on_commit:
            self.afterwards.append(extracted.on_commit)
        result.cursor = (highest, staged.cursor or highest)
        return staged

    def _extracted(self, table: Table[Any]) -> Extraction | None:
        """What is extracted of one table; other tables that come first are kept for later."""
        if table.name in self.waiting:
            return self.waiting.pop(table.name)
        if self.extractions is None:
            unsettled = any(AFTER_COMMIT in self.context.state(t.name) for t in self.source.tables)
            as_before = not self.has_finished_packages and not unsettled
            self.extractions = self.reader.extractions(is_as_before=as_before)
        while self.source_error is None:
            try:
                extraction = next(self.extractions)
            except StopIteration:
                return None
            except Exception as error:  # the source as a whole, such as a connection that is refused
                self.source_error = error
                break
            if extraction.table.name == table.name:
                return extraction
            self.waiting[extraction.table.name] = extraction
        raise self.source_error

    def _import(self, table: Table[Any], staged: StagedFile, file: Path, result: TableResult) -> Any:
        result.rows += staged.rows - staged.moved
        result.deleted += staged.deleted
        result.bytes += file.stat().st_size
        destination_state().setdefault("tables", []).append(table.name)
        # a table that is in dlt's schema and not in raw is one that somebody dropped; dlt would not create it again
        tables = dlt.current.source_schema().tables
        if staged.is_whole or (table.name in tables and not self.context.raw.held(table)):
            tables.pop(table.name, None)
            destination_state().setdefault(EXCHANGED, []).append(table.name)
        elif self.reader.options.keep_rows and table.name in tables:
            for column in tables[table.name]["columns"].values():  # the declared key may be another one
                column.pop("primary_key", None)
                column.pop("merge_key", None)
        if staged.gone:
            destination_state().setdefault(GONE, {})[table.name] = staged.gone
        commit_load_package_state()
        columns: Any = staged.columns
        hints = dlt.mark.make_hints(columns=columns, **staged.hints)
        return dlt.mark.with_file_import(str(file), "parquet", staged.rows, hints=hints)

    def _bad_rows(self, table: Table[Any]) -> Iterator[Any]:
        """What dlt reads as the resource of a table's quarantine."""
        while table.name not in self.bad_rows:
            yield None  # dlt continues with another resource
        if bad := self.bad_rows[table.name]:
            columns: Any = bad.columns
            merge: Any = {"disposition": "merge", "strategy": "delete-insert"}
            hints = dlt.mark.make_hints(columns=columns, write_disposition=merge, primary_key=[ROW_ID])
            yield dlt.mark.with_file_import(str(bad.file), "parquet", bad.rows, hints=hints)

    def _ending(self) -> Iterator[None]:
        """The end of each resource, which waits where too many have ended in a row."""
        while self.ended >= ENDS_IN_A_ROW:
            yield None
            self.ended = (
                0  # it is asked again, so dlt has asked all others, and has come back to its first call
            )
        self.ended += 1

    def _add_deleted_at(self, table: Table[Any]) -> None:
        """Let raw have the column from the first load on that may mark rows, also if that changed none."""
        held = self.context.raw.held(table)
        if (
            held
            and DELETED_AT not in held
            and table.load.marks_deleted()
            and not self.results[table.name].error
        ):
            self.results[table.name].is_altered = True
            with self.context.con.cursor() as con:  # an extractor's open transaction may not see it yet
                con.execute(f"alter table {address(table)} add column if not exists {DELETED_AT} timestamptz")

    def _tidy(self, table: Table[Any], gone: Mapping[str, Sequence[str]], settled: Sequence[str]) -> None:
        """Delete, once a load is committed, rows of emptied files and settled ones of the quarantine; repeatable."""
        self.results[table.name].is_altered = True
        for column, values in gone.items():
            if self.context.raw.columns(table):
                self._delete(address(table), column, values)
        if settled and self.context.raw.quarantine_columns(table):
            self._delete(quarantine_address(table), ROW_ID, settled)

    def _delete(self, where: str, column: str, values: Sequence[str]) -> None:
        # in a separate connection: an extractor's transaction may still be open, and see dropped tables
        with self.context.con.cursor() as con, suppress(duckdb.CatalogException):
            con.execute(f"delete from {where} where {quoted(column)} in ({listed(values)})")


def _repair(folder: Path) -> None:
    """Finish what a kill left half done in dlt's working folder, and what dlt does not resume by itself."""
    for place in ("load/new", "load/normalized", "load/loaded", "normalize/extracted"):
        if (folder / place).parent.is_dir():
            (folder / place).mkdir(exist_ok=True)
    # the package that a normalised one was made from may be half deleted, and then looks broken
    for package in folder.glob("load/normalized/*"):
        shutil.rmtree(folder / "normalize/extracted" / package.name, ignore_errors=True)
    # a schema that was being written when the process ended: dlt takes the half file for a schema of that name
    for file in folder.glob("schemas/*"):
        if not file.name.endswith(".schema.json"):
            file.unlink()
    # a package marked as complete but not moved away: completing it again changes nothing
    for mark in folder.glob("load/normalized/*/package_completed.json"):
        mark.unlink()


def _refuse_incomplete(pipeline: dlt.Pipeline) -> None:
    """Raise LoadError for a package that lacks the file of a table it lists.

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
