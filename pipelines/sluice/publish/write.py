"""Writes what an audience may see, and reads it back; values are masked in the query, before anything is stored."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from sluice.config.audiences import UNCLASSED, Audience, Treatment
from sluice.engine import engine
from sluice.errors import DeclarationError, PublishError
from sluice.privacy.masks import KEY, masked, shown_type
from sluice.publish.project import Model
from sluice.publish.versions import PublishedTable
from sluice.sql import literal, quoted

FEW_ROWS, REPEATED, MOST_VALUES = 100_000, 4, 1_000_000
"""Where a hash mask is looked up: from so many rows on, when a value comes so often on average, and up to so many
values, which are 0.2 GB. Seven million rows of ten thousand values: 1.4 s of the processors instead of 10 s."""
INEXACT = {"HUGEINT", "UHUGEINT", "INTERVAL", "TIME WITH TIME ZONE"}
"""What DuckDB writes to Parquet as a double, in milliseconds, or in UTC: some values survive, others do not."""
VALUE, DIGEST = "sluice_value", "sluice_digest"


@dataclass(frozen=True)
class Selection:
    """What one audience gets of one model."""

    sql: str
    columns: dict[str, str]
    classed: dict[str, tuple[str, Treatment]]
    condition: str | None


class Digests:
    """Hash masks of columns whose values repeat, worked out once a value and for all audiences, and looked up then.

    SHA-256 is what costs most in a publication. Values and digests are in memory only, like the query's.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._tables: dict[tuple[str, str], str | None] = {}

    def of(self, model: Model, column: str) -> str | None:
        """The table that holds a column's values as text and their masks; None where looking up would not pay."""
        key = model.relation, column
        if key not in self._tables:
            self._tables[key] = self._made(model, column)
        return self._tables[key]

    def _made(self, model: Model, column: str) -> str | None:
        text = f"cast({quoted(column)} as varchar)"
        found = self._con.execute(
            f"select count(*), approx_count_distinct({text}) from {model.relation}"
        ).fetchone()
        assert found is not None
        rows, values = found
        if rows < FEW_ROWS or values > min(rows / REPEATED, MOST_VALUES):
            return None
        table = f"digests_{len(self._tables)}"
        digest = masked(VALUE, "VARCHAR", "hash", None)
        self._con.execute(
            f"create temporary table {table} as select {VALUE}, {digest} as {DIGEST}"
            f" from (select distinct {text} as {VALUE} from {model.relation})"
        )
        return table


@contextmanager
def writing_connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can write encrypted files.

    It has no temporary folder, so nothing that is not masked yet can be spilled to disk.
    """
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as con:
        engine().load_extension(con, "httpfs")  # its OpenSSL is what writes encrypted files
        con.execute("set TimeZone = 'UTC'")
        con.execute("set enable_progress_bar = false")
        yield con


@contextmanager
def open_warehouse(path: Path, masking_key: str, seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A writing connection that reads the warehouse as database `warehouse`.

    Raises LockedError when a build writes the warehouse for longer than `seconds`.
    """
    if not path.is_file():
        raise PublishError(f"{path} does not exist; `sluice run` builds it")
    with writing_connection() as con:
        con.execute(f"set variable {KEY} = $1", [masking_key])
        engine().attach(con, path, "warehouse", seconds)
        yield con


def warehouse_columns(con: duckdb.DuckDBPyConnection, model: Model) -> dict[str, str]:
    """DuckDB type by column of the model's table; empty when it is not there."""
    return dict(
        con.execute(
            "select lower(column_name), data_type from duckdb_columns()"
            " where database_name = 'warehouse' and schema_name = $1 and table_name = $2 order by column_index",
            [model.schema, model.name],
        ).fetchall()
    )


def selection(audience: Audience, model: Model, types: Mapping[str, str], digests: Digests) -> Selection:
    """The query of what `audience` may see of `model`, whose columns in the warehouse have `types`."""
    expressions, columns, classed = [], {}, {}
    lookups: list[str] = []
    for column in model.columns:
        if column.name not in types:
            continue  # a broken contract; the gate has said so
        data_type = types[column.name]
        treatment: Treatment = audience.treatment(column.data_class or UNCLASSED)
        try:
            expression = masked(column.name, data_type, treatment, column.data_class)
        except DeclarationError as error:
            raise DeclarationError(f"{audience.name}, {model.name}: {error}") from None
        if treatment == "hash" and (table := digests.of(model, column.name)):
            lookup = f"lookup_{len(lookups)}"
            text = f"cast({quoted(column.name)} as varchar)"
            lookups.append(f" left join {table} as {lookup} on {lookup}.{VALUE} = {text}")
            expression = f"{lookup}.{DIGEST}"
        expressions.append(f"{expression} as {quoted(column.name)}")
        columns[column.name] = shown_type(data_type, treatment)
        if column.data_class and column.data_class != UNCLASSED:
            classed[column.name] = (column.data_class, treatment)
    if not expressions:
        raise DeclarationError(
            f"{model.name} is granted but declares none of its columns: nothing can be shown"
        )
    rows = condition(audience, model)
    relation = f"{model.relation} where {rows}" if rows else model.relation
    if lookups:
        relation = f"(from {relation}){''.join(lookups)}"
    return Selection(f"select {', '.join(expressions)} from {relation}", columns, classed, rows)


def condition(audience: Audience, model: Model) -> str | None:
    """Which rows of a model an audience sees; None: all."""
    rows = audience.row_filter
    if rows is None or model.name in rows.unfiltered:
        return None
    return rows.models.get(model.name, rows.condition)


