"""Which tables of the warehouse a build made from other SQL than a revision has: they cannot stand for the revision's.

Such a warehouse was built from a third branch, or before the base changed.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sluice.config.settings import Settings
from sluice.dbt.build_state import read_state, with_ids
from sluice.review.query_equivalence import same_query
from sluice.review.revision import Revision


class BuiltTables:
    """What the last build made in the warehouse, compared with a revision; nothing is known if it changed since."""

    def __init__(self, settings: Settings, revision: Revision) -> None:
        state = read_state(settings.home)
        self._built = state.nodes if state.is_of(settings.warehouse) else {}
        self._nodes, self._root = revision.tables, revision.root
        self._others: dict[str, bool] = {}

    def is_other(self, key: str) -> bool:
        """Whether the warehouse has a table or view of a node, by its unique id, that is known to be another one.

        Also where only something above it is another. What keeps the rows of earlier builds is taken as it is.
        """
        node = self._nodes.get(key)
        if node is None or node["config"]["materialized"] in ("incremental", "snapshot"):
            return False
        if key not in self._others:
            parents = node["depends_on"].get("nodes") or []
            self._others[key] = self._differs(key, node) or any(map(self.is_other, parents))
        return self._others[key]

    def _differs(self, key: str, node: Any) -> bool:
        if (built := self._built.get(key)) is None:
            return False
        if node["resource_type"] == "seed":
            content = (self._root / node["original_file_path"]).read_bytes()
            return hashlib.sha256(content).hexdigest() != built.sql
        sql = node.get("compiled_code")
        return bool(sql) and not same_query(built.sql, with_ids(sql, self._read(key)))

    def _read(self, key: str) -> dict[str, str]:
        """Unique ids by relation: of the node, and of what it reads, also through ephemeral models."""
        found: dict[str, str] = {}
        waiting = [key]
        while waiting:
            node = self._nodes.get(one := waiting.pop())
            if node is None:
                continue
            if relation := node.get("relation_name"):
                found[relation] = one
            if one == key or node["config"]["materialized"] == "ephemeral":
                waiting += node["depends_on"].get("nodes") or []
        return found
