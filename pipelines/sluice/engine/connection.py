"""The process's one DuckDB on `raw.duckdb`, with extensions that come from wheels and need no network."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb

from sluice.engine.locks import file_holder
from sluice.errors import LockedError

MEMORY = "1500MB"
"""What DuckDB may hold while it loads; what needs more goes through its temporary folder."""


def open_raw(path: Path, temp: Path, seconds: float) -> duckdb.DuckDBPyConnection:
    """Open raw for writing; keep the connection for the whole run.

    dlt opens and closes the file for every package. While this connection is open all of them share one
    database instance, so pipelines may run in threads. Times are UTC. Raises LockedError, with the other
    process in it, when the file is in use for longer than `seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temp.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    while True:
        try:
            con = duckdb.connect(str(path))
            break
        except duckdb.IOException as error:
            if not (holder := file_holder(error)):
                raise
            if time.monotonic() > deadline:
                raise LockedError(
                    f"{path} is open in another process ({holder}); DuckDB lets one process write and keeps all "
                    f"others out. Waited {seconds:.0f} s; wait for it to end, or close the program that reads the file"
                ) from None
            time.sleep(0.2)
    con.execute("set global TimeZone = 'UTC'")
    con.execute(f"set global temp_directory = '{temp}'")
    con.execute(f"set global memory_limit = '{MEMORY}'")
    return con


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension (`postgres_scanner`, `mysql_scanner`, …), installing it from its wheel if need be."""
    try:
        con.execute(f"load {name}")
    except duckdb.Error:
        from duckdb_extensions import import_extension

        import_extension(name, con=con)
        con.execute(f"load {name}")
