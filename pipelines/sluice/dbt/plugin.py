"""dbt-duckdb plugin: dbt waits for a running load to leave raw, instead of failing at once, and lets readers go first.

`profiles.yml` names it. dbt-duckdb's own `retries` cover the file that is built, not those that are attached.
"""

from __future__ import annotations

import time

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from sluice.config.settings import load_settings
from sluice.engine.locks import file_holder
from sluice.system import lower_priority


class Plugin(BasePlugin):
    """Attaches what the profile attaches, as soon as it can be; dbt-duckdb then finds it attached."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Wait up to SLUICE_LOCK_SECONDS; raises DbtRuntimeError that names who holds the file."""
        lower_priority()
        attachments = self.creds.attach if self.creds else None
        seconds = load_settings().lock_seconds
        deadline = time.monotonic() + seconds
        for attachment in attachments or []:
            while True:
                try:
                    conn.execute(attachment.to_sql())
                    break
                except duckdb.IOException as error:
                    if not (holder := file_holder(error)):
                        raise
                    if time.monotonic() > deadline:
                        raise DbtRuntimeError(
                            f"{attachment.path} is in use by {holder}, most likely a load. Waited {seconds:.0f} s; "
                            "try again when it has ended"
                        ) from None
                time.sleep(0.2)
