"""The graph of a project with the columns its tables have in raw and the warehouse, not only the declared ones."""

from __future__ import annotations

from typing import Any

import duckdb

from sluice.config.settings import Settings
from sluice.dbt.manifest import Manifest, bare
from sluice.dbt.run_results import merge
from sluice.lineage.graph import Graph
from sluice.lineage.project_graph import load_graph


def warehouse_graph(
    settings: Settings, connection: duckdb.DuckDBPyConnection | None, manifest: Manifest
) -> Graph:
    """The lineage of a project; `connection` reads raw and the warehouse, None where neither exists."""
    return load_graph(
        manifest,
        _catalog(connection, manifest) if connection else {},
        cache_file=settings.lineage_cache,
        root=settings.root,
        earlier={key: outcome.earlier for key, outcome in merge(settings).items()},
    )


def _catalog(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> dict[str, Any]:
    """The columns of every table that exists, in the shape of dbt's catalog.json."""
    by_name = {bare(t.relation): t for t in manifest.tables.values() if t.relation}
    found: dict[str, dict[str, Any]] = {"nodes": {}, "sources": {}}
    rows = connection.execute(
        "select lower(database_name || '.' || schema_name || '.' || table_name), column_name, data_type, column_index"
        " from duckdb_columns() where not internal order by 1, 4"
    ).fetchall()
    for name, column, sql_type, index in rows:
        if table := by_name.get(name):
            section = found["sources" if table.kind == "source" else "nodes"]
            columns = section.setdefault(table.id, {"columns": {}})["columns"]
            columns[column] = {"name": column, "type": sql_type, "index": index}
    return found
