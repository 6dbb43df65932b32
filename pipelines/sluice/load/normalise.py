"""From what was landed to one checked Parquet file that may enter raw.

Here, and only here, columns get their names and types, keys are checked, drift is refused, and rows that
raw already holds unchanged are left out. Whatever does not pass raises LoadError before raw is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from sluice.config.column_names import DELETED_AT, LOAD_ID, LOADED_AT, STAMPS, is_chosen, normalized
from sluice.config.declaration import FilesTable, Table
from sluice.engine.types import INTEGERS, Cast, RawType, cast, declared_type, raw_type
from sluice.errors import LoadError
from sluice.extract.contract import Job, Landed, literal, quoted
from sluice.load.json_records import as_columns
from sluice.load.quarantine import BadRows, Quarantined

EXAMPLES = 3
BITS_A_ROW, MOST_BITS = 64, 10**9
"""Of wider whole numbers the bits would take more memory than the keys; the second is DuckDB's own bound."""
FEW_ROWS = 2048
"""Of a group in a file, where more of them take too much memory."""
UNMARKED = ("", "0", "f", "false", "n", "no")
"""Texts in the column that marks deleted rows which say that a row is not."""
NO_COLUMNS = ("_none", "_nothing")
"""What stands in a relation of rows that have no column."""


@dataclass(frozen=True)
class StagedFile:
    """Rows of one table, ready for raw."""

    file: Path | None
    """None when raw already holds all of it."""
    read: int
    """Rows the source delivered."""
    rows: int
    """Rows in the file: new and changed ones, and those found deleted."""
    deleted: int
    """How many of them were found deleted at the source."""
    cursor: str | None
    """Highest cursor among the rows read, as text."""
    columns: list[dict[str, Any]] = field(default_factory=list)
    """dlt column hints."""
    hints: dict[str, Any] = field(default_factory=dict)
    """dlt table hints: write disposition and keys."""
    quarantine: Quarantined | None = None
    """Rows that may not enter raw as they are."""
    refused: str | None = None
    """Why nothing but the quarantine may be loaded: more bad rows than the table tolerates."""
    settled: list[str] = field(default_factory=list)
    """Rows of the quarantine that have come well since, by `_row_id`."""
    new_columns: tuple[str, ...] = ()
    """Columns raw has not had so far."""
    lost_columns: tuple[str, ...] = ()
    """Columns raw has and the source has no more."""
    gone: tuple[str, ...] = ()
    """Delivered values of a one-column identity that bring no row, so that raw's go without a successor (a file)."""


@dataclass(frozen=True)
class Column:
    source: str
    """Name in the relation."""
    name: str
    """Name in raw."""
    own: str
    """DuckDB type in the relation."""
    raw: RawType
    cast: Cast


def normalise(table: Table[Any], landed: Landed, job: Job, load_id: str, loaded_at: datetime) -> StagedFile:
    """Check and type what was landed, leave out what raw already holds, and set bad rows apart.

    Raises LoadError, with the table and the column, when a column or the whole of it would not survive the way
    into raw unaltered; single rows that would not are in `quarantine`, and `refused` when they are too many.
    """
    try:
        return _without_doubled_keys(table, landed, job, load_id, loaded_at)
    except _ReadAgainError as error:
        again = error.landed
    except (duckdb.Error, UnicodeDecodeError) as error:  # the latter where DuckDB's own has bytes of no text
        if landed.careful is None:
            raise
        _end_transaction(job.con)
        slower = landed.careful(error, ())
        if slower is None:
            raise
        again = slower
    return _without_doubled_keys(table, again, job, load_id, loaded_at)


def _without_doubled_keys(
    table: Table[Any], landed: Landed, job: Job, load_id: str, loaded_at: datetime
) -> StagedFile:
    """Nobody knows which of several different rows of a key is right: all of them are bad rows."""
    try:
        return _pack(table, landed, job, load_id, loaded_at)
    except _DoubledKeyError as error:
        return _pack(table, landed, job, load_id, loaded_at, error.keys)


