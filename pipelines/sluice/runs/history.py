"""The history of builds and loads, as the catalog shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sluice.runs.store import FailingRows, NodeResult, RunStore


class History:
    """Every build and load in the run store; empty where there is no run store."""

    def __init__(self, file: Path) -> None:
        self.results: dict[str, list[NodeResult]] = {}
        """Results by node, oldest first."""
        self.failing: dict[str, FailingRows] = {}
        """Rows of the newest failure, by test."""
        self.builds: list[dict[str, str]] = []
        self.loads: dict[tuple[str, str], list[dict[str, Any]]] = {}
        """Rows of `loads` by source and table, oldest first."""
        if not file.is_file():
            return
        store = RunStore(file)
        for row in store.builds():
            self.builds.append({"command": row["command"], "at": row["started_at"], "ended": row["ended_at"]})
        for row in store.builds("build_results"):
            self.results.setdefault(row["node"], []).append(
                NodeResult(
                    row["started_at"],
                    row["status"],
                    row["failures"],
                    row["seconds"],
                    row["row_count"],
                    row["message"] or "",
                )
            )
        for row in store.builds("build_failing_rows"):
            columns, masked = json.loads(row["columns"])
            self.failing[row["node"]] = FailingRows(
                row["started_at"], columns, masked, json.loads(row["rows"])
            )
        for row in store.loads():
            self.loads.setdefault((row["source"], row["table_name"]), []).append(dict(row))
