"""Runs dbt in a process of its own, and reads what it left behind.

A process, because dbt keeps the attached databases locked until the one it ran in ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.evidence import BUILDING, remember
from pipelines.locks import locked
from pipelines.settings import Settings


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


def dbt(settings: Settings, arguments: Sequence[str], *, quiet: bool = False) -> int:
    """Run dbt in the project with `arguments`; returns its exit code (0 fine, 1 nodes failed, 2 cannot run).

    Raises LockedError when another command holds the warehouse for longer than `settings.lock_seconds`.
    """
    command = [str(Path(sys.executable).with_name("dbt")), *(["--quiet"] if quiet else []), *arguments]
    with locked(settings.home, f"dbt {arguments[0]}", settings.lock_seconds):
        code = subprocess.run(command, cwd=settings.root, env=_environment(settings), check=False).returncode
    remember(settings)  # before the next command overwrites it
    if arguments[0] in BUILDING:
        from pipelines.catalog.history import record_build

        record_build(settings)
    return code


@contextmanager
def parsed_ahead(settings: Settings) -> Iterator[None]:
    """Let dbt parse the project while something else works; the build after it then starts from the cache.

    A mistake in the project is not told here: the build meets it again and says so.
    """
    command = [str(Path(sys.executable).with_name("dbt")), "--quiet", "parse"]
    process = subprocess.Popen(
        command,
        cwd=settings.root,
        env=_environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "SLUICE_HOME": str(settings.home)}


def build_result(settings: Settings) -> BuildResult:
    """What the last `dbt build` made, from its `run_results.json`."""
    file = settings.target / "run_results.json"
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    models: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    failures = []
    for result in results:
        kind = result["unique_id"].split(".")[0]
        (tests if kind in ("test", "unit_test") else models)[result["status"]] += 1
        if result["status"] in ("error", "fail", "runtime error"):
            failures.append(f"{result['unique_id']}: {(result['message'] or '').strip().splitlines()[0]}")
    return BuildResult(models, tests, failures)


def excluding(failed_tables: Sequence[str]) -> list[str]:
    """dbt arguments that leave out all that depends on source tables that were not loaded."""
    return ["--exclude", *(f"source:{name}+" for name in failed_tables)] if failed_tables else []
