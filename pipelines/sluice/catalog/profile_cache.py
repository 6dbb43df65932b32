"""Profiles of all tables, kept in a file, so that only tables that may have changed are read again."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache
from importlib.metadata import version
from pathlib import Path

import duckdb

from sluice.catalog import profiles
from sluice.catalog.facts import CatalogFacts
from sluice.catalog.profiles import Profile, profile
from sluice.config.settings import Settings
from sluice.lineage import Ref


def cached_profiles(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    facts: CatalogFacts,
    content: Mapping[str, str],
    on_step: Callable[[str], None],
) -> dict[str, dict[str, Profile]]:
    """Profiles of all tables by id; those of unchanged tables come from a file. `content` is that of known_content."""
    found = {}
    settings.home.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(settings.lineage_cache, timeout=30)) as store, store:
        store.execute(
            "create table if not exists profiles (key text primary key, table_id text, profile text)"
        )
        kept = dict(store.execute("select key, profile from profiles"))
        for number, (key, rows) in enumerate(facts.row_counts.items(), 1):
            on_step(f"profile {number} of {len(facts.row_counts)}")
            table = facts.manifest.tables[key]
            columns = [
                name
                for name, _ in facts.columns[key]
                if Ref(key, name.lower()) not in facts.personal and not name.startswith("_load")
            ]
            signature = _signature(facts, key, rows, columns, content.get(key))
            if signature in kept:
                found[key] = json.loads(kept[signature])
                continue
            try:
                found[key] = profile(connection, table.relation, columns, rows)
            except duckdb.Error:
                continue
            store.execute("delete from profiles where table_id = ?", [key])
            store.execute("insert into profiles values (?, ?, ?)", [signature, key, json.dumps(found[key])])
    return found


@cache
def _code() -> str:
    """Changes with any edit of what computes profiles, and with DuckDB's version."""
    return hashlib.sha256(Path(profiles.__file__).read_bytes()).hexdigest() + version("duckdb")


def _signature(facts: CatalogFacts, key: str, rows: int, columns: Sequence[str], content: str | None) -> str:
    """A hash that differs when the content of a table may have changed: as builds know it, else by its last build
    or load.
    """
    about = [_code(), facts.columns[key], list(columns), rows]
    if content:
        return hashlib.sha256(json.dumps([key, *about, content]).encode()).hexdigest()
    built = facts.history.results.get(key, [])
    loads = facts.history.loads
    newest = max((r["ended_at"] for group in loads.values() for r in group), default="")
    table = facts.manifest.tables[key]
    own = max((r["ended_at"] for r in loads.get(table.source, [])), default="") if table.source else newest
    about += [
        built[-1].at if built else "",
        own,
        table.checksum,
    ]
    return hashlib.sha256(json.dumps([key, *about]).encode()).hexdigest()
