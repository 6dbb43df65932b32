"""Rows of all tables and views, kept in a file, so that only those that may have changed are counted again."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing

import duckdb

from sluice.config.settings import Settings
from sluice.dbt.manifest import Table
from sluice.engine.warehouse import count_rows


def cached_row_counts(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    tables: Iterable[Table],
    content: Mapping[str, str],
) -> dict[str, int]:
    """Rows by table id, of those that exist; what `content` knows is counted once, as long as it stays the same."""
    keys = {
        t.id: hashlib.sha256(json.dumps([t.id, t.relation, content[t.id]]).encode()).hexdigest()
        for t in tables
        if t.id in content
    }
    found: dict[str, int] = {}
    settings.home.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(settings.lineage_cache, timeout=30)) as store, store:
        store.execute(
            "create table if not exists row_counts (table_id text primary key, key text, row_count integer)"
        )
        kept = {row[0]: row[1:] for row in store.execute("select table_id, key, row_count from row_counts")}
        for table in tables:
            if not table.relation:
                continue
            key = keys.get(table.id)
            before, rows = kept.get(table.id, (None, None))
            if key is None or key != before:
                rows = count_rows(connection, table.relation)
                if key and rows is not None:
                    store.execute("insert or replace into row_counts values (?, ?, ?)", [table.id, key, rows])
            if rows is not None:
                found[table.id] = rows
    return found
