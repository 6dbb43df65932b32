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

from sluice.config.column_names import DELETED_AT, LOAD_ID, LOADED_AT
from sluice.engine import engine
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext, Files, JsonRecords, TypedRows
from sluice.load.changed_lines import only_changed_lines
from sluice.load.changes import (
    Change,
    holds_the_same,
    living_keys,
    only_changes,
    refuse_shrinking,
    replaced_files,
    warn_of_emptiness,
    with_deleted,
)
from sluice.load.columns import Column, choose_columns, column_hints
from sluice.load.json_records import as_columns
from sluice.load.keys import (
    DoubledKeyError,
    merge_key,
    rows_without_key,
    settle_keys,
    table_hints,
)
from sluice.load.quarantine import BadRows
from sluice.load.refresh import exchanged
from sluice.load.staging import QuarantineFile, StagedFile, Target, copy_to, end_transaction, read_parquet
from sluice.sql import literal, quoted

UNMARKED = ("", "0", "f", "false", "n", "no")
"""Texts in the column that marks deleted rows that mean "not deleted"."""
_ALTERED, _TYPED = "sluice: value would be altered", "sluice: value "


class _AlteredValueError(Exception):
    """Some row cannot enter raw unaltered."""


class _ReadAgainError(Exception):
    """Some value was altered, or some row missed, while it was read; `rows` is the lossless fallback."""

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
    origin = extracted.origin
    if not isinstance(origin, Files) or origin.whole is None:
        return _normalised(target, extracted)
    try:
        staged = _normalised(target, extracted)
        if not staged.quarantine:
            return staged
    except (LoadError, duckdb.Error, UnicodeDecodeError):
        end_transaction(context.con)
    # what a file brought before counts for its tolerance and its keys
    extracted.release()
    if (whole := origin.whole()) is None:
        return StagedFile(read=0)
    try:
        return _normalised(target, whole)
    finally:
        whole.release()


def _normalised(target: Target, extracted: TypedRows | JsonRecords) -> StagedFile:
    """The staged rows, with what goes into the state and what is worth saying."""
    staged = _lossless(target, extracted)
    message = "\n".join(filter(None, [extracted.message, staged.message])) or None
    return replace(staged, state=extracted.state, message=message)


def _lossless(target: Target, extracted: TypedRows | JsonRecords) -> StagedFile:
    """Stage the rows; where values were altered while they were read, read them by the lossless fallback."""
    try:
        return _without_doubled_keys(target, extracted)
    except LoadError as error:
        if not extracted.unreadable:
            raise
        raise LoadError("\n".join([*extracted.unreadable, str(error)])) from None
    except _ReadAgainError as error:
        lossless = error.rows
    except (
        duckdb.Error,
        UnicodeDecodeError,
    ) as error:  # the latter where DuckDB's own text is not valid UTF-8
        if isinstance(extracted, JsonRecords) or extracted.fallback is None:
            raise
        end_transaction(target.con)
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
    columns, drift = choose_columns(target, rows)
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
        read = _write(target, columns, replace(rows, relation=good, con=None), file)
    good_rows = read
    bad_file = bad.written()
    if bad_file:
        read += bad_file.rows
    if rows.expected not in (None, read) and rows.fallback and (again := rows.fallback.read(None, ())):
        raise _ReadAgainError(again)
    staged = StagedFile(read=read, new_columns=drift.new, lost_columns=drift.lost, quarantine=bad_file)
    if refused := _refusal(extracted, bad, read):
        return replace(staged, refused=refused)
    staged = replace(
        staged, settled=bad.settled(rows, key, file), cursor=_highest_cursor(target, columns, file)
    )
    if needed:
        good_rows = settle_keys(target, rows, key, file)
    changes = _changes(target, extracted, rows, key, Change(file, good_rows), bad_file)
    file, good_rows = changes.file, changes.rows
    staged = replace(staged, emptied=changes.emptied, moved=changes.moved, message=changes.message)
    if known:
        warn_of_emptiness(target, extracted, staged.read)
    if known and not replaces and not good_rows and not changes.loses_lines and not drift.new:
        return staged
    if known and replaces:
        if holds_the_same(target, file):
            return staged
        refuse_shrinking(target, good_rows, target.count(f"from {target.address}"))
    staged = replace(
        staged,
        file=file,
        rows=good_rows,
        deleted=changes.deleted,
        gone=changes.gone,
        columns=column_hints(target, file, columns),
        hints=table_hints(target, rows, key),
    )
    is_whole = target.context.refreshes(table.name) or not (known or good_rows)  # which dlt would not create
    return exchanged(target, rows, key, staged) if is_whole else staged


