"""dbt-duckdb plugin: dbt waits for a running load to leave raw, instead of failing at once, and lets readers go first.

`profiles.yml` names it. dbt-duckdb's own `retries` cover the file that is built, not those that are attached. With
`--defer` it attaches the files of the environment that is deferred to.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags
from dbt_common.exceptions import DbtRuntimeError

from sluice.config.environments import RAW, refuse_foreign_files
from sluice.config.settings import TARGET_PATH, Settings, keep_private, load_settings
from sluice.dbt.deferral import deferred_to
from sluice.engine.duckdb import attach, attach_when_free
from sluice.errors import DeclarationError, SluiceError
from sluice.system import lower_priority


class Plugin(BasePlugin):
    """Attaches what the profile attaches, as soon as it can be; dbt-duckdb then finds it attached."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Wait up to SLUICE_LOCK_SECONDS; raises DbtRuntimeError that names who holds a file, or what is damaged.

        Also raised if the target could write a file of another one.
        """
        lower_priority()
        try:
            self._attach(conn)
        except SluiceError as error:
            raise DbtRuntimeError(str(error)) from None

    def _attach(self, conn: duckdb.DuckDBPyConnection) -> None:
        settings = self._settings()
        seconds = settings.lock_seconds
        own, flags, source = settings.environment, get_flags(), None
        if own:
            refuse_foreign_files(own, settings.others)
        keep_private(settings)
        if own and not own.is_default and not getattr(flags, "TARGET_PATH", None):
            raise DeclarationError(
                f"dbt would write to target/, where the results of the default target are: set {TARGET_PATH}="
                f"{settings.target.relative_to(settings.root)}, or let `sluice build -t` run dbt"
            )
        if getattr(flags, "DEFER", False):
            source = deferred_to(
                settings, getattr(flags, "DEFER_STATE", None) or getattr(flags, "STATE", None)
            )
        if source and source.raw.is_file():
            attach(conn, source.raw, RAW, seconds)
        for attachment in (self.creds.attach if self.creds else None) or []:
            if Path(attachment.path).is_file():
                attach_when_free(conn, attachment.to_sql(), Path(attachment.path), seconds)
        if source and source.warehouse and not _has(conn, source.profile.database):
            attach(conn, source.warehouse, source.profile.database, seconds)
        elif settings.reads_production.is_file():
            for name, file in settings.databases.items():
                if file.is_file() and file != settings.warehouse and not _has(conn, name):
                    attach(conn, file, name, seconds)

    def _settings(self) -> Settings:
        """Those of the target dbt works on, which its own `--target` may have named."""
        settings = load_settings()
        path = self.creds and (settings.root / self.creds.path).resolve()
        for other in settings.others:
            if other.warehouse == path and settings.environment and settings.environment.warehouse != path:
                others = (settings.environment, *(each for each in settings.others if each is not other))
                return replace(settings, home=other.home, environment=other, others=others)
        return settings


def _has(conn: duckdb.DuckDBPyConnection, database: str) -> bool:
    found = conn.execute("select 1 from duckdb_databases() where database_name = $1", [database])
    return found.fetchone() is not None
