"""What a database's catalog declares: tables, columns, comments, keys, indexes, sizes. Nothing is changed there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import duckdb

from sluice.discover.catalog_queries import QUERIES, SYSTEM, VIEW_COLUMNS
from sluice.discover.contract import Limits
from sluice.errors import UsageError, with_hint
from sluice.sql import listed, literal

Place = tuple[str, str]
"""Schema and name of a table."""


@dataclass(frozen=True)
class CatalogColumn:
    name: str
    nullable: bool
    comment: str | None
    own_type: str
    """As the database writes it."""


@dataclass
class CatalogTable:
    """A table or view."""

    schema: str
    name: str
    comment: str | None = None
    rows: int | None = None
    """As the database estimates it."""
    size_bytes: int | None = None
    is_view: bool = False
    is_readable: bool = True
    has_pages: bool = False
    """Whether it is a table of PostgreSQL's own, whose pages can be sampled."""
    columns: list[CatalogColumn] = field(default_factory=list)
    unique: list[tuple[str, ...]] = field(default_factory=list)
    """The primary key first, if there is one."""
    has_primary_key: bool = False
    indexed: set[str] = field(default_factory=set)
    """Columns that begin an index."""
    foreign_keys: list[tuple[tuple[str, ...], Place, tuple[str, ...]]] = field(default_factory=list)
    """Columns, table, columns there."""

    @property
    def shown(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def read_catalog(
    con: duckdb.DuckDBPyConnection, catalog: str, dialect: str, limits: Limits
) -> list[CatalogTable]:
    """Tables and views that the user sees, in the order of their names; `catalog` is attached to `con`."""

    def ask(query: str) -> list[tuple[Any, ...]]:
        return con.execute(f"select * from {dialect}_query({literal(catalog)}, {literal(query)})").fetchall()

    schemas = SYSTEM[dialect] if not limits.schemas else f"s in ({listed(limits.schemas)})"
    answers = {what: ask(query.format(schemas=schemas)) for what, query in QUERIES[dialect].items()}
    rows, columns = answers.pop("tables"), answers.pop("columns")
    if dialect == "sqlite":
        columns += _columns_of_views(ask, [row[1] for row in rows if int(row[5])])
    tables = {(row[0], row[1]): _table(*row) for row in rows}
    for schema, name, column, nullable, comment, own in columns:
        if table := tables.get((schema, name)):
            table.columns.append(CatalogColumn(column, bool(int(nullable)), comment or None, own))
    for answer in answers.values():
        _add_keys(tables, answer)
    return chosen(tables.values(), limits)


def _table(
    schema: str,
    name: str,
    comment: str | None,
    rows: Any,
    size: Any,
    is_view: Any,
    is_readable: Any,
    has_pages: Any,
) -> CatalogTable:
    return CatalogTable(
        schema,
        name,
        comment=comment or None,
        rows=None if rows is None else int(rows),
        size_bytes=None if size is None else int(size),
        is_view=bool(int(is_view)),
        is_readable=bool(int(is_readable)),
        has_pages=bool(int(has_pages)),
    )


def chosen(tables: Iterable[CatalogTable], limits: Limits) -> list[CatalogTable]:
    """The tables that the patterns name; raises UsageError for a pattern that names none."""
    found = list(tables)
    for pattern in limits.tables:
        if not any(_fits(table, pattern) for table in found):
            names = [name for table in found for name in (table.name, table.shown)]
            message = f"--tables {pattern!r} fits none of the {len(found)} tables that this user sees"
            raise UsageError(with_hint(message, pattern, names))
    return [t for t in found if not limits.tables or any(_fits(t, p) for p in limits.tables)]


def _fits(table: CatalogTable, pattern: str) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for name in (table.name, table.shown))


def _columns_of_views(
    ask: Callable[[str], list[tuple[Any, ...]]], views: Sequence[str]
) -> list[tuple[Any, ...]]:
    columns = []
    for view in views:
        try:
            columns += ask(VIEW_COLUMNS.format(view=literal(view)))
        except duckdb.Error:  # reading it says why
            continue
    return columns


def _add_keys(tables: dict[Place, CatalogTable], rows: Sequence[tuple[Any, ...]]) -> None:
    """Complete the tables by their keys and indexes: a row per column of each."""
    keys: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for schema, name, kind, key, *column in rows:
        keys.setdefault((schema, name, kind, key), []).append(tuple(column))
    for (schema, name, kind, _), columns in sorted(keys.items(), key=lambda item: item[0][2] != "p"):
        if (table := tables.get((schema, name))) is None:
            continue
        names = tuple(column[0] for column in columns)
        if kind == "f":
            place = (columns[0][1], columns[0][2])
            there = tuple(column[3] for column in columns)
            if None in there and place in tables:  # SQLite: the primary key
                there = tables[place].unique[0] if tables[place].has_primary_key else there
            if None not in there:
                table.foreign_keys.append((names, place, there))
            continue
        if names[0]:
            table.indexed.add(names[0])
        if kind in "pu" and None not in names and names not in table.unique:
            table.unique.append(names)
        table.has_primary_key |= kind == "p"