class _DoubledKeyError(Exception):
    """Some keys stand for several different rows; `keys` is a SELECT of them."""

    def __init__(self, keys: str) -> None:
        super().__init__()
        self.keys = keys


class _ReadAgainError(Exception):
    """Some value was altered on the way; `landed` reads the table in a slower way."""

    def __init__(self, landed: Landed) -> None:
        super().__init__()
        self.landed = landed


def _pack(
    table: Table[Any],
    landed: Landed,
    job: Job,
    load_id: str,
    loaded_at: datetime,
    doubled: str | None = None,
) -> StagedFile:
    bad = BadRows(table, job)
    if landed.rejected:
        bad.add(landed.rejected)
    records = landed.form == "records"
    raw_records = landed
    if records:
        landed = as_columns(table, landed, job, bad)
    known = job.raw_columns(table)
    columns, drift = _columns(table, landed, landed.relation, known, job)
    key = _key(table, landed)
    merges = bool(key) and not landed.replaces and table.load.disposition() != "replace"
    needed = key if table.load.disposition() != "replace" else []

    file = job.folder / f"{table.name}.shaped.parquet"
    relation = landed.relation
    try:
        if drift.kept_out or doubled:
            raise _AltersValueError
        read = _write(table, columns, relation, landed, known, load_id, loaded_at, file, job)
        _settle_doubts(landed, file, job)
        if _without_key(needed, file, job):
            raise _AltersValueError
    except _AltersValueError:
        if records:
            relation = as_columns(table, raw_records, job, BadRows(table, job), keep=True).relation
        relation = bad.split(columns, relation, needed, drift.kept_out, doubled)
        read = _write(table, columns, relation, landed, known, load_id, loaded_at, file, job)
        _settle_doubts(landed, file, job)
    quarantined = bad.written(load_id, loaded_at)
    told: dict[str, Any] = {"new_columns": drift.new, "lost_columns": drift.lost, "quarantine": quarantined}
    if quarantined:
        read += quarantined.rows
        if quarantined.rows > table.load.tolerated(read):
            return StagedFile(None, read, 0, 0, None, **told, refused=bad.explained(quarantined.rows))
    rows = read - (quarantined.rows if quarantined else 0)
    told["settled"] = bad.settled(landed, key, file, quarantined)
    cursor = _highest_cursor(table, columns, file, job)
    if needed:
        rows = _settle_keys(table, landed, key, file, job)
    told["gone"] = _settle_deliveries(table, landed, file, rows, known, job)
    deleted = 0
    if known and (merges or (table.load.cursor and not landed.replaces)):
        file, rows, deleted = _only_changes(table, landed, key, file, known, load_id, loaded_at, job)
    if known and rows == 0 and table.load.disposition() != "replace":
        return StagedFile(None, read, 0, 0, cursor, **told)
    if known and table.load.disposition() == "replace":
        if _holds_the_same(table, file, known, job):
            return StagedFile(None, read, 0, 0, cursor, **told)
        _refuse_shrinking(table, rows, _count(job.con, f"select count(*) from {_raw(table)}"))
    if table.load.soft_delete:
        deleted += _count(job.con, f"select count(*) from {_read(file)} where {DELETED_AT} is not null")
    hints = _hints(job.con, file, columns)
    return StagedFile(file, read, rows, deleted, cursor, hints, _table_hints(table, landed, key), **told)


