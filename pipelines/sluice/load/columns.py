"""Which columns of the extracted rows enter raw, under which names and types, and how they differ from raw's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.config.column_names import DELETED_AT, POSITION, STAMPS, is_chosen, normalized
from sluice.config.declaration import FilesTable, Table
from sluice.engine import engine
from sluice.engine.types import Cast, RawType
from sluice.errors import LoadError
from sluice.extract.contract import TypedRows
from sluice.load.staging import Target, read_parquet
from sluice.sql import quoted

EXAMPLES = 3
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


@dataclass(frozen=True)
class Drift:
    """How the source's columns differ from raw's."""

    new: tuple[str, ...] = ()
    """Raw names of columns that raw has not had so far."""
    lost: tuple[str, ...] = ()
    """Raw names of columns that the source no longer has."""
    kept_out: tuple[str, ...] = ()
    """Source names of new columns whose values go to the quarantine."""


def choose_columns(target: Target, rows: TypedRows, *, may_lack: bool) -> tuple[list[Column], Drift]:
    """The columns to load; `may_lack`: as JSON records do, rows may leave out any column.

    Raises LoadError where a column cannot enter raw, or raw would lose one.
    """
    table, known = target.table, target.columns
    described = {name: kind for name, kind, *_ in target.con.execute(f"describe {rows.relation}").fetchall()}
    names = _names(table, described)
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
    columns = []
    for source in (s for s in chosen if s not in kept_out):
        name, own = names[source], described[source]
        raw = _raw_type(target, rows, name, own, declared)
        way = engine().cast(
            quoted(source), own, raw.name, table.load.decimal if isinstance(table.load, FilesTable) else "."
        )
        asked = name in declared or rows.types.get(name, "VARCHAR") != "VARCHAR"
        if own == "VARCHAR" and raw.name != "VARCHAR" and not asked and way.keeps:
            # the source turned from numbers to text: only texts spelled as raw would write the value are kept
            way = Cast(way.value, f"({way.keeps} and cast({way.value} as varchar) = {quoted(source)})")
        columns.append(Column(source, name, own, raw, way))
    if may_lack:
        return columns, Drift(tuple(names[s] for s in new), (), tuple(kept_out))
    lost = _lost(table, columns, declared, known)
    return columns, Drift(tuple(names[s] for s in new), lost, tuple(kept_out))


def _names(table: Table[Any], described: Mapping[str, str]) -> dict[str, str]:
    """Raw's names by the source's."""
    names = {source: normalized(source) for source in described}
    for source, name in names.items():
        if twins := [other for other in names if other != source and names[other] == name]:
            raise LoadError(
                f"{table.qualified}: the columns {source!r} and {twins[0]!r} would both be called {name!r}"
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
    excluded = {normalized(name) for name in table.load.columns.exclude or []}
    lost = [n for n in known if n not in {*delivered, *STAMPS, DELETED_AT}]
    if (unexpected := [n for n in lost if n not in excluded]) and table.load.columns.include is None:
        raise LoadError(
            f"{table.qualified}: the source no longer has {', '.join(unexpected)}, which raw has; loading would fill "
            "it with nulls. If that is meant, name it under columns: {exclude: [...]}"
        )
    if absent := [n for n in declared if n not in delivered and n not in excluded]:
        have = ", ".join(c.name for c in columns if not c.name.startswith("_"))
        raise LoadError(
            f"{table.qualified}: declares {', '.join(absent)}, which the source does not have; it has {have}"
        )
    mark = normalized(table.load.soft_delete) if table.load.soft_delete else None
    if mark and mark not in delivered:
        raise LoadError(f"{table.qualified}: soft_delete names {mark}, which the source does not have")
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
        examples = target.con.execute(
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
