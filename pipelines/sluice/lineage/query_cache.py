"""Lineage of queries, kept between runs."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

from sluice.lineage.query_lineage import QueryLineage

MAX_KEPT = 20_000
"""Queries the cache may keep that a run did not use: those of other branches. One takes a few kilobytes."""


class QueryCache:
    """Lineage of queries by the hash of all that decides it; without a connection it keeps nothing."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self.connection = connection
        self.used: list[str] = []
        if connection is not None:
            connection.execute("create table if not exists queries (key text primary key, lineage text)")

    def get(self, key: str) -> QueryLineage | None:
        """The lineage kept under that key."""
        if self.connection is None:
            return None
        self.used.append(key)
        found = self.connection.execute("select lineage from queries where key = ?", [key]).fetchone()
        return QueryLineage.from_json(json.loads(found[0])) if found is not None else None

    def put(self, key: str, lineage: QueryLineage) -> None:
        """Keep a lineage under that key."""
        if self.connection is not None:
            text = json.dumps(lineage.to_json())
            self.connection.execute("insert or replace into queries values (?, ?)", [key, text])

    def close(self) -> None:
        """Drops what this run did not use once there is much of it, and writes the rest."""
        if self.connection is None:
            return
        (count,) = self.connection.execute("select count(*) from queries").fetchone()
        if count > MAX_KEPT + len(self.used):
            self.connection.execute("create temp table used (key text primary key)")
            self.connection.executemany("insert or ignore into used values (?)", [[key] for key in self.used])
            self.connection.execute("delete from queries where key not in (select key from used)")
        self.connection.commit()


@cache
def _code_version() -> str:
    """Changes with any edit of this package, so that a cache never outlives the code that filled it."""
    digest = hashlib.sha256(version("sqlglot").encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def cache_key(
    sql: str,
    schema: Mapping[str, Mapping[str, str]],
    dialect: str,
    macros: tuple[str, ...],
    database: str,
) -> str:
    text = json.dumps([_code_version(), dialect, list(macros), sql, schema, database])
    return hashlib.sha256(text.encode()).hexdigest()
