"""DuckDB as the engine: connections to its files, and extensions that come from wheels and need no network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from sluice.engine.types import cast, declared_type, raw_type
from sluice.errors import LockedError
from sluice.sql import literal, quoted

__all__ = [
    "attach",
    "cast",
    "declared_type",
    "dlt_destination",
    "load_extension",
    "open_raw",
    "open_read_only",
    "raw_type",
]

WRITER_MEMORY = "1500MB"
"""What DuckDB may hold while it loads; what needs more goes through its temporary folder."""
READER_MEMORY = "2GB"
READER_THREADS = 2
POLL_SECONDS = 0.2

Result = TypeVar("Result")


def open_raw(file: Path, temp: Path, seconds: float) -> duckdb.DuckDBPyConnection:
    """Open raw for writing; keep the connection for the whole run.

    dlt opens and closes the file for every package. While this connection is open all of them share one
    database instance, so pipelines may run in threads. Times are UTC. Raises LockedError, with the other
    process in it, when the file is in use for longer than `seconds`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temp.mkdir(parents=True, exist_ok=True)
    con = _once_free(
        lambda: duckdb.connect(str(file)),
        f"{file} is open in another process, {{}}, and DuckDB lets only one process in while it writes. Waited "
        f"{seconds:.0f} s; wait for it to end, or close the program that reads the file",
        seconds,
    )
    con.execute("set global TimeZone = 'UTC'")
    con.execute(f"set global temp_directory = {literal(temp)}")
    con.execute(f"set global memory_limit = '{WRITER_MEMORY}'")
    return con


@contextmanager
def open_read_only(
    databases: Mapping[str, Path], temp: Path, seconds: float
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in memory with `databases`, files by name, attached read-only. Times are UTC.

    Raises LockedError as `attach` does.
    """
    with duckdb.connect(":memory:", config={"temp_directory": str(temp), "threads": READER_THREADS}) as con:
        con.execute(f"set TimeZone = 'UTC'; set memory_limit = '{READER_MEMORY}'")
        for name, file in databases.items():
            attach(con, file, name, seconds)
        yield con


def attach(con: duckdb.DuckDBPyConnection, file: Path, name: str, seconds: float) -> None:
    """Let `con` read a database file as `name`; raises LockedError when it is written for longer than `seconds`."""
    attach_when_free(con, f"attach {literal(file)} as {quoted(name)} (read_only)", file, seconds)


def attach_when_free(
    con: duckdb.DuckDBPyConnection, statement: str, file: Path | str, seconds: float
) -> None:
    """Run an ATTACH of `file` as soon as no other process writes it."""
    _once_free(
        lambda: con.execute(statement),
        f"{file} is being written by another process, {{}}, most likely a load or a build. Waited {seconds:.0f} s; "
        "try again when it has ended",
        seconds,
    )


def _once_free(opens: Callable[[], Result], message: str, seconds: float) -> Result:
    """The result of `opens`, tried again while another process has the file; `message` takes the name of that."""
    tries = Retrying(
        retry=retry_if_exception(lambda error: _holder(error) is not None),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_after_delay(seconds),
        reraise=True,
    )
    try:
        return tries(opens)
    except duckdb.IOException as error:
        if (holder := _holder(error)) is None:
            raise
        raise LockedError(message.format(holder)) from None


def _holder(error: BaseException) -> str | None:
    """The process that keeps DuckDB from opening a file, in DuckDB's words; None when the error is another one."""
    if not isinstance(error, duckdb.IOException) or "lock" not in str(error).lower():
        return None
    found = re.search(r"held in (.*? \(PID \d+\))", str(error))
    return found[1] if found else "unknown"


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension (`postgres_scanner`, `mysql_scanner`, …), installing it from its wheel if need be."""
    try:
        con.execute(f"load {name}")
    except duckdb.Error:
        from duckdb_extensions import import_extension

        import_extension(name, con=con)
        con.execute(f"load {name}")


def dlt_destination(file: Path) -> Any:
    """The destination of every pipeline: the DuckDB file `file`."""
    from sluice.engine.dlt_destination import raw_destination  # dlt takes 0.7 s to import

    return raw_destination(file)
