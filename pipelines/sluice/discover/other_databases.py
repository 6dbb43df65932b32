"""Databases that DuckDB does not read itself: what SQLAlchemy's inspector says, and rows as the loader reads them."""

from __future__ import annotations

from typing import Any

import duckdb

from sluice.config.declaration import DatabaseSource, DatabaseTable, Source, Table
from sluice.discover.contract import DiscoveredSource, DiscoveredTable, Limits
from sluice.discover.database_catalog import CatalogColumn, CatalogTable, chosen
from sluice.discover.database_tables import describe, not_loadable, table_names
from sluice.engine import engine as raw_engine
from sluice.errors import root_error
from sluice.extract.contract import ExtractContext
from sluice.extract.database.sqlalchemy import connected, extract_table
from sluice.sql import quoted


def add_tables(
    found: DiscoveredSource,
    url: str,
    source: Source[DatabaseSource, DatabaseTable],
    context: ExtractContext,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
) -> None:
    """Add the tables and views to what was found; raises ConnectionError if the database cannot be reached."""
    engine = connected(url, source, context)
    try:
        catalog = [table for schema in limits.schemas or [""] for table in _catalog(engine, schema)]
        catalog = chosen(catalog, limits)
        found.skipped |= {e.shown: reason for e in catalog if (reason := not_loadable(e, catalog))}
        catalog = [entry for entry in catalog if entry.shown not in found.skipped]
        names = table_names(catalog, "")
        con.execute(f"create schema if not exists {quoted(found.name)}")
        for entry in catalog:
            table = describe(entry, names, "")
            try:
                table.rows = _count(engine, entry) if limits.with_rows else None
                _read(table, url, source, context, con, limits)
            except Exception as error:  # of any driver
                said = context.connections.redact(str(root_error(error)))
                found.skipped[entry.shown] = said.partition("\n")[0]
            else:
                found.tables.append(table)
    finally:
        engine.dispose()


def _catalog(engine: Any, schema: str) -> list[CatalogTable]:
    """Tables and views of a schema, the user's own if it is empty, each asked for by itself where it has to be."""
    import sqlalchemy as sa
    from sqlalchemy.engine.reflection import ObjectKind

    inspector = sa.inspect(engine)
    asked: dict[str, Any] = {"schema": schema or None, "kind": ObjectKind.ANY}
    keys = inspector.get_multi_pk_constraint(**asked)
    foreign = inspector.get_multi_foreign_keys(**asked)
    unique = inspector.get_multi_unique_constraints(**asked)
    indexes = inspector.get_multi_indexes(**asked)
    try:
        comments = inspector.get_multi_table_comment(**asked)
    except NotImplementedError:
        comments = {}
    tables = []
    for place, columns in inspector.get_multi_columns(**asked).items():
        key = tuple((keys.get(place) or {}).get("constrained_columns") or ())
        table = CatalogTable(
            schema,
            place[1],
            (comments.get(place) or {}).get("text"),
            columns=[
                CatalogColumn(c["name"], c["nullable"], c.get("comment"), str(c["type"])) for c in columns
            ],
            unique=[key] if key else [],
            has_primary_key=bool(key),
        )
        table.unique += [tuple(u["column_names"]) for u in unique.get(place) or ()]
        firsts = [index["column_names"][0] for index in indexes.get(place) or () if index["column_names"]]
        table.indexed = {name for name in (*firsts, *(names[0] for names in table.unique)) if name}
        table.foreign_keys = [
            (
                tuple(f["constrained_columns"]),
                (f["referred_schema"] or schema, f["referred_table"]),
                tuple(f["referred_columns"]),
            )
            for f in foreign.get(place) or ()
        ]
        tables.append(table)
    return sorted(tables, key=lambda table: table.name)


def _count(engine: Any, entry: CatalogTable) -> int:
    import sqlalchemy as sa

    query = sa.select(sa.func.count()).select_from(sa.table(entry.name, schema=entry.schema or None))
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _read(
    table: DiscoveredTable,
    url: str,
    source: Source[DatabaseSource, DatabaseTable],
    context: ExtractContext,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
) -> None:
    """Set the types that a load gives; rows are read of tables that can be read whole, for others cannot be sampled."""
    declared = Table(source.name, source.name, table.name, DatabaseTable(**table.load), (), source.file, 1)
    is_read = limits.with_rows and (table.rows or 0) <= limits.whole_rows
    rows = extract_table(url, declared, source, context, None if is_read else 0)
    described = context.con.execute(f"describe {rows.relation}").fetchall()
    kinds = {
        name: raw_engine().raw_type(rows.types.get(declared.raw_name(name), own)).name
        for name, own, *_ in described
    }
    for column in table.columns:
        raw = kinds.get(column.name, "")
        column.data_type = "text" if raw == "VARCHAR" else raw.lower() or None
    if is_read:
        shown = ", ".join(
            f"try({raw_engine().cast(quoted(name), own, kinds[name]).value}) as {quoted(name)}"
            for name, own, *_ in described
        )
        table.relation = f"memory.{quoted(source.name)}.{quoted(table.name)}"
        con.execute(f"create table {table.relation} as select {shown} from ({rows.relation})")
    elif limits.with_rows:
        table.questions.append("it is too large to be looked at whole: which are its key and its cursor?")
