"""A table that is read from scratch, and what only raw held of it: rows and columns that its exchange takes away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sluice.config.column_names import DELETED_AT, FILE, STAMPS
from sluice.config.declaration import DatabaseTable, Table
from sluice.config.reading import Changes
from sluice.engine.raw import address, quarantine_address
from sluice.errors import LoadError
from sluice.extract.contract import Files, TypedRows
from sluice.load.changes import refuse_shrinking
from sluice.load.quarantine import ROW_ID
from sluice.load.staging import StagedFile, Target, read_parquet
from sluice.sql import listed, literal, quoted

OURS = {*STAMPS, DELETED_AT}


def exchanged(target: Target, rows: TypedRows, key: Sequence[str], staged: StagedFile) -> StagedFile:
    """The staged file as one that takes the raw table's place, and a message about what only raw held.

    Raises LoadError if there is no row of which the table's columns could be known, or, unless `--full-refresh` asked
    for it, if too few rows would remain.
    """
    held = target.context.raw.held(target.table)
    changed = target.context.reloaded.get(target.table.name)
    why = f"reloaded whole because {changed.keys} changed" if changed else "loaded from scratch"
    why = f"{target.table.qualified} was {why}"
    settled: Sequence[str] = ()
    if target.context.refreshes(target.table.name):
        settled, staged = staged.settled, replace(staged, settled=())  # its quarantine is exchanged, too
    staged = replace(staged, is_whole=True)
    if staged.file is None or not held:
        return replace(staged, message=why if changed else None)
    if not target.context.options.full_refresh:
        refuse_shrinking(target, staged.rows, target.count(f"from {target.address}"))
    described = target.con.execute(f"describe from {read_parquet(staged.file)}").fetchall()
    types = {name: kind for name, kind, *_ in described}
    lost = [name for name in held if name not in types and name not in OURS]
    if not types.keys() - OURS or (rows.may_lack_columns and lost and not staged.rows):
        raise nothing_delivered(target.table)
    only_raw = _only_in_raw(target, rows, key, staged, types)
    if changed:
        only_raw += _columns_only_in_raw(target, rows, lost, changed)
        only_raw += _bad_rows_only_in_raw(target, staged, settled)
        if only_raw:
            raise LoadError(
                f"{target.table.qualified}: {'; '.join(only_raw)}. Let that go and load everything as it is declared "
                f"now: sluice load {target.table.qualified} --full-refresh"
            )
    said = [*only_raw, *_fewer(target, staged), *_out_of_quarantine(target, staged)]
    said += [
        f"{name} is now {types[name].lower()} (was {kind.lower()})"
        for name, kind in held.items()
        if types.get(name, kind) != kind
    ]
    said += [f"without {', '.join(lost)}"] if lost else []
    return replace(
        staged,
        new_columns=tuple(name for name in types if name not in held and name not in OURS),
        lost_columns=tuple(lost),
        message=f"{why}: {'; '.join(said)}" if said else why if changed else None,
    )


def nothing_delivered(table: Table[Any]) -> LoadError:
    """The error for a source without a row and without a known column, while raw has the table."""
    return LoadError(
        f"{table.qualified}: the source delivers nothing, not even its columns, so nothing can take the raw "
        f"table's place; it stays as it is. If it is to be empty: delete from {address(table)}"
    )


def _only_in_raw(
    target: Target, rows: TypedRows, key: Sequence[str], staged: StagedFile, types: Mapping[str, str]
) -> list[str]:
    """How many of raw's rows are not in the file (its columns: `types`), and which; nothing if all are."""
    held, raw = target.context.raw.held(target.table), target.address
    assert staged.file
    read = read_parquet(staged.file)
    values = {n: f"try_cast(r.{quoted(n)} as {types[n]})" for n in held if n in types and n not in OURS}
    others = "that the source no longer has"
    if key and values.keys() >= set(key):
        same = " and ".join(f"{values[name]} = n.{quoted(name)}" for name in key)
        gone, others = f"{raw} r anti join {read} n on {same}", "with a key that the source no longer has"
    elif isinstance(rows.origin, Files):
        gone = f"{raw} r where {_left(rows.origin)}"
    elif _is_replaced(target) or not values:
        return []
    else:
        selected = ", ".join(f"{value} as {quoted(name)}" for name, value in values.items())
        gone = (
            f"(select {selected} from {raw} r except all select {', '.join(map(quoted, values))} from {read})"
        )
    kinds = {}
    if key and DELETED_AT in held:
        kinds["marked as deleted"] = f"{DELETED_AT} is not null"
    if isinstance(rows.origin, Files):
        kinds["of files that are gone"] = _left(rows.origin)
    case = " ".join(f"when {condition} then {literal(what)}" for what, condition in kinds.items())
    counts = target.con.execute(
        f"select case {case} else {literal(others)} end as why, count(*) from {gone} group by why order by why"
        if kinds
        else f"select {literal(others)}, count(*) from {gone}"
    ).fetchall()
    total = sum(count for _, count in counts)
    if not total:
        return []
    what = "holds would go" if target.table.name in target.context.reloaded else "held are gone"
    return [f"{total} row(s) that only raw {what} ({', '.join(f'{n} {why}' for why, n in counts)})"]


