"""Compares a declared source with its real system; rows of databases are read only where types differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from glob import escape
from typing import Any
from urllib.parse import urlsplit

import duckdb

from sluice.config.connections import Connections
from sluice.config.declaration import DatabaseTable, Source
from sluice.config.settings import Settings
from sluice.discover.contract import DiscoveredSource, Limits, Target
from sluice.discover.database_tables import default_schema
from sluice.discover.databases import discover_database
from sluice.discover.differences import Difference, conflicts, differences, in_columns
from sluice.discover.trial_load import TrialLoads
from sluice.errors import NotLookedAtError
from sluice.extract.database.common import DIALECTS

UNSEEN = {
    "stream": "reading it would move its consumers",
    "python": "it is code of this project, which only a load runs",
}
"""Kinds whose systems are not looked at, and why."""


def live_differences(
    source: Source[Any, Any], settings: Settings, con: duckdb.DuckDBPyConnection
) -> list[Difference]:
    """What is new, gone or changed in the system of a source.

    Of a database the catalog is read; files and endpoints are read as a first load would, and nothing is kept. Raises
    ConnectionError if the system cannot be reached, NotLookedAtError for kinds that are not looked at.
    """
    connections = Connections(settings.root, settings.connections)
    if source.kind == "database":
        return _of_database(source, settings, connections, con)
    if source.kind in UNSEEN:
        raise NotLookedAtError(f"{source.name} was not looked at: {UNSEEN[source.kind]}")
    return list(_by_reading(source, settings, connections))


def _of_database(
    source: Source[Any, DatabaseTable],
    settings: Settings,
    connections: Connections,
    con: duckdb.DuckDBPyConnection,
) -> list[Difference]:
    connection = source.load.connection
    url = connections.require(connection, "url")
    target = Target(source.name, source.kind, url, connection, source)

    def look(limits: Limits) -> DiscoveredSource:
        return discover_database(target, con, limits, settings.root, connections)

    limits = Limits(schemas=_schemas(source, url), with_rows=False)
    found = look(limits)
    if names := conflicts(source, found):
        patterns = tuple(escape(name) for name in names)
        read = {table.name: table for table in look(replace(limits, tables=patterns, with_rows=True)).tables}
        found.tables = [read.get(table.name, table) for table in found.tables]
    return differences(source, found, Limits(), con)


def _schemas(source: Source[Any, DatabaseTable], url: str) -> tuple[str, ...]:
    """The schemas that the source's tables are in."""
    dialect = DIALECTS.get(urlsplit(url).scheme, "")
    if dialect not in ("postgres", "mysql"):
        return ()
    default = default_schema(url, dialect)
    return tuple({(t.load.table or t.name).rpartition(".")[0] or default for t in source.declared})


def _by_reading(
    source: Source[Any, Any], settings: Settings, connections: Connections
) -> Iterator[Difference]:
    with TrialLoads(source.name, source.load.model_dump(), connections, settings.root).opened() as trials:
        for table in source.declared:
            trial = trials.read(table)
            if trial.problem:
                message = f"would not load: {trial.problem.partition(chr(10))[0]}"
                yield Difference("unreadable table", table.qualified, message, table.line, breaks=True)
            elif trial.columns:
                yield from in_columns(table, trial.columns)