def _settle_doubts(landed: Landed, file: Path, job: Job) -> None:
    """Raise _ReadAgainError when a value in the file is not what the source holds."""
    if not landed.doubtful or landed.careful is None:
        return
    written = {name: kind for name, kind, *_ in job.con.execute(f"describe from {_read(file)}").fetchall()}
    looks = {}
    for name, condition in landed.doubtful.items():
        if name in written:  # the bounds of texts tell nothing; to measure one fails where it is none
            of_text = "count(*) > 0" if condition else f"count(length({quoted(name)})) < 0"
            looks[name] = of_text if written[name] == "VARCHAR" else condition
    if not looks:
        return
    try:
        row = job.con.execute(f"select {', '.join(looks.values())} from {_read(file)}").fetchone() or ()
        doubted = [name for name, some in zip(looks, row, strict=True) if some]
    except (duckdb.InvalidInputException, UnicodeDecodeError):  # a text is none
        doubted = list(looks)
    if doubted and (again := landed.careful(None, doubted)):
        raise _ReadAgainError(again)


def _without_key(key: Sequence[str], file: Path, job: Job) -> int:
    empty = " or ".join(f"{quoted(name)} is null" for name in key)
    return _count(job.con, f"select count(*) from {_read(file)} where {empty}") if key else 0


def _highest_cursor(table: Table[Any], columns: Sequence[Column], file: Path, job: Job) -> str | None:
    if not table.load.cursor or (name := normalized(table.load.cursor)) not in {c.name for c in columns}:
        return None
    row = job.con.execute(f"select max({quoted(name)}) from {_read(file)}").fetchone()
    return None if row is None or row[0] is None else str(row[0])


def _refuse_shrinking(table: Table[Any], rows: int, before: int) -> None:
    """A source that is suddenly empty or half its size is more often broken than right."""
    if rows < before * table.load.shrink_limit:
        raise LoadError(
            f"{table.qualified}: the source now has {rows} rows, raw has {before}; fewer than "
            f"{table.load.shrink_limit:.0%} of them would remain, so nothing was changed. If that is right, lower "
            f"shrink_limit in {table.file.name} (0 allows everything), or: sluice load {table.qualified} --full-refresh"
        )


def _settle_deliveries(
    table: Table[Any], landed: Landed, file: Path, rows: int, known: dict[str, str], job: Job
) -> tuple[str, ...]:
    """Deliveries (files) whose rows in raw go without a successor; refuses those that would take too many with them."""
    if not known or not landed.replaces or not landed.places:
        return ()
    (identity,) = map(quoted, landed.identity)
    brought = {
        name for (name,) in job.con.execute(f"select distinct {identity} from {_read(file)}").fetchall()
    }
    names = ", ".join(map(literal, landed.places))
    before, replaced = job.con.execute(
        f"select count(*), count(*) filter ({identity} in ({names})) from {_raw(table)}"
    ).fetchone() or (0, 0)
    if replaced:
        _refuse_shrinking(table, before - replaced + rows, before)
    return tuple(name for name in landed.places if name not in brought)


def _key(table: Table[Any], landed: Landed) -> list[str]:
    """Raw names of the columns by which rows are merged; empty for a table without a key."""
    declared = [normalized(name) for name in table.load.primary_key]
    return declared or ([] if landed.replaces else list(landed.identity))


def _table_hints(table: Table[Any], landed: Landed, key: Sequence[str]) -> dict[str, Any]:
    """dlt hints under which a package may be loaded twice, after a crash, with the same result.

    Everything is delete-insert in one transaction: by primary key, by file, or, for rows without any
    identity, by the load that brought them. `append` as dlt does it would double rows after a kill.
    """
    merge = {"disposition": "merge", "strategy": "delete-insert"}
    if table.load.disposition() == "replace" and not landed.identity:
        return {"write_disposition": "replace"}
    if landed.replaces:
        return {"write_disposition": merge, "primary_key": list(key), "merge_key": list(landed.identity)}
    if key:
        return {"write_disposition": merge, "primary_key": list(key)}
    return {"write_disposition": merge, "merge_key": [LOAD_ID]}


# -- names and types -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drift:
    new: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    kept_out: tuple[str, ...] = ()
    """Source columns that are new and whose values go to the quarantine."""


