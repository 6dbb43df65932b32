"""What dbt last said of each model and test, kept beside the warehouse it was said of.

dbt overwrites `target/run_results.json` with every command, also with those that build nothing and those that
build a part; what was said before still holds for the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sluice.config.settings import Settings

BUILDING = {"build", "run", "test", "seed", "snapshot", "retry"}
COMPILED = {"model", "snapshot", "test"}


@dataclass(frozen=True)
class Outcome:
    """What became of one node; `completed_at` is ISO time, UTC."""

    status: str
    message: str
    failures: int
    completed_at: str
    compiled: str | None = None
    """The SQL that ran; the manifest holds that of the last command's nodes only."""

    @property
    def failed(self) -> bool:
        return self.status in ("fail", "error", "runtime error")


def merge_results(settings: Settings) -> dict[str, Outcome]:
    """Add the last dbt command's results to those kept; returns all of them by unique id."""
    kept_file = settings.home / "build_results.json"
    kept: dict[str, Any] = json.loads(kept_file.read_text("utf-8")) if kept_file.is_file() else {"nodes": {}}
    file = settings.target / "run_results.json"
    if file.is_file():
        results = json.loads(file.read_text(encoding="utf-8"))
        generated = results["metadata"]["generated_at"]
        if results["args"].get("which") in BUILDING and generated > kept.get("generated_at", ""):
            for result in results["results"]:
                kind = result["unique_id"].split(".")[0]
                ended = [t["completed_at"] for t in result["timing"] if t["name"] == "execute"]
                before = kept["nodes"].get(result["unique_id"], {})
                kept["nodes"][result["unique_id"]] = {
                    "status": result["status"],
                    "message": result["message"] or "",
                    "failures": result["failures"] or 0,
                    "completed_at": (ended or [generated])[0],
                    # what was skipped after a failure is still the table that other SQL made
                    "compiled": result.get("compiled_code") or before.get("compiled")
                    if kind in COMPILED
                    else None,
                }
            kept["generated_at"] = generated
            settings.home.mkdir(parents=True, exist_ok=True)
            new = kept_file.with_suffix(".new")
            new.write_text(json.dumps(kept), encoding="utf-8")
            new.replace(kept_file)
    return {unique_id: Outcome(**fields) for unique_id, fields in kept["nodes"].items()}
