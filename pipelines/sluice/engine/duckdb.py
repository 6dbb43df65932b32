"""DuckDB as the engine: connections to its files, and extensions that come from wheels and need no network."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from sluice.engine.types import cast, declared_type, raw_type
from sluice.errors import DamagedError, LockedError, SluiceError, VersionError
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
    "refuse_damage",
    "refuse_other_storage",
    "wait_until_free",
]

WRITER_MEMORY = "1500MB"
"""What DuckDB may hold while it loads; what needs more goes through its temporary folder."""
RAW_STORAGE = "v1.4.0"
"""The oldest DuckDB that can read raw. Texts take a third less CPU to write than in the format of older ones."""
READER_MEMORY = "2GB"
READER_THREADS = 2
POLL_SECONDS = 0.2
HELD = (errno.EAGAIN, errno.EWOULDBLOCK)
"""The system's numbers for a file that another process has locked."""
STORAGE_ERRORS = (
    duckdb.IOException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.SerializationException,
)
"""What DuckDB raises where a file holds something else than was written; a full disk and the network raise some too."""
HEADERS = 3 * 4096
"""Bytes of a DuckDB file before its blocks."""
OTHER_STORAGE = re.compile(r"version number (\d+), but we can only read versions between (\d+) and (\d+)")
"""What DuckDB says of a file whose storage it does not know."""
WRITER = slice(52, 84)
"""Bytes of the header that name the version of DuckDB which made a file."""
WAYS_BACK = {
    "raw.duckdb": "Restore it from a backup, and the next load brings what is newer. Without one, move it away and run "
    "`sluice load`: every source is read from its beginning; what only raw held is lost (deleted rows, files that have "
    "left, old messages)",
    "warehouse.duckdb": "Move it away and run `sluice build`: it is made from raw. Snapshots and incremental models "
    "begin again, unless the file is restored from a backup",
}
"""By the name of a damaged file."""

Result = TypeVar("Result")


def open_raw(file: Path, temp: Path, seconds: float) -> duckdb.DuckDBPyConnection:
    """Open raw for writing; keep the connection for the whole run.

    dlt opens and closes the file for every package. While this connection is open all of them share one
    database instance, so pipelines may run in threads. Times are UTC. Raises LockedError, with the other
    process in it, when the file is in use for longer than `seconds`, and DamagedError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temp.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        # DuckDB writes its headers one by one: killed in between it could not open the file again
        new = file.with_name(f".{file.name}.new")
        new.unlink(missing_ok=True)
        with duckdb.connect(":memory:") as con:
            con.execute(f"attach {literal(new)} as raw (storage_version '{RAW_STORAGE}')")
        new.replace(file)
    con = _once_free(
        lambda: duckdb.connect(str(file)),
        file,
        f"{file} is open in another process, {{}}, and DuckDB lets only one process in while it writes. Waited "
        f"{seconds:.0f} s; wait for it to end, or close the program that reads the file",
        seconds,
        "",
    )
    refuse_damage(con, file)
    con.execute("set global TimeZone = 'UTC'")
    con.execute(f"set global temp_directory = {literal(temp)}")
    con.execute(f"set global memory_limit = '{WRITER_MEMORY}'")
    return con


@contextmanager
def open_read_only(
    databases: Mapping[str, Path], temp: Path, seconds: float, *, is_checked: bool = True
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in memory with `databases`, files by name, attached read-only. Times are UTC.

    Raises LockedError and DamagedError as `attach` does, the latter also for what its user meets.
    """
    with duckdb.connect(":memory:", config={"temp_directory": str(temp), "threads": READER_THREADS}) as con:
        con.execute(f"set TimeZone = 'UTC'; set memory_limit = '{READER_MEMORY}'")
        for name, file in databases.items():
            attach(con, file, name, seconds, is_checked=is_checked)
        try:
            yield con
        except STORAGE_ERRORS as error:
            refuse_damage(con, error=error)
            raise


def wait_until_free(file: Path, seconds: float) -> None:
    """Return as soon as no other process has a database file open, which may be missing.

    Raises LockedError when one has it open for longer than `seconds`, and DamagedError.
    """
    if not file.is_file():
        return
    with duckdb.connect(":memory:") as con:
        _once_free(
            lambda: con.execute(f"attach {literal(file)} as file"),
            file,
            f"{file} is open in another process, {{}}. Waited {seconds:.0f} s; close it there and try again",
            seconds,
            "",
        )


def attach(
    con: duckdb.DuckDBPyConnection, file: Path, name: str, seconds: float, *, is_checked: bool = True
) -> None:
    """Let `con` read a database file as `name`; raises as `attach_when_free` does."""
    statement = f"attach {literal(file)} as {quoted(name)} (read_only)"
    attach_when_free(con, statement, file, seconds, is_checked=is_checked)


