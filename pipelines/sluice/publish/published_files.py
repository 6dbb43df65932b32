"""Files an audience reads: written from queries, read back and compared, and encrypted again with another key."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from sluice.engine import engine
from sluice.errors import PublishError
from sluice.publish.versions import PublishedTable
from sluice.sql import literal, one_row, quoted

INEXACT = {"HUGEINT", "UHUGEINT", "INTERVAL", "TIME WITH TIME ZONE"}
"""Types DuckDB writes to Parquet as a double, in milliseconds, or in UTC: some of their values change."""


@contextmanager
def writing_connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can write encrypted files.

    It has no temporary folder, so that no unmasked value can be spilled to disk.
    """
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as con:
        engine().load_extension(con, "httpfs")  # DuckDB writes encrypted files with its OpenSSL
        con.execute("set TimeZone = 'UTC'")
        con.execute("set enable_progress_bar = false")
        yield con


def fingerprint(con: duckdb.DuckDBPyConnection, sql: str, columns: Mapping[str, str]) -> tuple[int, str]:
    """Number of rows of a query, and the sum of their hashes, which does not depend on their order."""
    values = ", ".join(f"cast({quoted(name)} as {data_type})" for name, data_type in columns.items())
    total = f"cast(coalesce(sum(cast(hash({values}) as hugeint)), 0) as varchar)"
    rows, digest = one_row(con, f"select count(*), {total} from ({sql})")
    return rows, digest


@contextmanager
def attached(
    con: duckdb.DuckDBPyConnection, path: Path, alias: str, key: str | None, *, read_only: bool = True
) -> Iterator[None]:
    """A published file as database `alias`."""
    options = (["read_only"] if read_only else []) + ([f"encryption_key {literal(key)}"] if key else [])
    con.execute(f"attach {literal(path)} as {alias} ({', '.join(options) or 'type duckdb'})")
    try:
        yield
    finally:
        con.execute(f"detach {alias}")


def opens(con: duckdb.DuckDBPyConnection, path: Path, key: str | None) -> bool:
    """Whether a published file, or a folder of Parquet files, can be read with `key`."""
    try:
        if path.suffix == ".duckdb":
            with attached(con, path, "tried", key):
                return True
        con.execute(f"{parquet_query(con, path, key)} limit 0")
    except duckdb.Error:
        return False
    return True


def write_duckdb(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    key: str | None,
    tables: Mapping[str, tuple[str, PublishedTable]],
) -> None:
    """Write `tables` (query, what it must hold) as one file; raises PublishError if one reads back differently."""
    with attached(con, path, "published", key, read_only=False):
        for name, (sql, _) in tables.items():
            con.execute(f"create table published.{quoted(name)} as {sql}")
        for name, (_, table) in tables.items():
            if table.description:
                con.execute(f"comment on table published.{quoted(name)} is {literal(table.description)}")
            for column, comment in table.comments.items():
                place = f"published.{quoted(name)}.{quoted(column)}"
                con.execute(f"comment on column {place} is {literal(comment)}")
    with attached(con, path, "published", key):
        for name, (_, expected) in tables.items():
            _verify(con, name, f"from published.{quoted(name)}", expected)


def write_parquet(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    key: str | None,
    name: str,
    sql: str,
    expected: PublishedTable,
) -> None:
    """Write one table as a folder of Hive-partitioned Parquet files; it is checked like a database file."""
    folder.mkdir(parents=True)
    options = ["format parquet", "compression zstd", *_parquet_encryption(con, key)]
    if key is None:  # DuckDB, which alone can read encrypted files, does not show their metadata
        options += _parquet_metadata(expected)
    target = folder / "data_0.parquet"
    if expected.partition_by and expected.rows:  # without rows there would be no file with the columns
        options += [
            f"partition_by ({', '.join(map(quoted, expected.partition_by))})",
            "write_partition_columns",
        ]
        target = folder
    con.execute(f"copy ({sql}) to {literal(target)} ({', '.join(options)})")
    try:
        _verify(con, name, parquet_query(con, folder, key), expected)
    except (PublishError, duckdb.ConversionException):
        if odd := [f"{column} ({kind})" for column, kind in expected.columns.items() if kind in INEXACT]:
            raise PublishError(
                f"{name}: Parquet does not hold all values of {', '.join(odd)} exactly: cast them in the model, e.g. "
                "to decimal or varchar, or publish the table to audiences with format: duckdb; nothing was published"
            ) from None
        raise


