"""What raw holds of the declared tables and their quarantines."""

from __future__ import annotations

from typing import Any

import duckdb

from sluice.config.column_names import FILE
from sluice.config.declaration import Table
from sluice.sql import first_value, literal, quoted

QUARANTINE = "__quarantine"
"""Ending of the name of the table that keeps the rows which cannot enter raw as they are."""


def address(table: Table[Any]) -> str:
    """The raw table in SQL."""
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def quarantine_address(table: Table[Any]) -> str:
    """The table's quarantine in SQL."""
    return f"{quoted(table.schema)}.{quoted(table.name + QUARANTINE)}"


class RawTables:
    """Answers questions about raw through a connection that has raw as its default database.

    Columns are looked up once; call `forget` after rows were committed. With `full_refresh` the tables count as
    missing, but their quarantines do not.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, *, full_refresh: bool = False) -> None:
        self._con = con
        self._full_refresh = full_refresh
        self._known: dict[str, dict[str, str]] = {}

    def forget(self) -> None:
        """Look up columns again when next asked."""
        self._known.clear()

    def columns(self, table: Table[Any]) -> dict[str, str]:
        """Columns and DuckDB types of the table; empty while it does not exist."""
        return {} if self._full_refresh else self._columns(address(table))

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

    def is_quarantined(self, table: Table[Any], **position: str | int) -> bool:
        """Whether the quarantine has a row with these values, e.g. a message at a position in a stream."""
        if not self.quarantine_columns(table):
            return False
        where = " and ".join(f"{column} = {literal(value)}" for column, value in position.items())
        return bool(first_value(self._con, f"select count(*) from {quarantine_address(table)} where {where}"))

    def _columns(self, address: str) -> dict[str, str]:
        if address not in self._known:
            raw = first_value(self._con, "select current_database()")
            try:  # not duckdb_columns(), which lists the attached source's whole catalog, too
                found = self._con.execute(
                    "select name, type from pragma_table_info(?)", [f"{quoted(raw)}.{address}"]
                ).fetchall()
            except duckdb.CatalogException:
                found = []
            self._known[address] = dict(found)
        return self._known[address]
