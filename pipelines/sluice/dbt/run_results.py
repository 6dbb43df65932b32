"""dbt's results of each model and test, merged over its commands and kept beside the warehouse.

dbt overwrites `target/run_results.json` with every command, also with those that build nothing and those that
build a part; earlier results still hold for the rest.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.config.settings import Settings
from sluice.dbt.manifest import read_artifact
from sluice.errors import DamagedError

Json = dict[str, Any]
RECORDED = "DBT_ENV_CUSTOM_ENV_"
"""dbt writes the variables that begin like this into the metadata of what it writes."""
PROCESS = ("SLUICE_PROCESS", f"{os.getpid()}-{time.time_ns()}")
"""Such a variable: it tells the results of this process's dbt from those of another's."""
BUILDING = {"build", "run", "test", "seed", "snapshot", "retry"}
"""dbt commands whose results say something of the warehouse."""
KEPT = "build_results.json"
REUSED = "reused"
"""dbt's word for what a build has left as it is."""
FAILED = {"fail", "error", "runtime error"}
"""dbt's words for what failed: a test, a model, and a node dbt could not run."""
COMPILED = {"model", "snapshot", "test"}
ADDING = {"incremental", "snapshot"}
"""Materializations that keep the rows of earlier runs."""
OF_A_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![\w.\"#[])\d[\dT.:+ -]*")
"""What differs between two runs of the same SQL: ids of runs, times, numbers."""


@dataclass(frozen=True)
class Outcome:
    """The result of one node; `completed_at` is ISO time, UTC."""

    status: str
    message: str
    failures: int
    completed_at: str
    compiled: str | None = None
    """The SQL that ran; the manifest holds that of the last command's nodes only."""
    started_at: str = ""
    changed_at: str = ""
    """When this SQL ended for the first time; empty where it is not known."""
    earlier: tuple[str, ...] = ()
    """Other SQL whose rows an incremental model or a snapshot still holds."""

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


def read(settings: Settings) -> Json | None:
    """`run_results.json` of the last dbt command on this target, whoever ran it; None without one."""
    results = read_artifact(settings.target / "run_results.json")
    if results and settings.environment:
        target = results.get("args", {}).get("target")
        if target != settings.environment.name and (target or not settings.environment.is_default):
            return None
    return results


def read_own(settings: Settings) -> Json | None:
    """`run_results.json` if this process's dbt wrote it; None where it could not, or another one has overwritten it."""
    results = read(settings)
    name, value = PROCESS
    return results if results and results["metadata"].get("env", {}).get(name) == value else None


def build_result(code: int, run: Json | None) -> BuildResult:
    """What a `dbt build` made that ended with `code`, from its run results."""
    models: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    failures = []
    if run is None and code in (0, 1):
        failures.append("another dbt command has overwritten the results of this build: see logs/dbt.log")
    for result in (run or {"results": []})["results"]:
        kind = result["unique_id"].split(".")[0]
        (tests if kind in ("test", "unit_test") else models)[result["status"]] += 1
        if result["status"] in FAILED:
            failures.append(f"{result['unique_id']}: {(result['message'] or '').strip().splitlines()[0]}")
    return BuildResult(models, tests, failures)


def merge(settings: Settings, run: Json | None = None) -> dict[str, Outcome]:
    """Add results (default: the last dbt command's) to those kept; returns all of them by unique id."""
    kept_file = settings.home / KEPT
    kept = _kept(kept_file)
    results = run or read(settings)
    if results and results["args"].get("which") in BUILDING:
        generated = results["metadata"]["generated_at"]
        if generated > kept.get("generated_at", ""):
            nodes = (read_artifact(settings.target / "manifest.json") or {}).get("nodes", {})
            for result in results["results"]:
                key = result["unique_id"]
                before = kept["nodes"].get(key, {})
                _add(kept["nodes"], result, generated)
                config = nodes.get(key, {}).get("config", {})
                if config.get("materialized") in ADDING and not _is_replaced(config, results["args"], result):
                    kept["nodes"][key]["earlier"] = _earlier(before, kept["nodes"][key]["compiled"])
            kept["generated_at"] = generated
            settings.home.mkdir(parents=True, exist_ok=True)
            new = kept_file.with_suffix(".new")
            new.write_text(json.dumps(kept), encoding="utf-8")
            new.replace(kept_file)
    return {
        unique_id: Outcome(**{**fields, "earlier": tuple(fields.get("earlier", ()))})
        for unique_id, fields in kept["nodes"].items()
    }


def _kept(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {"nodes": {}}
    try:
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kept["nodes"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            file,
            f"{type(error).__name__}: {error}",
            "Delete it and run `sluice build`: until a model and its tests are built again, nothing is known of them",
        ) from None
    return kept


def _add(nodes: dict[str, Any], result: Any, generated: str) -> None:
    key = result["unique_id"]
    ran = [t for t in result["timing"] if t["name"] == "execute"]
    ended = ran[0]["completed_at"] if ran else generated
    # what was skipped after a failure is still the table that other SQL made
    before = nodes.get(key, {})
    if result["status"] == REUSED:
        _confirm(nodes, key, result, ended)
        return
    compiled = result.get("compiled_code") or before.get("compiled")
    is_same = not before or compiled == before.get("compiled")
    nodes[key] = {
        "status": result["status"],
        "message": result["message"] or "",
        "failures": result["failures"] or 0,
        "completed_at": ended,
        "started_at": (ran[0].get("started_at") if ran else None) or ended,
        "changed_at": before.get("changed_at", "") if is_same else ended,
        "compiled": compiled if key.split(".")[0] in COMPILED else None,
    }


def _confirm(nodes: dict[str, Any], key: str, result: Any, at: str) -> None:
    """What still holds, holds since now: tables that it was compared with may have been built again."""
    is_table = key.split(".")[0] not in ("test", "unit_test")
    nodes[key] = {
        "changed_at": "",
        **nodes.get(key, {}),
        "status": "success" if is_table else "pass",
        "message": "",
        "failures": 0,
        "started_at": at,
        "completed_at": at,
        "compiled": result.get("compiled_code") if key.split(".")[0] in COMPILED else None,
    }


def _is_replaced(config: Json, arguments: Json, result: Json) -> bool:
    """Whether a run made the table again, without the rows it had."""
    own = config.get("full_refresh")
    is_full = arguments.get("full_refresh") if own is None else own
    return bool(is_full) and config["materialized"] != "snapshot" and result["status"] == "success"


def _earlier(before: Json, compiled: str | None) -> list[str]:
    """The SQL other than `compiled` that wrote rows which the table still has, each but once."""
    written = [sql for sql in (*before.get("earlier", ()), before.get("compiled")) if sql]
    different = {OF_A_RUN.sub("0", sql): sql for sql in written}
    different.pop(OF_A_RUN.sub("0", compiled or ""), None)
    return list(different.values())
