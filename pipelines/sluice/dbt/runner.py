"""Runs dbt in a process of its own; workflow/build.py records what a build found.

A process, because dbt keeps the attached databases locked until the one it ran in ends.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Protocol

from sluice.config.environments import refuse_foreign_files
from sluice.config.profile import TARGET
from sluice.config.settings import DEFAULT_HOME, HOME, TARGET_PATH, Settings, keep_private
from sluice.dbt.compiling import PARSED
from sluice.dbt.manifest import Manifest, read_manifest
from sluice.dbt.run_results import PROCESS, RECORDED
from sluice.engine import engine
from sluice.engine.locks import locked


def _nothing() -> None:
    pass


class Dbt(Protocol):
    """Runs a dbt command, as `dbt` does."""

    def __call__(self, arguments: Sequence[str], then: Callable[[], None] = _nothing) -> int:
        """Its exit code."""


def dbt(
    settings: Settings,
    arguments: Sequence[str],
    then: Callable[[], None] = _nothing,
    *,
    quiet: bool = False,
    output: IO[str] | None = None,
) -> int:
    """Run dbt in the project with `arguments`; returns its exit code (0 fine, 1 nodes failed, 2 cannot run).

    then: is called as soon as dbt has ended, before another command of ours can overwrite what it wrote. output: where
    dbt writes all it says; else to this process's output. Raises LockedError when another command holds the warehouse
    for longer than `settings.lock_seconds`.
    """
    command = [str(Path(sys.executable).with_name("dbt")), *(["--quiet"] if quiet else []), *arguments]

    with _locked(settings, arguments[0]):
        done = subprocess.run(
            command,
            cwd=settings.root,
            env=_environment(settings),
            stdout=output,
            stderr=output and subprocess.STDOUT,
            check=False,
        )
        then()
        return done.returncode


class Session:
    """A dbt in a process of its own that parses the project as soon as it is started, and then waits for commands."""

    def __init__(self, settings: Settings, module: str, *, is_quiet: bool) -> None:
        self._settings, self._module, self._is_quiet = settings, module, is_quiet
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._replies: IO[str] | None = None

    def start(self) -> None:
        """Start the process, if it is not running."""
        with self._lock:
            if self._process:
                return
            answers, answer = os.pipe()
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(answer)],
                cwd=self._settings.root,
                env=_environment(self._settings),
                stdin=subprocess.PIPE,
                pass_fds=[answer],
                text=True,
            )
            os.close(answer)
            self._replies = os.fdopen(answers, encoding="ascii")

    def __call__(self, arguments: Sequence[str], then: Callable[[], None] = _nothing) -> int:
        """As `dbt`; the first argument without a dash is the command."""
        self.start()
        assert self._process
        assert self._process.stdin
        assert self._replies
        with _locked(self._settings, next(one for one in arguments if not one.startswith("-"))):
            with suppress(BrokenPipeError):
                quiet = ["--quiet"] * self._is_quiet
                self._process.stdin.write(json.dumps([*quiet, *arguments]) + "\n")
                self._process.stdin.flush()
            code = self._replies.readline()
            then()
        return int(code) if code else 2  # it ended, and has reported why

    def close(self) -> None:
        """End the process; its locks on the databases end with it."""
        if not self._process:
            return
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._replies:
            self._replies.close()


@contextmanager
def dbt_session(
    settings: Settings, module: str = "sluice.dbt.session", *, is_quiet: bool = True, is_early: bool = True
) -> Iterator[Session]:
    """A dbt that parses the project while something else works.

    module: what serves the commands. is_early: start it now, not with the first command.
    """
    session = Session(settings, module, is_quiet=is_quiet)
    try:
        if is_early:
            session.start()
        yield session
    finally:
        session.close()


@contextmanager
def _locked(settings: Settings, verb: str) -> Iterator[None]:
    keep_private(settings)
    with locked(settings.home, f"dbt {verb}", settings.lock_seconds):
        # dbt would try for half a minute, and name nobody
        engine().wait_until_free(settings.warehouse, settings.lock_seconds)
        yield


def _environment(settings: Settings) -> dict[str, str]:
    """This process's environment where it says the same: dbt parses the whole project again for another spelling.

    Raises DeclarationError if dbt could write the files of another target.
    """
    if settings.environment:
        refuse_foreign_files(settings.environment, settings.others)
        return {
            **os.environ,
            TARGET: settings.environment.name,
            TARGET_PATH: str(settings.target.relative_to(settings.root)),
            f"{RECORDED}{PROCESS[0]}": PROCESS[1],
        }
    named = settings.root / os.environ.get(HOME, DEFAULT_HOME)
    home = {} if named.resolve() == settings.home else {HOME: str(settings.home)}
    return {**os.environ, **home, f"{RECORDED}{PROCESS[0]}": PROCESS[1]}


def compiled_manifest(settings: Settings) -> Manifest:
    """The manifest with the SQL of every model compiled.

    After a build of a part of it, dbt's manifest has compiled only that part; the whole is then compiled in a folder
    of its own, so that the results of the build stay where they are, and kept until the next dbt command.
    """
    manifest = read_manifest(settings.target)
    if not manifest.uncompiled:
        return manifest
    aside = settings.target / "catalog"
    aside.mkdir(exist_ok=True)
    kept, last = aside / "manifest.json", settings.target / "manifest.json"
    if kept.is_file() and kept.stat().st_mtime_ns > last.stat().st_mtime_ns:
        earlier = read_manifest(aside)
        if not earlier.uncompiled:
            return earlier
    if (parsed := settings.target / PARSED).is_file():
        shutil.copy(parsed, aside)  # dbt then reads only the files that changed since
    compiled: list[Manifest] = []
    compiling = ["compile", "--no-populate-cache", "--target-path", str(aside)]
    if dbt(settings, compiling, lambda: compiled.append(read_manifest(aside)), quiet=True):
        return manifest  # what is not compiled is of unknown lineage, and hidden where it could be personal
    return compiled[0]


def excluding(failed_tables: Sequence[str]) -> list[str]:
    """dbt arguments that leave out all that depends on source tables that were not loaded."""
    return ["--exclude", *(f"source:{name}+" for name in failed_tables)] if failed_tables else []