def attach_when_free(
    con: duckdb.DuckDBPyConnection, statement: str, file: Path, seconds: float, *, is_checked: bool = True
) -> None:
    """Run an ATTACH of `file` as soon as no other process writes it.

    Raises LockedError when it is written for longer than `seconds`, and DamagedError.
    """
    _once_free(
        lambda: con.execute(statement),
        file,
        f"{file} is being written by another process, {{}}, most likely a load or a build. Waited {seconds:.0f} s; "
        "try again when it has ended",
        seconds,
        "(read_only)",
    )
    if is_checked:
        refuse_damage(con, file)


def _once_free(opens: Callable[[], Result], file: Path, message: str, seconds: float, mode: str) -> Result:
    """The result of `opens`, tried again while another process has the file; `message` takes the name of that."""
    tries = Retrying(
        retry=retry_if_exception(lambda error: _reason(error, file, mode)[0] in HELD),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_after_delay(seconds),
        reraise=True,
    )
    try:
        return tries(opens)
    except duckdb.Error as error:
        number, text = _reason(error, file, mode)
        if number in HELD:
            holder = re.search(r"held in (.*? \(PID \d+\))", text)
            raise LockedError(message.format(holder[1] if holder else "unknown")) from None
        if number or not file.exists():
            raise SluiceError(f"{file} cannot be opened: {os.strerror(number or errno.ENOENT)}") from None
        _refuse_if_storage(file, text)
        raise DamagedError(file, text.splitlines()[0], way_back(file)) from None


def _reason(error: BaseException, file: Path, mode: str) -> tuple[int, str]:
    """The operating system's number of the error that opening `file` ended with, 0 without one, and DuckDB's text.

    DuckDB gives the number only in errors as JSON, so the file is attached once more.
    """
    if not isinstance(error, duckdb.IOException):
        return 0, str(error)
    with duckdb.connect(":memory:", config={"errors_as_json": True}) as con:
        try:
            con.execute(f"attach {literal(file)} as file {mode}")
        except duckdb.IOException as again:
            said = json.loads(str(again).partition(": ")[2])
            return int(said.get("errno", 0)), said["exception_message"]
        except duckdb.Error as again:
            return 0, str(again)
    return errno.EAGAIN, str(error)  # it has become free


def refuse_other_storage(file: Path) -> None:
    """Raise VersionError if this DuckDB does not know the storage of a database file; keys are not needed."""
    with duckdb.connect(":memory:") as con:
        try:
            con.execute(f"attach {literal(file)} as file (read_only)")
        except duckdb.Error as error:  # also that it is encrypted, which comes after the storage
            _refuse_if_storage(file, str(error))


def _refuse_if_storage(file: Path, text: str) -> None:
    """Raise VersionError if DuckDB's message says that the storage of a file is newer, or too old."""
    if not (found := OTHER_STORAGE.search(text)):
        return
    version, oldest, newest = map(int, found.groups())
    with file.open("rb") as opened:
        writer = (
            opened.read(WRITER.stop)[WRITER].rstrip(b"\0").decode("ascii", "replace") or "an unknown version"
        )
    age = "newer" if version > newest else "older"
    raise VersionError(
        f"{file} was made by DuckDB {writer} with storage version {version}, which is {age} than what DuckDB "
        f"{duckdb.__version__} of this engine reads ({oldest} to {newest}). Use the engine that made the file, or "
        "restore an earlier copy, see docs/upgrade.md. Nothing was changed"
    ) from None


def refuse_damage(
    con: duckdb.DuckDBPyConnection, file: Path | None = None, error: Exception | None = None
) -> None:
    """Raise DamagedError if a database file attached to `con` (by default any) cannot be read.

    `error`: the one met while working; without one all of a file is read only if it is shorter than it says.
    """
    attached = con.execute("select database_name, path, type from duckdb_databases() where path is not null")
    for name, path, kind in attached.fetchall():
        if file and not file.samefile(path):
            continue
        if kind != "duckdb":
            raise DamagedError(Path(path), f"it is a file of {kind}, not of DuckDB", way_back(Path(path)))
        if (error or _is_short(con, name, Path(path))) and (why := _unreadable(con, name)):
            raise DamagedError(Path(path), why, way_back(Path(path))) from None


def _is_short(con: duckdb.DuckDBPyConnection, name: str, file: Path) -> bool:
    blocks = con.execute(
        "select block_size * total_blocks from pragma_database_size() where database_name = ?", [name]
    ).fetchone()
    return blocks is not None and file.stat().st_size < HEADERS + blocks[0]


def _unreadable(con: duckdb.DuckDBPyConnection, database: str) -> str | None:
    """Why not every value of a database can be read, in DuckDB's words; reads all of them."""
    try:
        tables = con.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = ?", [database]
        ).fetchall()
        for schema, table in tables:
            address = ".".join(map(quoted, (database, schema, table)))
            con.execute(f"select count(hash(whole)) from {address} as whole").fetchall()
    except STORAGE_ERRORS as error:
        return str(error).splitlines()[0]
    return None


def way_back(file: Path) -> str:
    """What to do about a damaged database file."""
    return WAYS_BACK.get(file.name, "Restore it from a backup")


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
