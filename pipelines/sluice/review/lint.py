"""Findings of sqlfluff on changed lines, and of the conventions on changed models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from sluice.config.dbt_project import folders, read_project_file
from sluice.conventions.bouncer import MANIFEST, bouncer_failures
from sluice.conventions.model_rules import GRAIN
from sluice.conventions.switched_off import switched_off_problems
from sluice.errors import SluiceError
from sluice.review.findings import Finding, look

MISSING_TEMPLATER = re.compile(r"the (\w+) templater is distributed as|[Rr]equested templater '?(\w+)'?")
"""What sqlfluff says of a templater that is a package of its own and not installed."""
UNREAD = ("TMP", "PRS")
"""Codes for what the templater jinja cannot read of files that are written for another one."""


def lint_findings(root: Path, lines: Mapping[str, set[int]]) -> list[Finding]:
    """Findings of sqlfluff on these lines of files, and models that do not begin with their grain."""
    paths = tuple(f"{path}/" for path in folders(read_project_file(root), "model-paths", os.environ))
    models = [f for f in lines if f.startswith(paths) and f.endswith(".sql") and (root / f).is_file()]
    layered = [] if "grain-line" in switched_off_problems(root)[0] else models
    return [
        *_sqlfluff(root, models, lines),
        *(f for name in layered for f in _conventions(root, name, lines[name])),
    ]


def _sqlfluff(root: Path, files: list[str], lines: Mapping[str, set[int]]) -> Iterator[Finding]:
    if not files:
        return
    error, reports = _lint(root, files)
    if missing := MISSING_TEMPLATER.search(error):
        error, reports = _lint(root, files, "--templater", "jinja")
        text = (
            f"sqlfluff is configured for the templater {missing[1] or missing[2]}, which is not installed here, so it "
            "read the files with its templater jinja: what macros make is not checked"
        )
        yield look("lint", "sqlfluff", text)
    if error:
        yield look("lint", "sqlfluff", f"sqlfluff failed: {error[:200]}")
    for report in reports:
        name = report["filepath"]
        for violation in report["violations"]:
            line = violation["start_line_no"]
            if line in lines[name] and not (missing and violation["code"] in UNREAD):
                text = f"{name}:{line}: {violation['code']} {violation['description']}"
                yield look("lint", f"{Path(name).stem}.{violation['code']}", text)


def _lint(root: Path, files: list[str], *options: str) -> tuple[str, list[Any]]:
    """An error, and what sqlfluff reports of each file; no report where it is not installed."""
    program = Path(sys.executable).with_name("sqlfluff")
    if not program.is_file():
        return "", []
    wanted = [
        "--dialect",
        "duckdb",
        "--format",
        "json",
        "--processes",
        "1",
        "--disable-progress-bar",
        *options,
    ]
    done = subprocess.run(
        [str(program), "lint", *wanted, *files],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return "", json.loads(done.stdout[done.stdout.index("[") :])
    except ValueError:
        return (done.stderr or done.stdout).strip(), []


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