def _columns(
    table: Table[Any], landed: Landed, relation: str, known: dict[str, str], job: Job
) -> tuple[list[Column], _Drift]:
    described = {name: kind for name, kind, *_ in job.con.execute(f"describe {relation}").fetchall()}
    names = {source: normalized(source) for source in described}
    for source, name in names.items():
        if twins := [other for other in names if other != source and names[other] == name]:
            raise LoadError(
                f"{table.qualified}: the columns {source!r} and {twins[0]!r} would both be called {name!r}"
            )
    chosen = [s for s in described if is_chosen(table, s, names[s]) and s not in NO_COLUMNS]
    if ours := [s for s in chosen if names[s] in {*STAMPS, DELETED_AT}]:
        raise LoadError(
            f"{table.qualified}: the source has the column {ours[0]}, which is one of ours. Let the source give it "
            "another name, by a view, or leave it out: columns: {exclude: [...]}"
        )
    declared = {normalized(name): kind for name, kind in table.data_types.items()}
    new = [s for s in chosen if known and names[s] not in known and names[s] not in declared and s[0] != "_"]
    if new and table.load.drift == "freeze":
        raise LoadError(
            f"{table.qualified}: the source has the new column {', '.join(new)}, and drift is freeze; nothing was "
            "loaded. Declare the column, name it under columns: {exclude: [...]}, or let drift be evolve"
        )
    kept_out = new if table.load.drift == "quarantine" else []
    chosen = [s for s in chosen if s not in kept_out]
    columns = []
    for source in chosen:
        name, own = names[source], described[source]
        target = _target(table, landed, name, own, declared, known)
        mark = table.load.decimal if isinstance(table.load, FilesTable) else "."
        way = cast(quoted(source), own, target.name, mark)
        asked = name in declared or landed.types.get(name, "VARCHAR") != "VARCHAR"
        if own == "VARCHAR" and target.name != "VARCHAR" and not asked and way.keeps:
            # the source turned from numbers to text: only texts that spell the value as raw would do
            way = Cast(way.value, f"({way.keeps} and cast({way.value} as varchar) = {quoted(source)})")
        columns.append(Column(source, name, own, target, way))
    _check_drift(table, landed, columns, declared, known)
    delivered = {c.name for c in columns}
    lost = (
        [] if landed.form == "records" else [n for n in known if n not in {*delivered, *STAMPS, DELETED_AT}]
    )
    return columns, _Drift(tuple(names[s] for s in new), tuple(lost), tuple(kept_out))


def _target(
    table: Table[Any],
    landed: Landed,
    name: str,
    own: str,
    declared: dict[str, str],
    known: dict[str, str],
) -> RawType:
    """The declared type, else the one raw has, else the one the extractor asks for, else the source's."""
    if name in declared:
        target = declared_type(declared[name])
        if name in known and known[name] != target.name:
            raise LoadError(
                f"{table.qualified}.{name}: raw has {known[name].lower()}, but {table.file.name} now declares "
                f"{target.name.lower()}; types in raw do not change under what reads them. To load the table "
                f"anew: sluice load {table.qualified} --full-refresh"
            )
        return target
    if name in known:
        _check_time_zone(table, name, own, known[name])
        return raw_type(known[name])
    return raw_type(landed.types.get(name, own))


def _check_time_zone(table: Table[Any], name: str, own: str, raw: str) -> None:
    """A timestamp that gains or loses its zone names other instants, though every value casts."""
    zones = {own, raw}
    if "TIMESTAMP WITH TIME ZONE" in zones and any(
        z.startswith(("TIMESTAMP_", "DATE")) or z == "TIMESTAMP" for z in zones
    ):
        raise LoadError(
            f"{table.qualified}.{name}: is {raw.lower()} in raw, but the source now delivers {own.lower()}, so the "
            "same digits name other instants. Declare its data_type and load the table anew: "
            f"sluice load {table.qualified} --full-refresh"
        )


