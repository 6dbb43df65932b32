"""From what was extracted to one checked Parquet file that may enter raw.

Columns get their names and types, keys are checked, drift is refused, and rows that raw already holds unchanged are
left out. Whatever does not pass raises LoadError before raw is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import duckdb

from sluice.config.column_names import DELETED_AT, LOAD_ID, LOADED_AT, normalized
from sluice.engine import engine
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext, Files, JsonRecords, TypedRows
from sluice.load.changes import (
    emptied_files,
    holds_the_same,
    only_changes,
    refuse_shrinking,
    with_deleted,
)
from sluice.load.columns import Column, choose_columns, column_hints
from sluice.load.json_records import as_columns
from sluice.load.keys import DoubledKeyError, merge_key, rows_without_key, settle_keys, table_hints
from sluice.load.quarantine import BadRows
from sluice.load.staging import StagedFile, Target, copy_to, end_transaction, read_parquet
from sluice.sql import literal, quoted

UNMARKED = ("", "0", "f", "false", "n", "no")
"""Texts in the column that marks deleted rows that mean "not deleted"."""
_ALTERED = "sluice: value would be altered"


class _AlteredValueError(Exception):
    """Some row cannot enter raw unaltered."""


class _ReadAgainError(Exception):
    """Some value was altered while it was read; `rows` is the lossless fallback."""

    def __init__(self, rows: TypedRows) -> None:
        super().__init__()
        self.rows = rows


def normalise(
    extracted: TypedRows | JsonRecords, context: ExtractContext, load_id: str, loaded_at: datetime
) -> StagedFile:
    """Check and type what was extracted, leave out what raw already holds, and quarantine bad rows.

    Raises LoadError, with the table and the column, when a whole column or table cannot enter raw unaltered; single
    rows that cannot are in `quarantine`, with `refused` set when they are too many.
    """
    target = Target(extracted.table, context, load_id, loaded_at)
    try:
        return _without_doubled_keys(target, extracted)
    except _ReadAgainError as error:
        lossless = error.rows
    except (
        duckdb.Error,
        UnicodeDecodeError,
    ) as error:  # the latter where DuckDB's own text is not valid UTF-8
        if isinstance(extracted, JsonRecords) or extracted.fallback is None:
            raise
        end_transaction(context.con)
        found = extracted.fallback.read(error, ())
        if found is None:
            raise
        lossless = found
    return _without_doubled_keys(target, lossless)


def _without_doubled_keys(target: Target, extracted: TypedRows | JsonRecords) -> StagedFile:
    """Rows that share a key but differ are all quarantined: none can be trusted."""
    try:
        return _stage(target, extracted)
    except DoubledKeyError as error:
        return _stage(target, extracted, error.keys)


def _stage(target: Target, extracted: TypedRows | JsonRecords, doubled: str | None = None) -> StagedFile:
    """Stage the rows; those of the keys `doubled` (a FROM clause) are quarantined."""
    table, known, bad = target.table, target.columns, BadRows(target)
    if extracted.rejected:
        bad.add(extracted.rejected)
    records = extracted if isinstance(extracted, JsonRecords) else None
    rows = extracted if isinstance(extracted, TypedRows) else as_columns(target, extracted, bad)
    columns, drift = choose_columns(target, rows, may_lack=records is not None)
    key = merge_key(table, rows)
    replaces = table.load.disposition() == "replace"
    needed = [] if replaces else key

    file = target.file("normalised")
    try:
        if drift.kept_out or doubled:
            raise _AlteredValueError
        read = _write(target, columns, rows, file)
        if rows_without_key(target, needed, file):
            raise _AlteredValueError
    except _AlteredValueError:
        if records:
            rows = replace(rows, relation=as_columns(target, records, BadRows(target), keep=True).relation)
        good = bad.split(columns, rows.relation, needed, drift.kept_out, doubled)
        read = _write(target, columns, replace(rows, relation=good), file)
    good_rows = read
    bad_file = bad.written()
    if bad_file:
        read += bad_file.rows
    staged = StagedFile(read=read, new_columns=drift.new, lost_columns=drift.lost, quarantine=bad_file)
    if bad_file and bad_file.rows > table.load.tolerated(read):
        return replace(staged, refused=bad.explained(bad_file.rows))
    staged = replace(
        staged, settled=bad.settled(rows, key, file), cursor=_highest_cursor(target, columns, file)
    )
    if needed:
        good_rows = settle_keys(target, rows, key, file)
    staged = replace(staged, emptied=emptied_files(target, rows, file, good_rows))
    deleted = 0
    by_file = isinstance(rows.origin, Files)
    if known and not by_file and (needed or table.load.cursor):
        file, good_rows = only_changes(target, key, file)
        if rows.alive_keys:
            file, good_rows, deleted = with_deleted(target, rows.alive_keys, key, file, good_rows)
    if known and not replaces and not good_rows:
        return staged
    if known and replaces:
        if holds_the_same(target, file):
            return staged
        refuse_shrinking(target, good_rows, target.count(f"from {target.address}"))
    if table.load.soft_delete:
        deleted += target.count(f"from {read_parquet(file)} where {DELETED_AT} is not null")
    return replace(
        staged,
        file=file,
        rows=good_rows,
        deleted=deleted,
        columns=column_hints(target, file, columns),
        hints=table_hints(target, rows, key),
    )


def _write(target: Target, columns: Sequence[Column], rows: TypedRows, file: Path) -> int:
    """Write the rows under raw's names and types; returns how many they are.

    Raises _AlteredValueError for a value that its type does not hold, and _ReadAgainError for one that was altered
    before it arrived.
    """
    known = dict(target.columns)
    selected = {}
    for column in columns:
        value = column.cast.value
        if column.cast.keeps:
            source = quoted(column.source)
            value = (
                f"case when {source} is null or {column.cast.keeps} then {value} else error('{_ALTERED}') end"
            )
        selected[column.name] = f"{value} as {quoted(column.name)}"
    if target.table.load.soft_delete:
        selected[DELETED_AT] = f"{_marked(target, columns)} as {DELETED_AT}"
    if rows.alive_keys:
        known.setdefault(DELETED_AT, "TIMESTAMP WITH TIME ZONE")
    for name, kind in known.items():
        selected.setdefault(name, f"cast(null as {kind}) as {quoted(name)}")
    selected |= {
        LOADED_AT: f"{target.now} as {LOADED_AT}",
        LOAD_ID: f"{literal(target.load_id)} as {LOAD_ID}",
    }
    # in raw's order: dlt rewrites a file whose columns are ordered otherwise
    ordered = sorted(selected, key=lambda name: list(known).index(name) if name in known else len(known))
    select = f"select {', '.join(selected[n] for n in ordered)} from ({rows.relation})"
    try:
        written = copy_to(target.con, select, file)
    except duckdb.InvalidInputException as error:
        if _ALTERED not in str(error):
            raise
        end_transaction(target.con)
        raise _AlteredValueError from None
    _check_suspects(target, rows, file)
    return written


def _marked(target: Target, columns: Sequence[Column]) -> str:
    """SQL of when a row was deleted at the source, by the column that marks it there; null: it was not."""
    name = normalized(target.table.load.soft_delete or "")
    column = next((c for c in columns if c.name == name), None)
    if column is None:  # a key that no record has
        return "cast(null as timestamptz)"
    value, kind = f"({column.cast.value})", column.raw.name
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"cast({value} as timestamptz)"
    marks = {
        "BOOLEAN": value,
        "VARCHAR": f"lower(trim({value})) not in ({', '.join(map(literal, UNMARKED))})",
    }
    if kind not in marks and engine().raw_type(kind).hint["data_type"] not in ("bigint", "decimal", "double"):
        raise LoadError(
            f"{target.table.qualified}: soft_delete: {name} is {kind.lower()}; "
            "it marks by a time, a boolean or a number"
        )
    return f"case when {marks.get(kind, f'{value} <> 0')} then {target.now} end"


def _check_suspects(target: Target, rows: TypedRows, file: Path) -> None:
    """Raise _ReadAgainError when a value in the file is not what the source holds."""
    if rows.fallback is None or not rows.fallback.suspects:
        return
    read = read_parquet(file)
    types = {name: kind for name, kind, *_ in target.con.execute(f"describe from {read}").fetchall()}
    conditions = {}
    for name, condition in rows.fallback.suspects.items():
        if name in types:  # the bounds of texts show nothing; to measure an invalid one fails
            of_text = "count(*) > 0" if condition else f"count(length({quoted(name)})) < 0"
            conditions[name] = of_text if types[name] == "VARCHAR" else condition
    if not conditions:
        return
    try:
        found = target.con.execute(f"select {', '.join(conditions.values())} from {read}").fetchone() or ()
        altered = [name for name, some in zip(conditions, found, strict=True) if some]
    except (duckdb.InvalidInputException, UnicodeDecodeError):  # a text is not valid UTF-8
        altered = list(conditions)
    if altered and (lossless := rows.fallback.read(None, altered)):
        raise _ReadAgainError(lossless)


def _highest_cursor(target: Target, columns: Sequence[Column], file: Path) -> str | None:
    cursor = target.table.load.cursor
    if not cursor or (name := normalized(cursor)) not in {c.name for c in columns}:
        return None
    row = target.con.execute(f"select max({quoted(name)}) from {read_parquet(file)}").fetchone()
    return None if row is None or row[0] is None else str(row[0])
