"""What a command takes before it works: `--help`, `status`, and the check of one file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping

from bench.case import SLUICE, BenchError, Case, Figures, Subject, Verdict, at_most, run
from bench.projects import copy_company

MODULE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( +)([\w.]+)")
LINES = 12
HEAVY = (
    *(
        "dbt",
        "dlt",
        "duckdb",
        "jinja2",
        "nats",
        "numpy",
        "pandas",
        "psutil",
        "pyarrow",
        "pydantic",
        "requests",
        "rich",
    ),
    *("s3fs", "sqlalchemy", "sqlfluff", "sqlglot", "typer", "yaml"),
)
"""Packages that are large, or that most commands can do without."""


class StartUp(Case):
    name = "start-up"
    work = "`sluice --help`, `sluice status` and `sluice check FILE` in AnyCompany's project, which was never loaded"
    target = "0.3 s, 0.5 s, 0.5 s"

    def prepare(self) -> None:
        self.project = copy_company(self.folder / "project")
        for subject in self.subjects():
            run(subject)

    def subjects(self) -> list[Subject]:
        commands = {"--help": ["--help"], "status": ["status"], "check": ["check", "sources/shop.yml"]}
        home = {"SLUICE_HOME": "warehouse"}
        return [Subject(name, [str(SLUICE), *rest], self.project, home) for name, rest in commands.items()]

    def rows_of(self, subject: Subject) -> int:
        return 0

    def before(self, subject: Subject, turn: int) -> None:
        """Nothing is written that would have to go."""

    def after(self, subject: Subject, turn: int) -> None:
        """The exit code says that it has worked."""

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        most = {"--help": 0.3, "status": 0.5, "check": 0.5}
        return [at_most(name, figures[name].wall(), seconds, "s") for name, seconds in most.items()]

    def profile_of(self, subject: Subject) -> str:
        """The dearest modules by the time of their own and with what they import."""
        command = [sys.executable, "-X", "importtime", *subject.command]
        ran = subprocess.run(
            command,
            cwd=subject.folder,
            env=os.environ | {"NO_COLOR": "1"} | dict(subject.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise BenchError(f"{subject.name} ended with {ran.returncode}:\n{ran.stdout[-2000:]}")
        arguments = " ".join(str(part) for part in subject.command[1:])
        return f"imports of sluice {arguments}\n{_imports(ran.stderr)}\n"


def _imports(text: str) -> str:
    """The profile of `python -X importtime` in 24 lines; the profiler itself takes a part of each figure."""
    found = [(int(own), int(whole), name) for own, whole, _, name in MODULE.findall(text)]
    packages: Counter[str] = Counter()
    for own, _, name in found:
        packages[name.split(".")[0]] += own
    lines = [
        f"{sum(packages.values()) / 1e6:8.2f} s  whole, after the start of Python, in {len(found)} imports"
    ]
    lines += ["  module with all that it imports first:"]
    dearest = sorted(found, key=lambda one: -one[1])[:LINES]
    lines += [f"{whole / 1e6:8.3f} s  ({own / 1e6:.3f} s itself)  {name}" for own, whole, name in dearest]
    lines += ["  package, its own modules only:"]
    lines += [f"{own / 1e6:8.3f} s  {name}" for name, own in packages.most_common(LINES)]
    lazy = [name for name in HEAVY if name not in packages]
    lines += [f"  not imported: {', '.join(lazy) or 'nothing of what is large'}"]
    return "\n".join(lines)


CASES = (StartUp,)
