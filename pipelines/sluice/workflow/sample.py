"""A part of production's raw as the raw of another environment, in which no reference leads nowhere.

Rows to start with, then the children of those rows, then the parents of all that was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from sluice.config.environments import RAW
from sluice.config.settings import Settings
from sluice.config.sources import sound_sources
from sluice.dbt.deferral import MANIFEST
from sluice.dbt.manifest import read_manifest
from sluice.engine import engine
from sluice.engine.locks import locked
from sluice.errors import SluiceError, UsageError
from sluice.lineage.warehouse_graph import warehouse_graph
from sluice.sql import first_value, literal, quoted
from sluice.workflow.load import MARK, SCHEMA, is_sample, refuse_foreign_raw
from sluice.workflow.raw_relationships import RawRelationship, key_sql, raw_relationships

LOOKUP_ROWS = 1000
"""With `days`, tables up to this size are taken whole: they are lists that others refer to."""
TIMES = ("DATE", "TIMESTAMP")
"""How the types begin of columns by which rows can be taken by days."""

Table = tuple[str, str]


@dataclass(frozen=True)
class Sample:
    """What a sample holds: rows taken and rows there are, by `schema.table`."""

    rows: Mapping[str, tuple[int, int]]
    relationships: Sequence[str]
    """The references that were followed, and checked in the sample."""
    not_followed: Sequence[str]


def sample(settings: Settings, *, rows: int | None = None, days: int | None = None) -> Sample:
    """Fill raw of this environment with a part of production's; exactly one of `rows` and `days` is given.

    rows: how many to begin with in each table that refers to no other; tables up to that size are taken whole. days:
    begin with the rows of the last days, by the declared cursor, counted from its highest value in each table. An
    earlier sample is replaced; raw that loads have filled is refused. Raises UsageError where there is nothing to take
    a sample from or to, LockedError, and SluiceError if a reference of the sample leads nowhere.
    """
    source = settings.production
    if settings.environment is None or source is None:
        raise UsageError("a sample is taken from the target prod for another target: profiles.yml needs both")
    refuse_foreign_raw(settings)
    if not source.raw.is_file():
        raise UsageError(
            f"there is nothing to take a sample from: {source.problem or f'{source.raw} does not exist'}"
        )
    if settings.raw.is_file() and not is_sample(settings):
        raise UsageError(f"{settings.raw} was loaded and is not overwritten: move it away first")
    if not (source.state / MANIFEST).is_file():
        raise UsageError(
            f"{source.state / MANIFEST} does not exist, which says what refers to what; "
            f"`sluice build -t {source.name}` writes it"
        )
    with locked(settings.home, "sluice sample", settings.lock_seconds):
        new = settings.raw.with_name(f".{settings.raw.name}.new")
        new.unlink(missing_ok=True)
        files = {RAW: source.raw}
        if source.warehouse and source.warehouse.is_file():
            files[source.profile.database] = source.warehouse
        try:
            with engine().open_read_only(files, settings.home / "tmp", settings.lock_seconds) as con:
                manifest = read_manifest(source.state)
                found, left = raw_relationships(con, manifest, warehouse_graph(settings, con, manifest))
                choice = _Choice(con, found)
                choice.choose(rows, {} if days is None else _times(settings, con), days or 0)
                result = Sample(choice.write(new, rows, days), list(map(str, choice.relationships)), left)
            new.replace(settings.raw)
        finally:
            new.unlink(missing_ok=True)
    return result


def _times(settings: Settings, con: duckdb.DuckDBPyConnection) -> dict[Table, str]:
    """The declared cursor of each table, where it is a time in raw."""
    types = {
        (schema, table, column): str(kind)
        for schema, table, column, kind in con.execute(
            "select schema_name, table_name, column_name, data_type from duckdb_columns() where database_name = 'raw'"
        ).fetchall()
    }
    sources, _ = sound_sources(settings.sources, ())
    return {
        (table.schema, table.name): table.load.cursor
        for one in sources
        for table in one.tables
        if (cursor := getattr(table.load, "cursor", None))
        and types.get((table.schema, table.name, cursor), "").startswith(TIMES)
    }


class _Choice:
    """The rows that are chosen, by their row ids in raw; tables that are taken whole have none."""

    def __init__(self, con: duckdb.DuckDBPyConnection, relationships: Sequence[RawRelationship]) -> None:
        self._con = con
        listed = con.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = 'raw'"
            " and table_name not like '\\_dlt%' escape '\\' order by all"
        ).fetchall()
        self._sizes = {
            (s, t): int(first_value(con, f"select count(*) from {_raw((s, t))}")) for s, t in listed
        }
        self._chosen = {table: f"chosen_{number}" for number, table in enumerate(self._sizes)}
        self._whole: set[Table] = {table for table in self._sizes if table[0] == SCHEMA}
        self.relationships = [r for r in relationships if {_child(r), _parent(r)} <= self._sizes.keys()]
        for name in self._chosen.values():
            con.execute(f"create temporary table {name} (chosen bigint primary key)")

    def choose(self, rows: int | None, times: Mapping[Table, str], days: int) -> None:
        """Choose rows to start with, their children, and the parents of all of them."""
        limit = LOOKUP_ROWS if rows is None else rows
        self._whole |= {table for table, size in self._sizes.items() if size <= limit and table not in times}
        parts = [table for table in self._sizes if table not in self._whole]
        related = {end for r in self.relationships for end in (_child(r), _parent(r))}
        if rows is None:
            self._whole |= {table for table in parts if table not in times and table not in related}
            for table in parts:
                if table in times:
                    self._start_with_days(table, times[table], days)
            self._take_children()
        else:
            referring = {
                _child(r) for r in self.relationships if _parent(r) in parts and _parent(r) != _child(r)
            }
            for table in parts:
                if table not in referring:
                    self._start_with_rows(table, rows)
            self._take_children()
            for table in parts:  # those that refer to each other in a circle
                if not self._count(table):
                    self._start_with_rows(table, rows)
                    self._take_children()
        self._take_parents()

    def write(self, file: Path, rows: int | None, days: int | None) -> dict[str, tuple[int, int]]:
        """Write the chosen rows into a new database file, and check them there; returns rows taken and rows there."""
        self._con.execute(f"attach {literal(file)} as sample")
        for table in self._sizes:
            chosen = (
                "" if table in self._whole else f" where rowid in (select chosen from {self._chosen[table]})"
            )
            self._con.execute(f"create schema if not exists sample.{quoted(table[0])}")
            self._con.execute(f"create table {_sampled(table)} as select * from {_raw(table)}{chosen}")
        self._refuse_broken_references()
        taken = {
            ".".join(table): (int(first_value(self._con, f"select count(*) from {_sampled(table)}")), size)
            for table, size in self._sizes.items()
            if table[0] != SCHEMA
        }
        self._con.execute(f"create schema if not exists sample.{quoted(SCHEMA)}")
        self._con.execute(
            f"create table sample.{quoted(SCHEMA)}.{quoted(MARK)} as select $1::bigint as rows, $2::bigint as days,"
            " $3::timestamptz as taken_at",
            [rows, days, datetime.now(UTC)],
        )
        self._con.execute("detach sample")
        return taken

    def _refuse_broken_references(self) -> None:
        for each in self.relationships:
            lost = first_value(
                self._con,
                f"select count(*) from {_sampled(_child(each))} c where not exists"
                f" (from {_sampled(_parent(each))} p where {key_sql(each, 'c', 'p')})"
                f" and exists (from {_raw(_parent(each))} p where {key_sql(each, 'c', 'p')})",
            )
            if lost:
                raise SluiceError(f"the sample is not kept: {lost} rows of {each} have lost their parent")

    def _start_with_rows(self, table: Table, rows: int) -> None:
        """Any rows, the same ones each time."""
        self._add(table, f"select rowid from {_raw(table)} order by hash(rowid), rowid limit {rows}")

    def _start_with_days(self, table: Table, column: str, days: int) -> None:
        name, raw = quoted(column), _raw(table)
        self._add(
            table,
            f"select rowid from {raw} where {name} >= (select max({name}) from {raw}) - interval {days} day",
        )

    def _take_children(self) -> None:
        """Rows that refer to a chosen row of a table that is not whole, and those that refer to them."""
        while any(self._add(_child(each), self._children(each)) for each in self.relationships):
            pass

    def _take_parents(self) -> None:
        """Rows that a chosen row refers to, or any row of a whole table, and those that they refer to."""
        while any(self._add(_parent(each), self._parents(each)) for each in self.relationships):
            pass

    def _children(self, each: RawRelationship) -> str:
        chosen = f"p.rowid in (select chosen from {self._chosen[_parent(each)]})"
        parents = f"from {_raw(_parent(each))} p where {chosen} and {key_sql(each, 'c', 'p')}"
        return f"select c.rowid from {_raw(_child(each))} c where exists ({parents})"

    def _parents(self, each: RawRelationship) -> str:
        children = (
            f"from {_raw(_child(each))} c where {self._is_taken(_child(each))} and {key_sql(each, 'c', 'p')}"
        )
        return f"select p.rowid from {_raw(_parent(each))} p where exists ({children})"

    def _is_taken(self, table: Table) -> str:
        return "true" if table in self._whole else f"c.rowid in (select chosen from {self._chosen[table]})"

    def _add(self, table: Table, query: str) -> int:
        """Choose the rows of a query that are not chosen yet; how many there were."""
        if table in self._whole:
            return 0
        before = self._count(table)
        self._con.execute(f"insert or ignore into {self._chosen[table]} {query}")
        return self._count(table) - before

    def _count(self, table: Table) -> int:
        return int(first_value(self._con, f"select count(*) from {self._chosen[table]}"))


def _child(relationship: RawRelationship) -> Table:
    return relationship.child.schema, relationship.child.table


def _parent(relationship: RawRelationship) -> Table:
    return relationship.parent.schema, relationship.parent.table


def _raw(table: Table) -> str:
    return f"raw.{quoted(table[0])}.{quoted(table[1])}"


def _sampled(table: Table) -> str:
    return f"sample.{quoted(table[0])}.{quoted(table[1])}"
