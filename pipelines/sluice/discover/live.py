"""Compares a declared source with its real system; rows of databases are read only where types differ."""

from __future__ import annotations

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
from sluice.discover.differences import Difference, conflicts, differences
from sluice.discover.run import declared_target, look
from sluice.errors import NotLookedAtError
from sluice.extract.database.common import DIALECTS


def live_differences(
    source: Source[Any, Any], settings: Settings, con: duckdb.DuckDBPyConnection
) -> list[Difference]:
    """What is new, gone or changed in the system of a source.

    Of a database the catalog is read. Declared files and endpoints are read as a first load would, messages of streams
    without moving a consumer; nothing is kept. Raises ConnectionError if the system cannot be reached, NotLookedAtError
    for kinds that are not looked at.
    """
    connections = Connections(settings.root, settings.connections)
    if source.kind == "database":
        return _of_database(source, settings, connections, con)
    if source.kind == "python":
        raise NotLookedAtError(
            f"{source.name} was not looked at: it is code of this project, which only a load runs"
        )
    limits = Limits(with_rows=False)
    found = look(declared_target(source, connections), settings, con, limits)
    return differences(source, found, limits, con)


def _of_database(
    source: Source[Any, DatabaseTable],
    settings: Settings,
    connections: Connections,
    con: duckdb.DuckDBPyConnection,
) -> list[Difference]:
    connection = source.load.connection
    url = connections.require(connection, "url")
    target = Target(source.name, source.kind, url, connection, source)

    def catalog(limits: Limits) -> DiscoveredSource:
        return discover_database(target, con, limits, settings.root, connections)

    limits = Limits(schemas=_schemas(source, url), with_rows=False)
    found = catalog(limits)
    if names := conflicts(source, found):
        patterns = tuple(escape(name) for name in names)
        read = {
            table.name: table for table in catalog(replace(limits, tables=patterns, with_rows=True)).tables
        }
        found.tables = [read.get(table.name, table) for table in found.tables]
    return differences(source, found, Limits(), con)


def _schemas(source: Source[Any, DatabaseTable], url: str) -> tuple[str, ...]:
    """The schemas that the source's tables are in."""
    dialect = DIALECTS.get(urlsplit(url).scheme, "")
    if dialect not in ("postgres", "mysql"):
        return ()
    default = default_schema(url, dialect)
    return tuple({(t.load.table or t.name).rpartition(".")[0] or default for t in source.declared})