def _is_replaced(target: Target) -> bool:
    """Whether every load replaces the rows themselves, and did so before."""
    changed = target.context.reloaded.get(target.table.name)
    was_other = changed is not None and "write_disposition" in changed.values
    return target.table.load.disposition() == "replace" and not was_other


def _fewer(target: Target, staged: StagedFile) -> list[str]:
    """How many rows fewer a table has whose rows are replaced by every load."""
    fewer = target.count(f"from {target.address}") - staged.rows if _is_replaced(target) else 0
    return [f"{fewer} row(s) fewer than raw had"] if fewer > 0 else []


def _columns_only_in_raw(target: Target, rows: TypedRows, lost: Sequence[str], changed: Changes) -> list[str]:
    """Columns that the source no longer has, with values in raw; what the declaration leaves out is meant to go."""
    table = target.table
    of_source = [name for name, *_ in target.con.execute(f"describe {rows.relation}").fetchall()]
    delivered = {table.raw_name(name) for name in (*of_source, *rows.left_out)}
    is_meant = any(key.startswith(("columns", "header", "pattern")) for key in changed.values)
    only = []
    for name in lost:
        if name in table.excluded:  # a database does not select it, and has refused a name it does not have
            is_gone = name not in delivered and not isinstance(table.load, DatabaseTable)
        else:
            is_gone = not is_meant
        if is_gone and target.count(f"from {target.address} where {quoted(name)} is not null"):
            only.append(name)
    return [f"the source no longer has {', '.join(only)}, with values that only raw holds"] if only else []


def _bad_rows_only_in_raw(target: Target, staged: StagedFile, settled: Sequence[str]) -> list[str]:
    """How many bad rows did not come again, neither well (`settled`) nor bad."""
    if not target.context.raw.quarantine_columns(target.table):
        return []
    came = f"select unnest({list(settled)}::varchar[])"
    if staged.quarantine:
        came += f" union all select {ROW_ID} from {read_parquet(staged.quarantine.file)}"
    left = target.count(f"from {quarantine_address(target.table)} where {ROW_ID} not in ({came})")
    return [f"{left} bad row(s) in the quarantine did not come again"] if left else []


def _out_of_quarantine(target: Target, staged: StagedFile) -> list[str]:
    """How many bad rows are not bad any more; nothing if all still are."""
    if not target.context.raw.quarantine_columns(target.table):
        return []
    bad = staged.quarantine
    still = f"where {ROW_ID} not in (select {ROW_ID} from {read_parquet(bad.file)})" if bad else ""
    left = target.count(f"from {quarantine_address(target.table)} {still}")
    return [f"{left} row(s) left the quarantine, as they came well or not again"] if left else []


def _left(files: Files) -> str:
    """SQL of whether a row of raw is of a file that is no longer there."""
    return f"{FILE} not in ({listed(files.names)})"
