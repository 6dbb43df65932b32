"""A source that has brought nothing new: recorded without a load package, and where it can be without dlt.

Only where dlt would find nothing to do either: its state is the one that came into raw last, nothing waits to be
finished, and no table has a row, a bad row or another state.
"""

from __future__ import annotations

import json
import time
from typing import Any

import duckdb

from sluice.config.column_names import DELETED_AT
from sluice.config.declaration import Source, Table
from sluice.extract.contract import AFTER_COMMIT, READ_WITH, Failed
from sluice.load.read_ahead import SourceReader, damaged_state
from sluice.load.results import SourceResult
from sluice.load.staging import StagedFile
from sluice.sql import literal, quoted


def is_settled(reader: SourceReader) -> bool:
    """Whether a source may be found to have nothing new without dlt: its files are those of its last load.

    So what they say is what dlt would say. Not where all is read in any case, or something waits to be finished.
    """
    if reader.needs_pipeline or reader.has_packages or reader.options.full_refresh:
        return False
    try:
        state = json.loads((reader.folder / "state.json").read_bytes())
        resources = state["sources"][reader.source.name]["resources"]
        if any(AFTER_COMMIT in kept for kept in resources.values()):
            return False
        return bool(
            state["_version_hash"] == _committed(reader.context.con, reader.source)
        ) and not damaged_state(reader.folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # dlt meets it too, and it is reported then


def _committed(con: duckdb.DuckDBPyConnection, source: Source[Any, Any]) -> str | None:
    """The hash of the state that came into raw last, as dlt itself looks for it."""
    schema = quoted(source.schema)
    try:
        row = con.execute(
            f"select s.version_hash from {schema}._dlt_pipeline_state s join {schema}._dlt_loads l"
            f" on l.load_id = s._dlt_load_id where s.pipeline_name = {literal(source.name)} and l.status = 0"
            " order by l.load_id desc limit 1"
        ).fetchone()
    except duckdb.Error:
        return None
    return str(row[0]) if row else None


def nothing_new(reader: SourceReader) -> SourceResult | None:
    """The result of a source that was read ahead whole and brought nothing; else None, and all is as before."""
    ahead = reader.complete()
    if ahead is None:
        return None
    staged: dict[str, StagedFile] = {}
    for extraction, rows in ahead:
        if isinstance(extraction, Failed) or not isinstance(rows, StagedFile) or extraction.on_commit:
            return None
        staged[extraction.table.name] = rows
    tables = reader.source.tables
    try:
        if not all(_is_unchanged(reader, table, staged.get(table.name)) for table in tables):
            return None
        highest = {table.name: reader.highest(table) for table in tables if table.name in staged}
    except duckdb.Error:
        return None  # dlt's way meets it, too, and says which table
    for name, rows in staged.items():
        table = reader.results[name]
        table.read += rows.read
        table.new_columns, table.lost_columns = rows.new_columns, rows.lost_columns
        table.message = "\n".join(filter(None, (table.message, rows.message))) or None
        table.cursor = (highest[name], rows.cursor or highest[name])
    reader.close()
    reader.context.con.close()
    seconds = time.monotonic() - reader.started
    result = SourceResult(reader.source.name, list(reader.results.values()), seconds, committed=True)
    reader.listener.finished(result)
    return result


def _is_unchanged(reader: SourceReader, table: Table[Any], rows: StagedFile | None) -> bool:
    """Whether a load of the table would change neither its rows, nor its columns, nor what is kept about it."""
    kept = reader.state(table.name)
    held = reader.context.raw.held(table)
    if reader.context.refreshes(table.name) or kept.get(READ_WITH) != reader.declared[table.name]:
        return False
    if held and DELETED_AT not in held and table.load.marks_deleted():
        return False
    if rows is None:
        return True
    brings = (rows.file, rows.quarantine, rows.refused, rows.is_whole, rows.settled, rows.emptied, rows.gone)
    return not any(brings) and all(key in kept and kept[key] == value for key, value in rows.state.items())
