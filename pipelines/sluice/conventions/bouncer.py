"""Runs dbt-bouncer: conventions that can be read from dbt's manifest alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sluice.config.yaml_file import Problem, dig, read_yaml
from sluice.conventions.switched_off import switched_off
from sluice.errors import DeclarationError, SluiceError

CONFIG = "dbt-bouncer.yml"
"""The engine's is beside this module; one in the project's root replaces it, or adds to it with `extends: sluice`."""
MANIFEST = "manifest.json"


class Failure(NamedTuple):
    """A node that breaks a check; `number` tells apart checks of the same name."""

    check: str
    number: str
    unique_id: str
    file: str
    message: str


def bouncer_failures(root: Path, target: Path, before: Path | None = None) -> list[Failure]:
    """What the project's checks say of the manifest in the folder `target`.

    before: a folder with an older manifest; what is said of that too is left out. Raises SluiceError if dbt-bouncer
    cannot run.
    """
    with tempfile.TemporaryDirectory() as folder:
        config, report = Path(folder, CONFIG), Path(folder, "report.json")
        checks = _checks(root / CONFIG) | {"dbt_artifacts_dir": str(target.resolve())}
        off = switched_off(root)
        checks["manifest_checks"] = [c for c in checks["manifest_checks"] if rule_name(c["name"]) not in off]
        if not checks["manifest_checks"]:
            return []
        config.write_text(yaml.safe_dump(checks), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("dbt-bouncer")), "run", "--config-file", str(config)]
        command += ["--output-only-failures", "--output-file", str(report)]
        command += ["--state", str(before)] if before else []
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if not report.is_file():
            raise SluiceError(f"dbt-bouncer failed: {(done.stderr or done.stdout)[-200:].strip()}")
        failures = json.loads(report.read_text(encoding="utf-8"))
    found = []
    for failure in failures:
        check, number, *_ = failure["check_run_id"].removeprefix("check_").split(":")
        node, file = failure["unique_id"] or "", failure["file_path"] or ""
        found.append(Failure(check, number, node, file, failure["failure_message"]))
    return found


def rule_name(check: str) -> str:
    """A check of dbt-bouncer as `sluice check` calls it: `model-names` for `check_model_names`."""
    return check.removeprefix("check_").replace("_", "-")


def bouncer_rules(root: Path) -> set[str]:
    """Names of the checks that a project is held to."""
    return {rule_name(check["name"]) for check in _checks(root / CONFIG)["manifest_checks"]}


def _checks(own: Path) -> Any:
    """The engine's checks, the project's own, or both: then a check of the project replaces those of its name."""
    shipped = yaml.safe_load(Path(__file__).with_name(CONFIG).read_text(encoding="utf-8"))
    if not own.is_file():
        return shipped
    read = read_yaml(own)
    if isinstance(read, Problem):
        raise DeclarationError(str(read))
    checks: Any = read.value
    listed = dig(checks, "manifest_checks")
    if not isinstance(listed, list) or not all(dig(check, "name") for check in listed):
        raise DeclarationError(f"{own}:1: manifest_checks: write a list of checks, each with its `name`")
    if checks.pop("extends", None):
        names = {check["name"] for check in listed}
        checks["manifest_checks"] += [c for c in shipped["manifest_checks"] if c["name"] not in names]
    return checks