def fingerprint(con: duckdb.DuckDBPyConnection, sql: str, columns: Mapping[str, str]) -> tuple[int, str]:
    """Rows of a query, and the sum of their hashes: the same for the same rows in any order."""
    values = ", ".join(f"cast({quoted(name)} as {data_type})" for name, data_type in columns.items())
    row = con.execute(
        f"select count(*), cast(coalesce(sum(cast(hash({values}) as hugeint)), 0) as varchar) from ({sql})"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def check_filter(con: duckdb.DuckDBPyConnection, audience: Audience, model: Model, chosen: Selection) -> None:
    """Raises DeclarationError when the row filter does not fit the table: no table is shown whole by accident."""
    try:
        con.execute(f"explain {chosen.sql}")
    except duckdb.Error as error:
        if chosen.condition is None:
            raise
        reason = str(error).splitlines()[0]
        raise DeclarationError(
            f"the row filter of {audience.name}, {chosen.condition!r}, does not fit {model.name} ({reason}): give it a "
            "condition under row_filter.models, or name it in row_filter.unfiltered to show it whole"
        ) from None


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
    """Whether a published file can be read with `key`."""
    try:
        with attached(con, path, "tried", key):
            return True
    except duckdb.Error:
        return False


def write_duckdb(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    key: str | None,
    tables: Mapping[str, tuple[str, PublishedTable]],
) -> None:
    """Write one database file of `tables` (query and what it must hold); raises PublishError if it reads otherwise."""
    with attached(con, path, "published", key, read_only=False):
        for name, (sql, _) in tables.items():
            con.execute(f"create table published.{quoted(name)} as {sql}")
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
    """Write one table as a folder of Parquet files, partitioned in Hive's way; checked like a database file."""
    folder.mkdir(parents=True)
    options = ["format parquet", "compression zstd", *_parquet_encryption(con, key)]
    target = folder / "data_0.parquet"
    if expected.partition_by and expected.rows:  # without rows there would be no file that says the columns
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
                f"{name}: Parquet does not hold all values of {', '.join(odd)} exactly: cast them in the model, say to "
                "decimal or varchar, or publish the table to audiences with format: duckdb; nothing was published"
            ) from None
        raise


def parquet_query(con: duckdb.DuckDBPyConnection, path: Path, key: str | None) -> str:
    """A query that reads a published Parquet file or folder on `con`."""
    files = path if path.suffix == ".parquet" else path / "**" / "*.parquet"
    options = ["hive_partitioning = false", *(o.replace(" {", " = {") for o in _parquet_encryption(con, key))]
    return f"from read_parquet({literal(files)}, {', '.join(options)})"


def parquet_opens(con: duckdb.DuckDBPyConnection, path: Path, key: str | None) -> bool:
    """Whether a published folder can be read with `key`."""
    try:
        con.execute(f"{parquet_query(con, path, key)} limit 0")
    except duckdb.Error:
        return False
    return True


def _parquet_encryption(con: duckdb.DuckDBPyConnection, key: str | None) -> list[str]:
    """COPY options for files of a key; Parquet wants 256 bits, so it is SHA-256 of the audience's key."""
    if key is None:
        return []
    name = f"key_{secrets.token_hex(4)}"
    con.execute(f"pragma add_parquet_key('{name}', '{parquet_key(key)}')")
    return [f"encryption_config {{footer_key: '{name}'}}"]


def parquet_key(key: str) -> str:
    """The AES-256 key of Parquet files, in base64."""
    return base64.b64encode(hashlib.sha256(key.encode()).digest()).decode()


def rewrite(con: duckdb.DuckDBPyConnection, old: Path, new: Path, old_key: str | None, new_key: str) -> None:
    """The content of a published file, encrypted with another key; one that `new_key` opens already stays as it is."""
    new.unlink(missing_ok=True)
    if new.suffix == ".parquet":
        if parquet_opens(con, old, new_key):
            link(old, new)
            return
        options = ", ".join(["format parquet", "compression zstd", *_parquet_encryption(con, new_key)])
        con.execute(f"copy ({parquet_query(con, old, old_key)}) to {literal(new)} ({options})")
    elif opens(con, old, new_key):
        link(old, new)
    else:
        with (
            attached(con, old, "rewritten", old_key),
            attached(con, new, "published", new_key, read_only=False),
        ):
            con.execute("copy from database rewritten to published")
    new.chmod(0o444)


def link(old: Path, new: Path) -> None:
    """The same file, or folder of files, under another name: nothing is written again."""
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
    """What DuckDB says, unless it may quote a value it could not work with."""
    if of_a_file := re.search(r'Could not \w+ file "[^"]*": .*', str(error)):
        return of_a_file[0]  # whatever kind of error DuckDB makes of a full disk
    telling = (duckdb.IOException, duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)
    if isinstance(error, (*telling, duckdb.OutOfMemoryException)) or not isinstance(error, duckdb.Error):
        return str(error).splitlines()[0]
    return f"{type(error).__name__}: DuckDB's words may quote values of the table and are left out"


def _verify(con: duckdb.DuckDBPyConnection, name: str, query: str, expected: PublishedTable) -> None:
    found = fingerprint(con, query, expected.columns)
    if found != (expected.rows, expected.fingerprint):
        raise PublishError(
            f"{name}: what was written reads back differently ({found[0]} rows, {expected.rows} expected); nothing was "
            "published"
        )
