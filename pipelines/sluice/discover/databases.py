"""Databases: what their catalogs declare, and rows as the loader reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from sluice.config.column_names import normalized
from sluice.config.connections import Connections
from sluice.config.declaration import DatabaseSource, DatabaseTable, Source, Table
from sluice.config.yaml_file import IDENTIFIER
from sluice.discover.contract import DiscoveredColumn, DiscoveredSource, DiscoveredTable, Limits, Proposal
from sluice.discover.database_catalog import CatalogTable, read_catalog
from sluice.engine import engine
from sluice.errors import SluiceError, root_error
from sluice.extract.contract import ExtractContext, TypedRows
from sluice.extract.database import Server
from sluice.sql import first_value, literal, quoted

MAIN_SCHEMAS = {"postgres": "public", "sqlite": "main"}
"""Schemas whose tables need no schema before their name."""


def discover_database(
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    root: Path,
    *,
    name: str,
    connection: str | None,
    connections: Connections,
) -> DiscoveredSource:
    """Tables and views of a database, with rows in `con`; raises ConnectionError if it cannot be reached."""
    key = connection or name
    url = connections.require(key, "url")
    declared: Source[DatabaseSource, DatabaseTable] = Source(
        name, name, DatabaseSource(kind="database", connection=key), (), root / f"{name}.yml", 1, {}
    )
    found = DiscoveredSource(
        name,
        {"kind": "database", "connection": key},
        [],
        connection={} if connection else {"url": url},
    )
    with TemporaryDirectory(prefix="sluice-discover-") as folder:
        context = ExtractContext(
            con=con.cursor(),
            folder=Path(folder),
            connections=connections,
            state=lambda table: {},
            progress=lambda table, rows: None,
            root=root,
        )
        server = Server(url, declared, context)
        try:
            with server.watched():
                server.ready()
                catalog = read_catalog(context.con, server.catalog, server.dialect, limits)
                names = table_names(catalog, server.dialect)
                con.execute(f"create schema if not exists {quoted(name)}")
                for entry in catalog:
                    table = _describe(entry, names, server.dialect)
                    try:
                        server.ready()
                        _read(table, server, con, declared, limits)
                    except (SluiceError, duckdb.Error) as error:
                        found.skipped[entry.shown] = _reason(error, connections)
                    else:
                        found.tables.append(table)
        finally:
            server.leave()
    return found


def table_names(catalog: Sequence[CatalogTable], dialect: str) -> dict[tuple[str, str], str]:
    """Names of the dbt source tables, by schema and name at the source: each once."""
    names: dict[tuple[str, str], str] = {}
    for entry in catalog:
        plain = normalized(entry.name)
        if not IDENTIFIER.match(plain):
            plain = f"t_{plain}"
        choices = [plain, normalized(f"{entry.schema}_{entry.name}")]
        choices += [f"{plain}_{n}" for n in range(2, len(catalog) + 2)]
        names[entry.schema, entry.name] = next(c for c in choices if c not in names.values())
    return names


def _describe(entry: CatalogTable, names: dict[tuple[str, str], str], dialect: str) -> DiscoveredTable:
    name = names[entry.schema, entry.name]
    place = entry.name if entry.schema in ("", MAIN_SCHEMAS.get(dialect)) else f"{entry.schema}.{entry.name}"
    return DiscoveredTable(
        name=name,
        columns=[DiscoveredColumn(c.name, None, c.nullable, c.comment) for c in entry.columns],
        relation=None,
        rows=entry.rows,
        size_bytes=entry.size_bytes,
        comment=entry.comment,
        load={} if place == name else {"table": place},
        unique=entry.unique,
        has_primary_key=entry.has_primary_key,
        primary_key=Proposal(entry.unique[0], "the source's primary key") if entry.has_primary_key else None,
        indexed=entry.indexed,
        foreign_keys=[
            (columns, names[place], there) for columns, place, there in entry.foreign_keys if place in names
        ],
    )


def _read(
    table: DiscoveredTable,
    server: Server,
    con: duckdb.DuckDBPyConnection,
    source: Source[DatabaseSource, DatabaseTable],
    limits: Limits,
) -> None:
    """Set the types that a load gives, and bring the rows into the scratch database."""
    declared = Table(
        source.name, source.name, table.name, DatabaseTable(**table.load), (), source.file, source.line
    )
    rows = server.extract_table(declared)
    described = server.context.con.execute(f"describe {rows.relation}").fetchall()
    types = {
        str(name): _data_type(rows, declared.raw_name(str(name)), str(kind)) for name, kind, *_ in described
    }
    for column in table.columns:
        column.data_type = types.get(column.name)
    if not limits.with_rows:
        return
    file = server.context.folder / "rows.parquet"
    server.context.con.execute(f"copy (from ({rows.relation})) to {literal(str(file))} (format parquet)")
    table.relation = f"memory.{quoted(source.name)}.{quoted(table.name)}"
    con.execute(f"create table {table.relation} as from read_parquet({literal(str(file))})")
    table.rows = int(first_value(con, f"select count(*) from {table.relation}"))
    file.unlink()


def _data_type(rows: TypedRows, name: str, own: str) -> str:
    """The type that a load gives a column, as a source file declares it."""
    kind = engine().raw_type(rows.types.get(name, own)).name.lower()
    return "text" if kind == "varchar" else kind


def _reason(error: Exception, connections: Connections) -> str:
    return connections.redact(str(root_error(error))).partition("\n")[0]
