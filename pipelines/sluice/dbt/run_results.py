"""dbt's results of each model and test, merged over its commands and kept beside the warehouse.

dbt overwrites `target/run_results.json` with every command, also with those that build nothing and those that
build a part; earlier results still hold for the rest.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sluice.config.settings import Settings

BUILDING = {"build", "run", "test", "seed", "snapshot", "retry"}
"""dbt commands whose results say something of the warehouse."""
FAILED = {"fail", "error", "runtime error"}
"""dbt's words for what failed: a test, a model, and a node dbt could not run."""
COMPILED = {"model", "snapshot", "test"}


@dataclass(frozen=True)
class Outcome:
    """The result of one node; `completed_at` is ISO time, UTC."""

    status: str
    message: str
    failures: int
    completed_at: str
    compiled: str | None = None
    """The SQL that ran; the manifest holds that of the last command's nodes only."""

    @property
    def failed(self) -> bool:
        return self.status in FAILED


@dataclass(frozen=True)
class BuildResult:
    """What a dbt run made; counts by dbt's own words for a status (success, pass, warn, error, fail, skipped)."""

    models: Counter[str]
    tests: Counter[str]
    failures: list[str]
    """One line for each node that failed, as dbt reports it."""

    @property
    def ok(self) -> bool:
        return not self.failures


def read(settings: Settings) -> dict[str, Any] | None:
    """`run_results.json` of the last dbt command; None without one."""
    file = settings.target / "run_results.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def build_result(settings: Settings) -> BuildResult:
    """What the last `dbt build` made; nothing where dbt has never run."""
    models: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    failures = []
    for result in (read(settings) or {"results": []})["results"]:
        kind = result["unique_id"].split(".")[0]
        (tests if kind in ("test", "unit_test") else models)[result["status"]] += 1
        if result["status"] in FAILED:
            failures.append(f"{result['unique_id']}: {(result['message'] or '').strip().splitlines()[0]}")
    return BuildResult(models, tests, failures)


def merge(settings: Settings) -> dict[str, Outcome]:
    """Add the last dbt command's results to those kept; returns all of them by unique id."""
    kept_file = settings.home / "build_results.json"
    kept: dict[str, Any] = json.loads(kept_file.read_text("utf-8")) if kept_file.is_file() else {"nodes": {}}
    results = read(settings)
    if results and results["args"].get("which") in BUILDING:
        generated = results["metadata"]["generated_at"]
        if generated > kept.get("generated_at", ""):
            for result in results["results"]:
                _add(kept["nodes"], result, generated)
            kept["generated_at"] = generated
            settings.home.mkdir(parents=True, exist_ok=True)
            new = kept_file.with_suffix(".new")
            new.write_text(json.dumps(kept), encoding="utf-8")
            new.replace(kept_file)
    return {unique_id: Outcome(**fields) for unique_id, fields in kept["nodes"].items()}


def _add(nodes: dict[str, Any], result: Any, generated: str) -> None:
    key = result["unique_id"]
    ended = [t["completed_at"] for t in result["timing"] if t["name"] == "execute"]
    # what was skipped after a failure is still the table that other SQL made
    compiled = result.get("compiled_code") or nodes.get(key, {}).get("compiled")
    nodes[key] = {
        "status": result["status"],
        "message": result["message"] or "",
        "failures": result["failures"] or 0,
        "completed_at": (ended or [generated])[0],
        "compiled": compiled if key.split(".")[0] in COMPILED else None,
    }
