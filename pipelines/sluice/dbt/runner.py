"""Runs dbt in a process of its own, and reads what it left behind.

A process, because dbt keeps the attached databases locked until the one it ran in ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sluice.config.settings import Settings
from sluice.dbt.run_results import BUILDING, merge_results
from sluice.engine.locks import locked


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

    def run() -> int:
        return subprocess.run(command, cwd=settings.root, env=_environment(settings), check=False).returncode

    return _recorded(settings, arguments[0], run)


@contextmanager
def dbt_session(settings: Settings) -> Iterator[Callable[[Sequence[str]], int]]:
    """A dbt that parses the project while something else works; yields what runs a command in it, as `dbt` does."""
    answers, answer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "sluice.dbt.session", str(answer)],
        cwd=settings.root,
        env=_environment(settings),
        stdin=subprocess.PIPE,
        pass_fds=[answer],
        text=True,
    )
    os.close(answer)

    def run(arguments: Sequence[str]) -> int:
        def asked() -> int:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(["--quiet", *arguments]) + "\n")
                process.stdin.flush()
            code = replies.readline()
            return int(code) if code else 2  # it ended, and has said why

        return _recorded(settings, arguments[0], asked)

    try:
        with os.fdopen(answers, encoding="ascii") as replies:
            yield run
    finally:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:  # its locks on the databases end with it
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _recorded(settings: Settings, verb: str, run: Callable[[], int]) -> int:
    """Run a dbt command under the lock, and keep what it left behind."""
    with locked(settings.home, f"dbt {verb}", settings.lock_seconds):
        code = run()
    merge_results(settings)  # before the next command overwrites it
    if verb in BUILDING:
        from sluice.dbt.build_history import record_build

        record_build(settings)
    return code


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
