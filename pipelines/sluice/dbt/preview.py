"""The first rows of what a model's SQL gives, as its file is now, from the tables that are in the warehouse."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import duckdb

from sluice.config.settings import Settings
from sluice.dbt.compiling import PARSED
from sluice.dbt.kept_parse import (
    ASIDE,
    KeptParse,
    StaleParseError,
    keep_seen,
    profile_digest,
    read_kept_parse,
    refuse_stale,
)
from sluice.dbt.manifest import read_manifest
from sluice.dbt.nodes import Json
from sluice.dbt.rendering import Renderer, UnsureError
from sluice.dbt.runner import dbt
from sluice.engine import engine
from sluice.engine.warehouse import open_warehouse
from sluice.errors import SluiceError, UsageError, with_hint
from sluice.sql import listed, literal, quoted

OTHER_TABLES = ("seed", "snapshot", "source")
OURS = ("temp_directory", "memory_limit", "threads")
"""Settings of the profile that change no row."""
LINE = re.compile(r"\nLINE (\d+): ")
"""Where DuckDB says in which line of the SQL an error is."""


@dataclass(frozen=True)
class Preview:
    """Rows of a model: as DuckDB writes their values, and as JSON.

    `reason` is why dbt compiled it; "" if it did not.
    """

    model: str
    file: str
    sql: str
    reason: str
    columns: tuple[str, ...]
    texts: list[tuple[str | None, ...]]
    values: list[Json]


def preview(settings: Settings, name: str, limit: int) -> Preview:
    """The first rows of a model of the project.

    Raises UsageError for a name that is not a model's, LockedError, and SluiceError where nothing was parsed or built
    yet, and for SQL that does not run.
    """
    parse = read_kept_parse(settings.target, settings.target / ASIDE)
    if parse is None:
        raise SluiceError(f"No project was parsed yet in {settings.target}. Run `sluice build` first.")
    try:
        refuse_stale(settings, parse)
        model = _model(settings, parse, name)
        with open_warehouse(settings, is_checked=False) as connection:
            connection = _ready(settings, connection)
            sql = Renderer(settings, parse, lambda *names: _is_table(connection, names)).sql(model)
            return _query(connection, model, sql, limit, "")
    except (StaleParseError, UnsureError) as error:
        reason = str(error)
    # the warehouse is closed again: dbt opens it for writing
    model, sql = _compiled(settings, name)
    with open_warehouse(settings, is_checked=False) as connection:
        return _query(_ready(settings, connection), model, sql, limit, reason)


def _model(settings: Settings, parse: KeptParse, name: str) -> Json:
    if model := parse.models.get(name):
        if model["language"] != "sql":
            raise UsageError(
                f"{name} is a Python model, which has no SQL to run; {_by_hand(settings, model)}"
            )
        if model["config"].get("sql_header"):
            raise UsageError(f"{name} has a sql_header; use `dbt show --select {name}`")
        return model
    for node in (*parse.nodes.values(), *parse.sources.values()):
        names = (node["name"], f"{node.get('source_name')}.{node['name']}")
        if node["resource_type"] in OTHER_TABLES and name in names:
            raise UsageError(f"{name} is a {node['resource_type']}, not a model; {_by_hand(settings, node)}")
    raise UsageError(with_hint(f"There is no model {name}", name, parse.models))


def _by_hand(settings: Settings, node: Json) -> str:
    return f"query its table {node['relation_name']} with a client of DuckDB, in {settings.warehouse}"


def _compiled(settings: Settings, name: str) -> tuple[Json, str]:
    """The model, and its SQL by a dbt of its own."""
    aside = settings.target / ASIDE
    aside.mkdir(exist_ok=True)
    if (parsed := settings.target / PARSED).is_file():
        shutil.copy(parsed, aside)  # dbt then reads only the files that changed since
    before = profile_digest(settings)
    compiling = ["compile", "--select", f"resource_type:model,{name}", "--target-path", str(aside)]
    with TemporaryFile("w+", encoding="utf-8") as said:
        failed = dbt(settings, compiling, quiet=True, output=said)
        parse = read_kept_parse(aside)
        if failed or not parse:
            said.seek(0)
            raise SluiceError(f"dbt does not compile {name}:\n{said.read().strip()}")
    keep_seen(settings, before, parse)
    model = _model(settings, parse, name)
    sql = read_manifest(aside).tables[model["unique_id"]].compiled_sql
    if not sql:
        raise SluiceError(f"dbt has compiled nothing for {name}; use `dbt show --select {name}`")
    return model, sql


def _ready(settings: Settings, connection: duckdb.DuckDBPyConnection | None) -> duckdb.DuckDBPyConnection:
    """A connection in which SQL means what it means to dbt: the profile's settings, the warehouse as its database."""
    if connection is None or not settings.warehouse.is_file():
        raise SluiceError(f"{settings.warehouse} does not exist yet. Run `sluice build` first.")
    profile = settings.profile
    for key, value in ((profile.written.get("settings") if profile else None) or {}).items():
        if key not in OURS:
            connection.execute(f"set {quoted(str(key))} = {literal(value)}")
    connection.execute(f"use {quoted(settings.database)}")
    return connection


def _is_table(connection: duckdb.DuckDBPyConnection, names: tuple[str, ...]) -> bool:
    found = connection.execute(
        "select count(*) from duckdb_tables() where lower(database_name) || '.' || lower(schema_name) || '.' || "
        f"lower(table_name) in ({listed(['.'.join(names).lower()])})"
    ).fetchone()
    return bool(found and found[0])


def _query(connection: duckdb.DuckDBPyConnection, model: Json, sql: str, limit: int, reason: str) -> Preview:
    file = model["original_file_path"]
    try:
        found = connection.execute(
            f"select to_json(model), cast(columns(model.*) as varchar) from (\n{sql}\n) as model limit {limit}"
        )
        columns = tuple(column[0] for column in (found.description or ())[1:])
        rows = found.fetchall()
    except duckdb.Error as error:
        engine().refuse_damage(connection, error=error if isinstance(error, duckdb.IOException) else None)
        raise SluiceError(_explained(file, sql, str(error))) from None
    values: list[Any] = [json.loads(row[0], parse_constant=str) for row in rows]
    return Preview(model["name"], file, sql, reason, columns, [row[1:] for row in rows], values)


def _explained(file: str, sql: str, message: str) -> str:
    """DuckDB's error with the line of the compiled SQL, which begins in the second line of what was run."""
    if not (found := LINE.search(message)):
        return f"{file}: {message}"
    number = int(found[1]) - 1
    return f"{file}: line {number} of its SQL: {LINE.sub(f'{chr(10)}LINE {number}: ', message)}"
