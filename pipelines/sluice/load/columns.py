"""Which columns of the extracted rows enter raw, under which names and types, and how they differ from raw's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.config.column_names import DELETED_AT, FILE, POSITION, STAMPS
from sluice.config.declaration import FilesTable, PythonTable, Table
from sluice.engine import engine
from sluice.engine.types import Cast, RawType
from sluice.errors import LoadError
from sluice.extract.contract import TypedRows
from sluice.load.staging import Target, read_parquet
from sluice.sql import quoted

EXAMPLES = 3
NAMED_FILES = 20
"""Files named in one message; of the others, their number."""
NO_COLUMNS = ("_none", "_nothing")
"""Placeholder columns for rows without any column."""


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
    form: str = ""
    """How its texts write a date or time, in words; empty: as ISO does."""


@dataclass(frozen=True)
class Drift:
    """How the source's columns differ from raw's."""

    new: tuple[str, ...] = ()
    """Raw names of columns that raw has not had so far."""
    lost: tuple[str, ...] = ()
    """Raw names of columns that the source no longer has."""
    kept_out: tuple[str, ...] = ()
    """Source names of new columns whose values go to the quarantine."""


def choose_columns(target: Target, rows: TypedRows) -> tuple[list[Column], Drift]:
    """The columns to load; raises LoadError where one cannot enter raw, or raw would lose one."""
    table, known = target.table, target.columns
    described = {name: kind for name, kind, *_ in target.con.execute(f"describe {rows.relation}").fetchall()}
    names = _names(table, described, may_lack=rows.may_lack_columns)
    chosen = [s for s in described if table.is_chosen(s, names[s]) and s not in NO_COLUMNS]
    if ours := [s for s in chosen if names[s] in {*STAMPS, DELETED_AT}]:
        raise LoadError(
            f"{table.qualified}: the source has the column {ours[0]}, which is one of ours. Let the source give it "
            "another name, by a view, or leave it out: columns: {exclude: [...]}"
        )
    declared = table.data_types
    held = target.context.raw.held(table)  # also of a table that is refreshed
    expected = {*held, *(table.raw_name(column.name) for column in table.columns)}
    new = [s for s in chosen if held and names[s] not in expected and s[0] != "_"]
    if new and table.load.drift == "freeze":
        raise LoadError(
            f"{table.qualified}: the source has the new column {', '.join(new)}, and drift is freeze; nothing was "
            "loaded. Declare the column, name it under columns: {exclude: [...]}, or let drift be evolve"
        )
    kept_out = new if table.load.drift == "quarantine" else []
    columns = []
    for source in (s for s in chosen if s not in kept_out):
        name, own = names[source], described[source]
        raw = _raw_type(target, rows, name, own, declared)
        way, form = _cast(table, source, name, own, raw.name)
        asked = name in declared or rows.types.get(name, "VARCHAR") != "VARCHAR"
        if own == "VARCHAR" and raw.name != "VARCHAR" and not asked and way.keeps:
            # the source turned from numbers to text: only texts spelled as raw would write the value are kept
            way = Cast(way.value, f"({way.keeps} and cast({way.value} as varchar) = {quoted(source)})")
        columns.append(Column(source, name, own, raw, way, form))
    loaded = {c.name for c in columns}
    if lacking := [name for name in table.load.primary_key if table.raw_name(name) not in loaded]:
        raise LoadError(
            f"{table.qualified}: primary_key names {', '.join(lacking)}, which is not among the columns that are "
            f"loaded: {table.shown(c.source for c in columns if not c.name.startswith('_'))}"
        )
    if rows.may_lack_columns:
        return columns, Drift(tuple(names[s] for s in new), (), tuple(kept_out))
    lost = _lost(table, columns, declared, known)
    return columns, Drift(tuple(names[s] for s in new), lost, tuple(kept_out))


def _cast(table: Table[Any], source: str, name: str, own: str, raw: str) -> tuple[Cast, str]:
    """How a column enters raw, and how its texts write a date or time, in words."""
    load, declared = table.load, table.moment_format(name, raw)
    if not isinstance(load, FilesTable):
        return engine().cast(quoted(source), own, raw), ""
    way = engine().cast(quoted(source), own, raw, load.decimal)
    if declared is None or own not in ("VARCHAR", "JSON"):
        return way, ""
    written = engine().cast(quoted(source), own, raw, load.decimal, declared[1])
    if load.format == "excel":  # a cell that is a date has arrived in ISO form
        is_iso = f"coalesce({way.keeps}, false)"
        value = f"case when {is_iso} then {way.value} else {written.value} end"
        written = Cast(value, f"({is_iso} or {written.keeps})")
    return written, f" in the form {declared[1]}"


def _names(table: Table[Any], described: Mapping[str, str], *, may_lack: bool) -> dict[str, str]:
    """Raw's names by the source's."""
    have = [name for name in described if not name.startswith("_")]
    names = {source: table.raw_name(source) for source in described}
    wanted = table.load.columns
    renamed = [("renames", name) for name in wanted.rename if name not in described]
    included = [("includes", n) for n in wanted.include or () if table.raw_name(n) not in names.values()]
    if not may_lack and (unknown := [*renamed, *included]):
        does, name = unknown[0]
        raise LoadError(
            f"{table.qualified}: columns {does} {name!r}, which the source does not have; it has "
            f"{', '.join(map(repr, have))}"
        )
    for source, name in names.items():
        if twins := [other for other in names if other != source and names[other] == name]:
            raise LoadError(
                f"{table.qualified}: the columns {source!r} and {twins[0]!r} would both be called {name!r}; nothing "
                f"was loaded. Give one of them another name: columns: {{rename: {{{source!r}: {name}_2}}}}"
            )
    return names


def _raw_type(target: Target, rows: TypedRows, name: str, own: str, declared: Mapping[str, str]) -> RawType:
    """The declared type, else the one raw has, else the one the extractor asks for, else the source's."""
    table, known = target.table, target.columns
    if name in declared:
        wanted = engine().declared_type(declared[name])
        if name in known and known[name] != wanted.name:
            raise LoadError(
                f"{table.qualified}.{name}: raw has {known[name].lower()}, but {table.file.name} now declares "
                f"{wanted.name.lower()}; types in raw do not change under what reads them. To reload the "
                f"table: sluice load {table.qualified} --full-refresh"
            )
        return wanted
    if name in known:
        _check_time_zone(table, name, own, known[name])
        return engine().raw_type(known[name])
    return engine().raw_type(rows.types.get(name, own))