def _check_drift(
    table: Table[Any],
    landed: Landed,
    columns: Sequence[Column],
    declared: dict[str, str],
    known: dict[str, str],
) -> None:
    """Columns that went missing; JSON records may leave out any key, tables and files may not."""
    if landed.form == "records":
        return
    delivered = {c.name for c in columns}
    excluded = {normalized(name) for name in table.load.columns.exclude or []}
    given_up = {*delivered, *excluded, *STAMPS, DELETED_AT}
    if (lost := [n for n in known if n not in given_up]) and table.load.columns.include is None:
        raise LoadError(
            f"{table.qualified}: the source no longer has {', '.join(lost)}, which raw has; loading would fill "
            "it with nulls. If that is meant, name it under columns: {exclude: [...]}"
        )
    if absent := [n for n in declared if n not in delivered and n not in excluded]:
        have = ", ".join(c.name for c in columns if not c.name.startswith("_"))
        raise LoadError(
            f"{table.qualified}: declares {', '.join(absent)}, which the source does not have; it has {have}"
        )


def _hints(con: duckdb.DuckDBPyConnection, file: Path, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """All nullable, as DuckDB writes Parquet: dlt writes a file again that differs in that from its schema."""
    types = {c.name: c.raw for c in columns}
    hints = []
    for name, kind, *_ in con.execute(
        f"describe select * from read_parquet({literal(str(file))})"
    ).fetchall():
        own = types[name].hint if name in types else hint(kind)
        hints.append({"name": name, **own, "nullable": True})
    return hints


# -- rows ------------------------------------------------------------------------------------------------


def _write(
    table: Table[Any],
    columns: Sequence[Column],
    relation: str,
    landed: Landed,
    known: dict[str, str],
    load_id: str,
    loaded_at: datetime,
    file: Path,
    job: Job,
) -> int:
    """Write the relation under raw's names and types; a row whose value would be altered stops it."""
    selected = {}
    for column in columns:
        value = column.cast.value
        if column.cast.keeps:
            source = quoted(column.source)
            value = (
                f"case when {source} is null or {column.cast.keeps} then {value} else error('{_ALTERED}') end"
            )
        selected[column.name] = f"{value} as {quoted(column.name)}"
    if table.load.soft_delete:
        selected[DELETED_AT] = f"{_marked(table, landed, columns, loaded_at)} as {DELETED_AT}"
    if landed.keys and DELETED_AT not in known:
        known = {**known, DELETED_AT: "TIMESTAMP WITH TIME ZONE"}
    for name, kind in known.items():
        selected.setdefault(name, f"cast(null as {kind}) as {quoted(name)}")
    selected |= {LOADED_AT: _stamp(loaded_at), LOAD_ID: f"{literal(load_id)} as {LOAD_ID}"}
    # in raw's order: dlt writes a file again whose columns stand otherwise
    ordered = sorted(selected, key=lambda name: list(known).index(name) if name in known else len(known))
    try:
        return copy_to(job.con, f"select {', '.join(selected[n] for n in ordered)} from ({relation})", file)
    except duckdb.InvalidInputException as error:
        if _ALTERED not in str(error):
            raise
    _end_transaction(job.con)
    raise _AltersValueError


def _marked(table: Table[Any], landed: Landed, columns: Sequence[Column], loaded_at: datetime) -> str:
    """When a row was deleted at the source, by the column that marks it there; null: it was not."""
    name = normalized(table.load.soft_delete or "")
    column = next((c for c in columns if c.name == name), None)
    if column is None and landed.form != "records":
        raise LoadError(f"{table.qualified}: soft_delete names {name}, which the source does not have")
    if column is None:  # a key that no record has
        return "cast(null as timestamptz)"
    value, kind = f"({column.cast.value})", column.raw.name
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"cast({value} as timestamptz)"
    marks = {
        "BOOLEAN": value,
        "VARCHAR": f"lower(trim({value})) not in ({', '.join(map(literal, UNMARKED))})",
    }
    if kind not in marks and hint(kind)["data_type"] not in ("bigint", "decimal", "double"):
        raise LoadError(
            f"{table.qualified}: soft_delete: {name} is {kind.lower()}; it marks by a time, a boolean or a number"
        )
    found = f"cast({literal(loaded_at.isoformat())} as timestamptz)"
    return f"case when {marks.get(kind, f'{value} <> 0')} then {found} end"


class _AltersValueError(Exception):
    """Some row cannot enter raw as it is."""


_ALTERED = "sluice: value would be altered"


def hint(kind: str) -> dict[str, Any]:
    """dlt's hint for a column of a DuckDB type."""
    return raw_type(kind).hint


def _stamp(loaded_at: datetime, name: str = LOADED_AT) -> str:
    return f"cast({literal(loaded_at.isoformat())} as timestamptz) as {name}"


def copy_to(con: duckdb.DuckDBPyConnection, select: str, file: Path) -> int:
    """Write a SELECT to a Parquet file; returns its rows."""
    # the second version's encodings of numbers and texts are written and read faster, and take half the room
    written = f"copy ({select}) to {literal(str(file))} (format parquet, parquet_version v2"
    try:
        row = con.execute(f"{written})").fetchone()
    except duckdb.OutOfMemoryException:  # a group of very wide rows is held in memory as a whole
        _end_transaction(con)
        row = con.execute(f"{written}, row_group_size {FEW_ROWS})").fetchone()
    return int(row[0]) if row else 0


def _end_transaction(con: duckdb.DuckDBPyConnection) -> None:
    """An extractor's transaction, if there is one, does not outlive an error."""
    with suppress(duckdb.TransactionException):
        con.execute("rollback")


def _read(file: Path) -> str:
    return f"read_parquet({literal(str(file))})"


def _raw(table: Table[Any]) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def _count(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = con.execute(sql).fetchone()
    return int(row[0]) if row else 0


def explain_altered(table: Table[Any], columns: Sequence[Column], relation: str, job: Job) -> list[str]:
    """Say for each column how many values do not fit its type, and where the first of them stand."""
    lines = []
    for column in (c for c in columns if c.cast.keeps):
        source = quoted(column.source)
        bad = f"from ({relation}) where not ({source} is null or coalesce({column.cast.keeps}, false))"
        count = _count(job.con, f"select count(*) {bad}")
        if not count:
            continue
        places = [
            c.source
            for c in columns
            if c.source in ("_file", "_line", "_stream", "_partition", "_offset", "_sequence")
        ]
        places = places or [
            c.source for c in columns if c.name in table.load.primary_key and c.name not in table.classed
        ]
        shown = [*places, *([] if column.name in table.classed else [column.source])]
        examples = job.con.execute(
            f"select {', '.join(map(quoted, shown)) or 'null'} {bad} limit {EXAMPLES}"
        ).fetchall()
        first = "; ".join(
            ", ".join(f"{n} {v!r}" for n, v in zip(shown, row, strict=False)) for row in examples
        )
        lines.append(
            f"{table.qualified}.{column.name}: {count} value(s) of type {column.own.lower()} are not "
            f"{column.raw.name.lower()}, e.g. {first or 'not shown, it is personal data'}"
        )
    return lines


def _settle_keys(table: Table[Any], landed: Landed, key: Sequence[str], file: Path, job: Job) -> int:
    """Every key stands for one row: equal copies collapse, of several versions the newest stays.

    Returns the rows that are left.
    """
    keys = ", ".join(map(quoted, key))
    rows = _count(job.con, f"select count(*) from {_read(file)}")
    distinct = _distinct_keys(key, file, rows, job)
    if rows == distinct:
        return rows
    version = (
        normalized(table.load.cursor)
        if table.load.cursor
        else landed.identity[-1]
        if landed.identity
        else None
    )
    newest = (
        f" qualify {quoted(version)} is not distinct from max({quoted(version)}) over (partition by {keys})"
        if version
        else ""
    )
    settled = file.with_suffix(".settled")
    kept = copy_to(job.con, f"select distinct * from {_read(file)}{newest}", settled)
    if kept != distinct:
        doubled = file.with_suffix(".doubled")
        copy_to(job.con, f"select {keys} from {_read(settled)} group by all having count(*) > 1", doubled)
        raise _DoubledKeyError(f"from {_read(doubled)}")
    settled.replace(file)
    return kept


def _distinct_keys(key: Sequence[str], file: Path, rows: int, job: Job) -> int:
    """How many keys a file has; DuckDB's own count takes ten times as long as either of the two ways before it.

    Whole numbers that lie close are counted as bits, and keys in ascending order, as databases often have them, are
    as many as the rows.
    """
    names = list(map(quoted, key))
    bounds = ", ".join(f"min({name}), max({name}), any_value(typeof({name}))" for name in names)
    found = job.con.execute(f"select {bounds} from {_read(file)}").fetchone() if rows else None
    if found and set(found[2::3]) <= set(INTEGERS):
        number, span = "0::bigint", 1
        for name, lowest, highest in zip(names, found[::3], found[1::3], strict=True):
            number = f"({number}) * {highest - lowest + 1} + ({name}::bigint - ({lowest})::bigint)"
            span *= highest - lowest + 1
        if span <= min(rows * BITS_A_ROW, MOST_BITS):
            bits = f"bit_count(bitstring_agg({number}, 0, {span - 1}))"
            return _count(job.con, f"select {bits} from {_read(file)}")
    above = "false"
    for name in reversed(names):
        above = f"({name} > before.{name} or {name} = before.{name} and {above})"
    before = ", ".join(f"{name} := lag({name}) over ()" for name in names)
    unordered = _count(
        job.con,
        f"select count(*) filter (not {above}) from"
        f" (select {', '.join(names)}, struct_pack({before}) as before from {_read(file)})",
    )
    return (
        _count(job.con, f"select count(distinct ({', '.join(names)})) from {_read(file)}")
        if unordered
        else rows
    )


def _only_changes(
    table: Table[Any],
    landed: Landed,
    key: Sequence[str],
    file: Path,
    known: dict[str, str],
    load_id: str,
    loaded_at: datetime,
    job: Job,
) -> tuple[Path, int, int]:
    """Leave out rows raw holds unchanged (a cursor's boundary, a look-back, a table without cursor); add deletions.

    Returns the file, its rows, and how many of them were found deleted at the source.
    """
    raw = _raw(table)
    described = job.con.execute(f"describe select * from {_read(file)}").fetchall()
    delivered = [name for name, *_ in described if name not in STAMPS]
    fresh = [name for name in delivered if name not in known]
    changes = file.with_name(f"{table.name}.changes.parquet")
    newer, older, among = _boundary(table, file, known, job)
    if key:
        same = [f"n.{quoted(k)} = r.{quoted(k)}" for k in key]
        same += [
            f"n.{quoted(c)} is not distinct from r.{quoted(c)}"
            for c in delivered
            if c in known
            and c not in key
            and is_chosen(table, c, c)
            and not (c == DELETED_AT and table.load.soft_delete)
        ]
        if table.load.soft_delete and DELETED_AT in known:  # when it was found says the load, not the source
            same.append(f"(n.{DELETED_AT} is null) = (r.{DELETED_AT} is null)")
        same += [f"n.{quoted(c)} is null" for c in fresh]
        select = (
            f"select n.* from (from {_read(file)} where {older}) n"
            f" anti join (from {raw} where {among}) r on {' and '.join(same)}"
        )
    else:
        # rows without a key: as many of each as raw lacks
        names = ", ".join(map(quoted, delivered))
        shown = ", ".join(quoted(c) if c in known else f"null as {quoted(c)}" for c in delivered)
        ordered = ", ".join(quoted(name) for name, *_ in described)
        select = (
            f"select {ordered} from (select *, {_stamp(loaded_at)}, {literal(load_id)} as {LOAD_ID} from (select"
            f" {names} from {_read(file)} where {older} except all select {shown} from {raw} where {among}))"
        )
    if newer:
        select += f" union all from {_read(file)} where {newer}"
    rows = copy_to(job.con, select, changes)
    if not landed.keys:
        return changes, rows, 0
    declared = ", ".join(f"{quoted(k)} as {quoted(normalized(k))}" for k in table.load.primary_key)
    alive = f"(select {declared} from ({landed.keys}))"
    if DELETED_AT not in known:
        return changes, rows, 0
    on = " and ".join(f"r.{quoted(k)} = a.{quoted(k)}" for k in key)
    stamps = f"{_stamp(loaded_at)}, {literal(load_id)} as {LOAD_ID}, {_stamp(loaded_at, DELETED_AT)}"
    gone = (
        f"select * replace ({stamps}) from {raw} r anti join {alive} a on {on} where r.{DELETED_AT} is null"
    )
    deleted = _count(job.con, f"select count(*) from ({gone})")
    if deleted:
        alive_before = _count(job.con, f"select count(*) from {raw} where {DELETED_AT} is null")
        _refuse_shrinking(table, alive_before - deleted, alive_before)
        both = file.with_name(f"{table.name}.both.parquet")
        on_new = " and ".join(f"g.{quoted(k)} = n.{quoted(k)}" for k in key)
        rows = copy_to(
            job.con,
            f"select * from {_read(changes)} union all by name "
            f"select g.* from ({gone}) g anti join {_read(changes)} n on {on_new}",
            both,
        )
        return both, rows, deleted
    return changes, rows, 0


def _boundary(table: Table[Any], file: Path, known: dict[str, str], job: Job) -> tuple[str | None, str, str]:
    """Conditions: rows of the file raw cannot hold, the others, and the rows of raw these may be equal to.

    What has a higher cursor than anything in raw is new without a look at raw, which may be large.
    """
    name = normalized(table.load.cursor) if table.load.cursor else None
    if name is None or name not in known:
        return None, "true", "true"
    cursor, kind = quoted(name), known[name]
    # as DuckDB's own text: Python has no infinite dates
    (highest,) = job.con.execute(f"select cast(max({cursor}) as varchar) from {_raw(table)}").fetchone() or (
        None,
    )
    if highest is None:
        return None, "true", "true"
    reached = f"cast({literal(highest)} as {kind})"
    older = f"({cursor} <= {reached} or {cursor} is null)"
    lowest, nulls = job.con.execute(
        f"select cast(min({cursor}) as varchar), count(*) filter ({cursor} is null) from {_read(file)} where {older}"
    ).fetchone() or (None, 0)
    among = [f"{cursor} >= cast({literal(lowest)} as {kind})"] if lowest is not None else []
    among += [f"{cursor} is null"] if nulls else []
    return f"{cursor} > {reached}", older, " or ".join(among) or "false"


def _holds_the_same(table: Table[Any], file: Path, known: dict[str, str], job: Job) -> bool:
    """Whether raw already has exactly these rows, so that replacing them would change nothing."""
    described = job.con.execute(f"describe select * from {_read(file)}").fetchall()
    names = [name for name, *_ in described if name not in STAMPS]
    if set(names) - set(known):
        return False
    if table.load.soft_delete:
        names.remove(DELETED_AT)
    sums = f"count(*), sum(hash({', '.join(map(quoted, names))})::hugeint)"
    raw = _raw(table)
    fresh = job.con.execute(f"select {sums} from {_read(file)}").fetchone()
    return bool(fresh == job.con.execute(f"select {sums} from {raw}").fetchone())
