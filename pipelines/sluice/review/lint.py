"""Findings of sqlfluff on changed lines, and of the conventions on what changed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import yaml

from sluice.review.findings import Finding, look

MANIFEST = "manifest.json"
GRAIN = re.compile(r"^\{#\s*one row per .+#\}")


def lint_findings(root: Path, lines: Mapping[str, set[int]]) -> list[Finding]:
    """What sqlfluff says of the lines given, by file, and whether a model begins with its grain."""
    models = [f for f in lines if f.startswith("models/") and f.endswith(".sql") and (root / f).is_file()]
    return [
        *_sqlfluff(root, models, lines),
        *(f for name in models for f in _conventions(root, name, lines[name])),
    ]


def _sqlfluff(root: Path, files: list[str], lines: Mapping[str, set[int]]) -> Iterator[Finding]:
    program = Path(sys.executable).with_name("sqlfluff")
    if not files or not program.is_file():
        return
    done = subprocess.run(
        [str(program), "lint", "--format", "json", "--processes", "1", "--disable-progress-bar", *files],
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
    if is_layered and (1 in changed or not text) and not (text and GRAIN.match(text[0])):
        yield look(
            "convention",
            f"{Path(name).stem}.grain",
            f"{name}:1: does not begin with its grain, `{{# one row per … #}}`",
        )


def convention_findings(
    root: Path, before: Path, after: Path, files: Collection[str], scratch: Path
) -> list[Finding]:
    """What `dbt-bouncer` says of the head's manifest and did not say of the base's.

    before, after: folders with the manifests; without one of the base, findings about the changed `files` only.
    """
    program, config = Path(sys.executable).with_name("dbt-bouncer"), root / "dbt-bouncer.yml"
    if not program.is_file() or not config.is_file() or not (after / MANIFEST).is_file():
        return []
    scratch.mkdir(parents=True)
    settings = yaml.safe_load(config.read_text(encoding="utf-8")) | {"dbt_artifacts_dir": str(after)}
    (scratch / config.name).write_text(yaml.safe_dump(settings), encoding="utf-8")
    known = (before / MANIFEST).is_file()
    report = scratch / "report.json"
    command = [str(program), "run", "--config-file", str(scratch / config.name), "--output-only-failures"]
    command += ["--output-file", str(report), *(["--state", str(before)] if known else [])]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if not report.is_file():
        text = f"dbt-bouncer failed: {(done.stderr or done.stdout)[-200:].strip()}"
        return [look("convention", "dbt-bouncer", text)]
    found = []
    for failure in json.loads(report.read_text(encoding="utf-8")):
        if known or failure["file_path"] in files:
            check, number, *_ = failure["check_run_id"].split(":")
            about = (failure["unique_id"] or "project").split(".")[-1]
            place = f"{failure['file_path']}: " if failure["file_path"] else ""
            text = f"{place}{failure['failure_message']}"
            found.append(look("convention", f"{about}.{check.removeprefix('check_')}.{number}", text))
    return found
