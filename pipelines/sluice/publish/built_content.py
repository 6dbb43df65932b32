"""What the last build knows of the content of tables, so that publishing reads only those that changed."""

from __future__ import annotations

import hashlib
import hmac
import json
from importlib.metadata import version

import duckdb

from sluice.config.settings import Settings
from sluice.dbt.build_state import known_content
from sluice.dbt.manifest import bare
from sluice.engine.differing import Queries
from sluice.publish.granted_models import Model
from sluice.publish.selection import Selection

VERSIONS = [f"{name} {version(name)}" for name in ("sluice", "duckdb")]
"""Other ones may mask, hash or write otherwise."""


class BuiltContent:
    """Tells whether a query gives the rows it gave before, without reading them.

    To be made while the warehouse is attached: nothing changes it then. key: of the hash mask. It also keeps readers of
    a version's manifest from finding out, by trying, what they are not shown.
    """

    def __init__(self, settings: Settings, con: duckdb.DuckDBPyConnection, key: str) -> None:
        self._contents = known_content(settings)
        databases = settings.databases.items()
        self._databases = {name.lower() for name, file in databases if file == settings.warehouse}
        self._queries = Queries(con)
        self._key = key.encode()

    def digest(self, model: Model, chosen: Selection) -> str:
        """Of all that decides the rows of `chosen`, a query without look-ups; empty where the build does not know it.

        Equal digests of two publications: the table, its masks and their key, and the row filter are the same.
        """
        content = self._contents.get(model.unique_id)
        if not content or model.database.lower() not in self._databases:
            return ""
        rows = f"from {model.relation} where ({chosen.condition})"
        if chosen.condition and self._queries.differing(rows, [bare(model.relation)]):
            return ""  # the row filter reads a clock or another table
        decides = [*VERSIONS, model.relation, content, chosen.sql, list(chosen.columns.items())]
        return hmac.new(self._key, json.dumps(decides).encode(), hashlib.sha256).hexdigest()
