"""What raw holds of the declared tables and their quarantines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import Lock
from typing import Any

import duckdb

from sluice.config.column_names import FILE
from sluice.config.declaration import Source, Table
from sluice.sql import first_value, literal, quoted

QUARANTINE = "__quarantine"
"""Ending of the name of the table that keeps the rows which cannot enter raw as they are."""

attached_databases = Lock()
"""To be held while a source is detached from raw's database, and while the information schema is read.

That goes through all that is attached: side by side they crash the process or end in a fatal error, with DuckDB 1.5.5.
"""


def address(table: Table[Any]) -> str:
    """The raw table in SQL."""
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def quarantine_address(table: Table[Any]) -> str:
    """The table's quarantine in SQL."""
    return f"{quoted(table.schema)}.{quoted(table.name + QUARANTINE)}"


def with_raw_columns(con: duckdb.DuckDBPyConnection, source: Source[Any, Any]) -> Source[Any, Any]:
    """The source with tables that know their columns in raw, which `con` has as its default database."""
    found = con.execute(
        "select table_name, list(column_name) from duckdb_columns()"
        " where database_name = current_database() and schema_name = ? group by all",
        [source.schema],
    ).fetchall()
    columns = {name: frozenset(names) for name, names in found}

    def known(tables: Iterable[Table[Any]]) -> tuple[Table[Any], ...]:
        return tuple(replace(table, raw_columns=columns.get(table.name, frozenset())) for table in tables)

    return replace(source, tables=known(source.tables), declared=known(source.declared))


class RawTables:
    """Answers questions about raw through a connection that has raw as its default database.

    Columns are looked up once; call `forget` after rows were committed. Tables for which `is_ignored` is true count
    as missing, but their quarantines do not.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, *, is_ignored: Callable[[Table[Any]], bool] = lambda _: False
    ) -> None:
        self._con = con
        self._is_ignored = is_ignored
        self._known: dict[str, dict[str, str]] = {}
        self._raw = ""
        """The name of raw's database, quoted; known once it was asked for."""

    def forget(self) -> None:
        """Look up columns again when next asked."""
        self._known.clear()

    def columns(self, table: Table[Any]) -> dict[str, str]:
        """Columns and DuckDB types of the table; empty while it does not exist."""
        return {} if self._is_ignored(table) else self.held(table)

    def held(self, table: Table[Any]) -> dict[str, str]:
        """As `columns`, also of an ignored table."""
        return self._columns(address(table))

    def maximum(self, table: Table[Any], column: str, where: str = "true") -> Any:
        """Highest value of a column as a Python value; None without the column or rows."""
        if column not in self.columns(table):
            return None
        return first_value(self._con, f"select max({quoted(column)}) from {address(table)} where {where}")

    def quarantine_columns(self, table: Table[Any]) -> dict[str, str]:
        """Columns and DuckDB types of the table's quarantine; empty while it does not exist."""
        return self._columns(quarantine_address(table))

    def quarantined_files(self, table: Table[Any]) -> set[str]:
        """Files that have rows in the quarantine."""
        if not self.quarantine_columns(table):
            return set()
        rows = self._con.execute(f"select distinct {FILE} from {quarantine_address(table)}").fetchall()
        return {name for (name,) in rows}

    def members(self, table: Table[Any], archives: Iterable[str]) -> list[str]:
        """Files in these archives (`archive/member`) that have rows in raw or in the quarantine."""
        within = " or ".join(f"starts_with({FILE}, {literal(f'{name}/')})" for name in archives)
        places = [address(table)] if FILE in self.columns(table) else []
        places += [quarantine_address(table)] if FILE in self.quarantine_columns(table) else []
        if not within or not places:
            return []
        union = " union ".join(f"select {FILE} from {place} where {within}" for place in places)
        return [name for (name,) in self._con.execute(union).fetchall()]

    def is_quarantined(self, table: Table[Any], **position: str | int) -> bool:
        """Whether the quarantine has a row with these values, e.g. a message at a position in a stream."""
        if not self.quarantine_columns(table):
            return False
        where = " and ".join(f"{column} = {literal(value)}" for column, value in position.items())
        return bool(first_value(self._con, f"select count(*) from {quarantine_address(table)} where {where}"))

    def _columns(self, address: str) -> dict[str, str]:
        if address not in self._known:
            # not duckdb_columns(), which lists the attached source's whole catalog, too; and without a parameter, for
            # which DuckDB looks for pandas on Python's whole path each time
            raw = self._raw = self._raw or quoted(first_value(self._con, "select current_database()"))
            try:
                found = self._con.execute(
                    f"select name, type from pragma_table_info({literal(f'{raw}.{address}')})"
                ).fetchall()
            except duckdb.CatalogException:
                found = []
            self._known[address] = dict(found)
        return self._known[address]
