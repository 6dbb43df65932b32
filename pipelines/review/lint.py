"""Findings of sqlfluff and of the conventions, on changed lines only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.review.findings import Finding, Level

GRAIN = re.compile(r"^\{#\s*one row per .+#\}")
NAMES = {
    "models/staging/": re.compile(r"stg_[a-z0-9]+__[a-z0-9_]+"),
    "models/intermediate/": re.compile(r"int_[a-z0-9_]+"),
    "models/marts/": re.compile(r"(fct|dim|rpt)_[a-z0-9_]+"),
}


def lint_findings(root: Path, lines: Mapping[str, set[int]]) -> list[Finding]:
    """What sqlfluff and docs/style.md say of the lines given, by file; at most a look each."""
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
        yield Finding(
            "lint", "sqlfluff", Level.LOOK, f"sqlfluff failed: {(done.stderr or done.stdout)[:200].strip()}"
        )
        return
    for report in reports:
        name = report["filepath"]
        for violation in report["violations"]:
            line = violation["start_line_no"]
            if line in lines[name]:
                text = f"{name}:{line}: {violation['code']} {violation['description']}"
                yield Finding("lint", f"{Path(name).stem}.{violation['code']}", Level.LOOK, text)


def _conventions(root: Path, name: str, changed: set[int]) -> Iterator[Finding]:
    path = Path(name)
    text = (root / name).read_text(encoding="utf-8").splitlines()
    is_layered = not name.startswith(("models/staging/", "models/utilities/"))
    if is_layered and (1 in changed or not text) and not (text and GRAIN.match(text[0])):
        yield Finding(
            "convention",
            f"{path.stem}.grain",
            Level.LOOK,
            f"{name}:1: does not begin with its grain, `{{# one row per … #}}`",
        )
    for folder, pattern in NAMES.items():
        if name.startswith(folder) and len(changed) >= len(text) and not pattern.fullmatch(path.stem):
            yield Finding(
                "convention", f"{path.stem}.name", Level.LOOK, f"{name}: is not called like {pattern.pattern}"
            )
    for number in sorted(changed):
        line = text[number - 1] if number <= len(text) else ""
        if "source(" in line and not name.startswith("models/staging/"):
            yield Finding(
                "convention",
                f"{path.stem}.source",
                Level.LOOK,
                f"{name}:{number}: only staging calls `source()`",
            )