def _check_time_zone(table: Table[Any], name: str, own: str, raw: str) -> None:
    """Refuse a timestamp that gains or loses its zone: every value casts, but to another instant."""
    zones = {own, raw}
    if "TIMESTAMP WITH TIME ZONE" in zones and any(
        z.startswith(("TIMESTAMP_", "DATE")) or z == "TIMESTAMP" for z in zones
    ):
        raise LoadError(
            f"{table.qualified}.{name}: is {raw.lower()} in raw, but the source now delivers {own.lower()}, so the "
            "same digits name other instants. Declare its data_type and reload the table: "
            f"sluice load {table.qualified} --full-refresh"
        )


def _lost(
    table: Table[Any], columns: Sequence[Column], declared: Mapping[str, str], known: Mapping[str, str]
) -> tuple[str, ...]:
    """Raw's columns that the source no longer has; LoadError unless they are excluded."""
    delivered = {c.name for c in columns}
    have = table.shown(c.source for c in columns if not c.name.startswith("_"))
    lost = [n for n in known if n not in {*delivered, *STAMPS, DELETED_AT}]
    if unexpected := [n for n in lost if table.is_chosen(n, n)]:
        is_python = isinstance(table.load, PythonTable)
        optional = "; a key that dicts may lack is declared with its data_type" if is_python else ""
        raise LoadError(
            f"{table.qualified}: the source no longer has {', '.join(unexpected)}, which raw has; loading would fill "
            "it with nulls. If that is meant, name it under columns: {exclude: [...]}, and let raw keep what it has: "
            f"sluice load {table.qualified} --keep-rows{optional}"
        )
    mark = table.load.soft_delete
    if mark and table.raw_name(mark) not in delivered:
        raise LoadError(
            f"{table.qualified}: soft_delete names {mark}, which the source does not have; it has {have}"
        )
    if absent := [n for n in declared if n not in delivered and n not in table.excluded]:
        raise LoadError(
            f"{table.qualified}: declares {', '.join(absent)}, which the source does not have; it has {have}"
        )
    return tuple(lost)


def column_hints(target: Target, file: Path, columns: Sequence[Column] = ()) -> list[dict[str, Any]]:
    """dlt's hints for a file's columns; all nullable, because otherwise dlt would rewrite the file."""
    types = {c.name: c.raw for c in columns}
    described = target.con.execute(f"describe select * from {read_parquet(file)}").fetchall()
    return [
        {"name": name, **(types[name] if name in types else engine().raw_type(kind)).hint, "nullable": True}
        for name, kind, *_ in described
    ]


def explain_altered(target: Target, columns: Sequence[Column], relation: str) -> list[str]:
    """One message per column: how many values do not fit its type, and where the first of them are."""
    table, lines = target.table, []
    for column in (c for c in columns if c.cast.keeps):
        source = quoted(column.source)
        bad = f"from ({relation}) where not ({source} is null or coalesce({column.cast.keeps}, false))"
        if not (count := target.count(bad)):
            continue
        position = [c.source for c in columns if c.source in POSITION] or [
            c.source for c in columns if c.name in table.load.primary_key and c.name not in table.classed
        ]
        shown = [*position, *([] if column.name in table.classed else [column.source])]
        examples, more = first_examples(target, shown, bad)
        first = "; ".join(
            ", ".join(f"{n} {v!r}" for n, v in zip(shown, row, strict=False)) for row in examples
        )
        first += more
        lines.append(
            f"{table.qualified}.{column.name}: {count} value(s) of type {column.own.lower()} are not "
            f"{column.raw.name.lower()}{column.form}, e.g. {first or 'not shown, it is personal data'}"
        )
    return lines


def first_examples(target: Target, shown: Sequence[str], bad: str) -> tuple[list[tuple[Any, ...]], str]:
    """The columns `shown` of some rows of a FROM clause, and how many files are not named.

    Those are at least the first row of each file, up to NAMED_FILES.
    """
    listed = ", ".join(map(quoted, shown)) or "null"
    if FILE not in shown:
        return target.con.execute(f"select {listed} {bad} order by all limit {EXAMPLES}").fetchall(), ""
    others = ", ".join(quoted(n) for n in shown if n != FILE) or "null"
    rows = target.con.execute(
        f"select {listed}, row_number() over (partition by {FILE} order by {others}) as nth {bad}"
        f" order by nth, {FILE}, {others} limit {NAMED_FILES}"
    ).fetchall()
    more = target.count(f"from (select distinct {FILE} {bad})") - NAMED_FILES
    some = [row[:-1] for place, row in enumerate(rows) if row[-1] == 1 or place < EXAMPLES]
    return some, f"; and {more} more file(s)" if more > 0 else ""