def _refusal(extracted: TypedRows | JsonRecords, bad: BadRows, read: int) -> str:
    """Why the table is refused; empty if it is not."""
    refused = list(extracted.unreadable)
    if bad.file and bad.file.rows > extracted.table.load.tolerated(read):
        refused.append(bad.explained(bad.file.rows))
    return "\n".join(refused)


def _changes(
    target: Target,
    extracted: TypedRows | JsonRecords,
    rows: TypedRows,
    key: Sequence[str],
    good: Change,
    bad: QuarantineFile | None,
) -> Change:
    """What the good rows change in raw, with the rows that are found deleted."""
    load, alive, found = target.table.load, None, good
    is_compared = (key and load.disposition() != "replace") or load.cursor
    if target.columns and not isinstance(rows.origin, Files) and is_compared:
        alive = living_keys(target, extracted, key, good.file, bad)
        found = Change(*only_changes(target, key, good.file))
    if load.soft_delete:
        marked = target.count(f"from {read_parquet(found.file)} where {DELETED_AT} is not null")
        found = replace(found, deleted=marked)
    if alive:
        return with_deleted(target, alive, key, found)
    found = replaced_files(target, rows, key, found, bad)
    # with `deletes`, a row that is gone may have the line of one that is there
    if target.columns and isinstance(rows.origin, Files) and not load.deletes:
        return only_changed_lines(target, rows.origin, found)
    return found


def _write(target: Target, columns: Sequence[Column], rows: TypedRows, file: Path) -> int:
    """Write the rows under raw's names and types; returns how many they are.

    Raises _AlteredValueError for a value that its type does not hold, and _ReadAgainError for one that was altered
    before it arrived.
    """
    known = dict(target.columns)
    selected = {}
    typed: dict[str, str] = {}
    for place, column in enumerate(columns):
        value, keeps = column.cast.value, column.cast.keeps
        if keeps:
            if value.startswith("try_cast("):  # DuckDB would cast for the condition and again for the value
                name = typed.setdefault(value, quoted(f"{_TYPED}{place}"))
                value, keeps = name, keeps.replace(value, name)
            source = quoted(column.source)
            value = f"case when {source} is null or {keeps} then {value} else error('{_ALTERED}') end"
        selected[column.name] = f"{value} as {quoted(column.name)}"
    if target.table.load.soft_delete:
        selected[DELETED_AT] = f"{_marked(target, columns)} as {DELETED_AT}"
    if target.table.load.marks_deleted():
        known.setdefault(DELETED_AT, "TIMESTAMP WITH TIME ZONE")
    for name, kind in known.items():
        selected.setdefault(name, f"cast(null as {kind}) as {quoted(name)}")
    selected |= {
        LOADED_AT: f"{target.now} as {LOADED_AT}",
        LOAD_ID: f"{literal(target.load_id)} as {LOAD_ID}",
    }
    # in raw's order: dlt rewrites a file whose columns are ordered otherwise
    places = {name: place for place, name in enumerate(known)}
    ordered = sorted(selected, key=lambda name: places.get(name, len(places)))
    values = "".join(f", {value} as {name}" for value, name in typed.items())
    relation = f"select *{values} from ({rows.relation})" if typed else rows.relation
    select = f"select {', '.join(selected[n] for n in ordered)} from ({relation})"
    try:
        written = copy_to(rows.con or target.con, select, file, len(ordered))
    except duckdb.InvalidInputException as error:
        if _ALTERED not in str(error):
            raise
        end_transaction(target.con)
        raise _AlteredValueError from None
    _check_suspects(target, rows, file)
    return written


def _marked(target: Target, columns: Sequence[Column]) -> str:
    """SQL of when a row was deleted at the source, by the column that marks it there; null: it was not."""
    name = target.table.raw_name(target.table.load.soft_delete or "_")
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
            "it marks by a time, a boolean, a number or a text"
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
        if types.get(name) in (
            "VARCHAR",
            "JSON",
        ):  # the bounds of texts show nothing; to measure an invalid one fails
            conditions[name] = "count(*) > 0" if condition else f"count(length({quoted(name)})) < 0"
        elif name in types and condition:
            conditions[name] = condition
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
    if not cursor or (name := target.table.raw_name(cursor)) not in {c.name for c in columns}:
        return None
    row = target.con.execute(f"select max({quoted(name)}) from {read_parquet(file)}").fetchone()
    return None if row is None or row[0] is None else str(row[0])
