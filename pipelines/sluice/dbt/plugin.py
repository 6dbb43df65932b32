"""dbt-duckdb plugin: dbt waits for a running load to leave raw, instead of failing at once, and lets readers go first.

`profiles.yml` names it. dbt-duckdb's own `retries` cover the file that is built, not those that are attached.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from sluice.config.settings import keep_private, load_settings
from sluice.engine.duckdb import attach_when_free
from sluice.errors import SluiceError
from sluice.system import lower_priority


class Plugin(BasePlugin):
    """Attaches what the profile attaches, as soon as it can be; dbt-duckdb then finds it attached."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Wait up to SLUICE_LOCK_SECONDS; raises DbtRuntimeError that names who holds a file, or what is damaged."""
        lower_priority()
        settings = load_settings()
        keep_private(settings)
        seconds = settings.lock_seconds
        try:
            for attachment in (self.creds.attach if self.creds else None) or []:
                if Path(attachment.path).is_file():
                    attach_when_free(conn, attachment.to_sql(), Path(attachment.path), seconds)
        except SluiceError as error:
            raise DbtRuntimeError(str(error)) from None
