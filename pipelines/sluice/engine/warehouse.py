"""Reads raw, the warehouse and what else the profile attaches, under the names that models use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC

import duckdb

from sluice.config.settings import Settings
from sluice.engine import engine
from sluice.sql import first_value


@contextmanager
def open_warehouse(
    settings: Settings, wait: float = 0, *, is_checked: bool = True
) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """A connection with the project's databases attached read-only; None where none of their files exists.

    is_checked: look for damage first, not only after an error; reading a large file for it takes its time. Raises
    LockedError if a process still writes to one of them after `wait` seconds.
    """
    there = {name: file for name, file in settings.databases.items() if file.is_file()}
    if not there:
        yield None
        return
    with engine().open_read_only(there, settings.home / "tmp", wait, is_checked=is_checked) as connection:
        yield connection


def newest(connection: duckdb.DuckDBPyConnection, relation: str, column: str) -> str:
    """The highest time in a column, as ISO text in UTC; empty without one."""
    try:
        time = first_value(connection, f"select max(cast({column} as timestamptz)) from {relation}")
    except duckdb.Error:
        return ""
    return time.astimezone(UTC).isoformat() if time else ""


def count_rows(connection: duckdb.DuckDBPyConnection, relation: str) -> int | None:
    """Rows of a table or view; None if it does not exist or cannot be read."""
    try:
        return int(first_value(connection, f"select count(*) from {relation}"))
    except duckdb.Error:
        return None
