"""Findings of sqlfluff on changed lines, and of the conventions on changed models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from sluice.conventions.bouncer import MANIFEST, bouncer_failures
from sluice.conventions.model_rules import GRAIN
from sluice.conventions.switched_off import switched_off_problems
from sluice.errors import SluiceError
from sluice.review.findings import Finding, look


def lint_findings(root: Path, lines: Mapping[str, set[int]]) -> list[Finding]:
    """Findings of sqlfluff on these lines of files, and models that do not begin with their grain."""
    models = [f for f in lines if f.startswith("models/") and f.endswith(".sql") and (root / f).is_file()]
    layered = [] if "grain-line" in switched_off_problems(root)[0] else models
    return [
        *_sqlfluff(root, models, lines),
        *(f for name in layered for f in _conventions(root, name, lines[name])),
    ]


def _sqlfluff(root: Path, files: list[str], lines: Mapping[str, set[int]]) -> Iterator[Finding]:
    program = Path(sys.executable).with_name("sqlfluff")
    if not files or not program.is_file():
        return
    options = ["--dialect", "duckdb", "--format", "json", "--processes", "1", "--disable-progress-bar"]
    done = subprocess.run(
        [str(program), "lint", *options, *files],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        reports = json.loads(done.stdout[done.stdout.index("[") :])
    except ValueError:
        yield look("lint", "sqlfluff", f"sqlfluff failed: {(done.stderr or done.stdout)[:200].strip()}")
        return
    for report in reports:
        name = report["filepath"]
        for violation in report["violations"]:
            line = violation["start_line_no"]
            if line in lines[name]:
                text = f"{name}:{line}: {violation['code']} {violation['description']}"
                yield look("lint", f"{Path(name).stem}.{violation['code']}", text)


def _conventions(root: Path, name: str, changed: set[int]) -> Iterator[Finding]:
    text = (root / name).read_text(encoding="utf-8").splitlines()
    is_layered = not name.startswith(("models/staging/", "models/utilities/"))
    if is_layered and (1 in changed or not text) and not (text and GRAIN.fullmatch(text[0])):
        yield look(
            "convention",
            f"{Path(name).stem}.grain",
            f"{name}:1: does not begin with its grain, `{{# one row per … #}}`",
        )


def convention_findings(root: Path, before: Path, after: Path, files: Collection[str]) -> list[Finding]:
    """Failures that `dbt-bouncer` reports for the head's manifest and not for the base's.

    before, after: folders with the manifests; without one of the base, findings about the changed `files` only.
    """
    if not (after / MANIFEST).is_file():
        return []
    known = (before / MANIFEST).is_file()
    try:
        failures = bouncer_failures(root, after, before if known else None)
    except SluiceError as error:
        return [look("convention", "dbt-bouncer", str(error))]
    found = []
    for failure in failures:
        if known or failure.file in files:
            about = (failure.unique_id or "project").split(".")[-1]
            text = f"{failure.file}: {failure.message}" if failure.file else failure.message
            found.append(look("convention", f"{about}.{failure.check}.{failure.number}", text))
    return found