def parquet_query(con: duckdb.DuckDBPyConnection, path: Path, key: str | None) -> str:
    """A query that reads a published Parquet file or folder on `con`."""
    files = path if path.suffix == ".parquet" else path / "**" / "*.parquet"
    options = ["hive_partitioning = false", *(o.replace(" {", " = {") for o in _parquet_encryption(con, key))]
    return f"from read_parquet({literal(files)}, {', '.join(options)})"


def _parquet_metadata(table: PublishedTable) -> list[str]:
    """COPY options that put the table's description, and those of its columns as JSON, into a file's metadata."""
    described = {"description": table.description, "columns": table.comments and json.dumps(table.comments)}
    texts = ", ".join(f"{quoted(name)}: {literal(text)}" for name, text in described.items() if text)
    return [f"kv_metadata {{{texts}}}"] if texts else []


def _parquet_encryption(con: duckdb.DuckDBPyConnection, key: str | None) -> list[str]:
    """COPY options that encrypt files; Parquet needs a key of 256 bits: the SHA-256 of the audience's key."""
    if key is None:
        return []
    name = f"key_{secrets.token_hex(4)}"
    con.execute(f"pragma add_parquet_key('{name}', '{parquet_key(key)}')")
    return [f"encryption_config {{footer_key: '{name}'}}"]


def parquet_key(key: str) -> str:
    """The AES-256 key of Parquet files, in base64."""
    return base64.b64encode(hashlib.sha256(key.encode()).digest()).decode()


def rewrite(con: duckdb.DuckDBPyConnection, old: Path, new: Path, old_key: str | None, new_key: str) -> None:
    """Encrypt the content of a published file with another key; a file that `new_key` opens already is only linked."""
    new.unlink(missing_ok=True)
    if opens(con, old, new_key):
        link(old, new)
    elif new.suffix == ".parquet":
        options = ", ".join(["format parquet", "compression zstd", *_parquet_encryption(con, new_key)])
        con.execute(f"copy ({parquet_query(con, old, old_key)}) to {literal(new)} ({options})")
    else:
        with (
            attached(con, old, "rewritten", old_key),
            attached(con, new, "published", new_key, read_only=False),
        ):
            con.execute("copy from database rewritten to published")
    new.chmod(0o400)


def link(old: Path, new: Path) -> None:
    """Link a file, or a folder of files, under another name: nothing is written again."""
    if not old.is_dir():
        new.parent.mkdir(parents=True, exist_ok=True)
        os.link(old, new)
        return
    for file in sorted(old.rglob("*")):
        if not file.is_dir():
            copy = new / file.relative_to(old)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, copy)


def without_values(error: Exception) -> str:
    """DuckDB's message, unless it may quote a value."""
    if of_a_file := re.search(r'Could not \w+ file "[^"]*": .*', str(error)):
        return of_a_file[0]  # a full disk raises errors of several kinds
    telling = (duckdb.IOException, duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)
    if isinstance(error, (*telling, duckdb.OutOfMemoryException)) or not isinstance(error, duckdb.Error):
        return str(error).splitlines()[0]
    return f"{type(error).__name__}: DuckDB's message may quote values of the table and is left out"


def _verify(con: duckdb.DuckDBPyConnection, name: str, query: str, expected: PublishedTable) -> None:
    found = fingerprint(con, query, expected.columns)
    if found != (expected.rows, expected.fingerprint):
        raise PublishError(
            f"{name}: what was written reads back differently ({found[0]} rows, {expected.rows} expected); nothing was "
            "published"
        )
