"""Rows of all tables and views, kept in a file, so that only those that may have changed are counted again."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from graphlib import TopologicalSorter

import duckdb

from sluice.config.settings import Settings
from sluice.dbt.build_state import NodeState, read_state
from sluice.dbt.manifest import Manifest, Table
from sluice.engine.raw_versions import RawVersions
from sluice.engine.warehouse import count_rows


def known_content(settings: Settings, manifest: Manifest) -> dict[str, str]:
    """By table id another text for every other content, of tables and views whose content builds and loads know.

    Empty if anything else has changed the databases since.
    """
    state, raw = read_state(settings), RawVersions(settings.raw)
    if not raw.is_known or not state.is_of(settings.warehouse):
        return {}
    known = {key: raw.version(schema, name) for key, (schema, name) in state.sources.items()}
    views = {}
    for key, node in state.nodes.items():
        table = manifest.tables.get(key)
        if table is None or not node.output:
            continue
        if table.materialized == "view":
            views[key] = node
        else:
            known[key] = " ".join(filter(None, [node.output, state.unseen_writes_at]))
    _add_views(known, views, manifest)
    return known


def _add_views(known: dict[str, str], views: Mapping[str, NodeState], manifest: Manifest) -> None:
    """A view's rows are those of what it reads now, which may have been loaded since the view was built."""
    tables = manifest.tables
    parents = {
        key: tuple({**node.inputs, **dict.fromkeys(tables[key].parents)}) for key, node in views.items()
    }
    parents |= {key: t.parents for key, t in tables.items() if t.materialized == "ephemeral"}
    for key in TopologicalSorter(parents).static_order():
        inputs = [known.get(parent, "") for parent in parents.get(key, ())]
        is_certain = key in parents and all(inputs) and not (key in views and views[key].differs)
        if is_certain:
            own = views[key].output if key in views else tables[key].compiled_sql
            known[key] = hashlib.sha256(json.dumps([own, inputs]).encode()).hexdigest()


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
