"""Parquet files with rows on their way into a raw table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from sluice.config.column_names import LOAD_ID, LOADED_AT
from sluice.config.declaration import Table
from sluice.engine.raw import address
from sluice.extract.contract import ExtractContext
from sluice.sql import first_value, literal

GROUP_ROWS, FEW_ROWS = 20_480, 2048
"""Rows per group in a file, which stay in the processor's cache; and if those take too much memory."""
GROUP_VALUES = 2_000_000
"""Values per group at most. With 1,000 columns, groups of 8,192 rows reach the limit of DuckDB's memory, and take four
times as long as groups of 2,048 rows until then."""


@dataclass(frozen=True)
class Target:
    """The raw table that rows are staged for, and the load that brings them."""

    table: Table[Any]
    context: ExtractContext
    load_id: str
    loaded_at: datetime

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        return self.context.con

    @property
    def columns(self) -> Mapping[str, str]:
        """Columns and DuckDB types that raw has; empty while the table does not exist."""
        return self.context.raw.columns(self.table)

    @property
    def address(self) -> str:
        return address(self.table)

    @property
    def now(self) -> str:
        """The time of the load in SQL."""
        return f"cast({literal(self.loaded_at.isoformat())} as timestamptz)"

    @property
    def stamps(self) -> str:
        """The columns that every load writes, in SQL."""
        return f"{self.now} as {LOADED_AT}, {literal(self.load_id)} as {LOAD_ID}"

    def file(self, what: str) -> Path:
        return self.context.folder / f"{self.table.name}.{what}.parquet"

    def count(self, from_clause: str) -> int:
        """Rows of a FROM clause."""
        return int(first_value(self.con, f"select count(*) {from_clause}"))


@dataclass(frozen=True)
class QuarantineFile:
    """Bad rows of one load, ready for the quarantine."""

    file: Path
    rows: int
    columns: Sequence[Mapping[str, Any]]
    """dlt column hints."""


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """Rows of one table, ready for raw."""

    file: Path | None = None
    """None when raw already holds all of it."""
    read: int
    """Rows the source delivered."""
    rows: int = 0
    """Rows in the file: new and changed ones, and those found deleted."""
    deleted: int = 0
    """How many of them were found deleted at the source."""
    cursor: str | None = None
    """Highest cursor among the rows read, as text."""
    columns: Sequence[Mapping[str, Any]] = ()
    """dlt column hints."""
    hints: Mapping[str, Any] = field(default_factory=dict)
    """dlt table hints: write disposition and keys."""
    is_whole: bool = False
    """Whether the file takes the place of the raw table, if there is one, with all of its columns and bad rows."""
    quarantine: QuarantineFile | None = None
    """Rows that may not enter raw as they are."""
    refused: str | None = None
    """Why nothing but the quarantine may be loaded: more bad rows than the table tolerates."""
    settled: Sequence[str] = ()
    """Rows of the quarantine that have arrived well since, by `_row_id`."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """Goes into the table's dlt state together with the rows."""
    message: str | None = None
    """What its exchange takes away, and how its columns change."""
    new_columns: tuple[str, ...] = ()
    """Columns raw has not had so far."""
    lost_columns: tuple[str, ...] = ()
    """Columns raw has and the source no longer has."""
    emptied: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Files that no longer bring rows, so that raw's are to be deleted, by the column that names them."""
    gone: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The source's files of which only some rows are staged, with the lines that raw is to delete."""
    moved: int = 0
    """How many of the rows raw has already, on another line."""


def read_parquet(file: Path) -> str:
    """The file in SQL."""
    return f"read_parquet({literal(file)})"


def copy_to(con: duckdb.DuckDBPyConnection, select: str, file: Path, columns: int = 1) -> int:
    """Write a SELECT to a Parquet file; returns its rows. `columns`: about how many there are."""
    rows = max(FEW_ROWS, min(GROUP_ROWS, GROUP_VALUES // columns))
    # the second version's encodings of numbers and texts are written and read faster, and take half the space
    written = f"copy ({select}) to {literal(file)} (format parquet, parquet_version v2, row_group_size"
    try:
        row = con.execute(f"{written} {rows})").fetchone()
    except duckdb.OutOfMemoryException:  # a group of very wide rows is held in memory as a whole
        end_transaction(con)
        row = con.execute(f"{written} {FEW_ROWS})").fetchone()
    return int(row[0]) if row else 0


def end_transaction(con: duckdb.DuckDBPyConnection) -> None:
    """An extractor's transaction, if there is one, does not outlive an error."""
    with suppress(duckdb.TransactionException):
        con.execute("rollback")
