"""A published version, opened for strangers: read-only, without files, network, settings or temporary folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from pipelines.errors import PublishError
from pipelines.publish.versions import Versions
from pipelines.publish.write import literal


@dataclass(frozen=True)
class Limits:
    """What all readers of a server may use."""

    memory_mb: int = 2048
    """Of all queries together; there is no spilling to disk."""
    seconds: float = 60
    """For one query, fetching its rows included."""
    queries: int = 8
    """At the same time."""


class Engine:
    """One version in one locked DuckDB; closed when it is retired and its last query has ended."""

    def __init__(
        self, versions: Versions, version: str, audience: str, key: str | None, limits: Limits
    ) -> None:
        manifest = versions.read(version)
        published = manifest.audiences.get(audience)
        if published is None or published.format != "duckdb":
            raise PublishError(f"version {version} has no DuckDB file for the audience {audience!r}")
        self.version = version
        self.tables = frozenset(published.tables)
        columns = (name for table in published.tables.values() for name in table.columns)
        self.names = frozenset(name.lower() for name in (*self.tables, *columns))
        self._users = 0
        self._is_retired = False
        self._lock = threading.Lock()
        self._con = duckdb.connect(
            ":memory:",
            config={
                "temp_directory": "",
                "memory_limit": f"{limits.memory_mb}MB",
                "python_enable_replacements": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
            },
        )
        file = versions.path(version) / f"{audience}.duckdb"
        option = f", encryption_key '{literal(key)}'" if key else ""
        for statement in (
            f"attach '{literal(file)}' as published (read_only{option})",
            "use published",
            "set global TimeZone = 'UTC'",
            "set enable_external_access = false",
            "set lock_configuration = true",
        ):
            self._con.execute(statement)

    def enter(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the version; give it back with `leave`."""
        with self._lock:
            self._users += 1
            cursor = self._con.cursor()
        cursor.execute("use published")
        return cursor

    def leave(self, cursor: duckdb.DuckDBPyConnection) -> None:
        cursor.close()
        with self._lock:
            self._users -= 1
        self._close_if_done()

    def retire(self) -> None:
        """No new queries come; those that run go on."""
        self._is_retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        with self._lock:
            if self._is_retired and not self._users:
                self._con.close()


class Engines:
    """The engine of the current version; looks at the link before every query."""

    def __init__(self, versions: Versions, audience: str, key: str | None, limits: Limits) -> None:
        self._versions = versions
        self._audience = audience
        self._key = key
        self._limits = limits
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @contextmanager
    def opened(self) -> Iterator[tuple[Engine, duckdb.DuckDBPyConnection]]:
        """The engine of the version readers get, and a connection; raises PublishError when nothing is published."""
        with self._lock:
            current = self._versions.current
            if current is None:
                raise PublishError("nothing is published yet; `sluice publish` does it")
            if self._engine is None or self._engine.version != current:
                old = self._engine
                self._engine = Engine(self._versions, current, self._audience, self._key, self._limits)
                if old:
                    old.retire()
            engine = self._engine
            cursor = engine.enter()
        try:
            yield engine, cursor
        finally:
            engine.leave(cursor)
