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
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from sluice.config.settings import Settings
from sluice.dbt.compiling import PARSED
from sluice.dbt.manifest import Manifest, read_manifest
from sluice.engine.locks import locked


def dbt(settings: Settings, arguments: Sequence[str], *, quiet: bool = False) -> int:
    """Run dbt in the project with `arguments`; returns its exit code (0 fine, 1 nodes failed, 2 cannot run).

    Raises LockedError when another command holds the warehouse for longer than `settings.lock_seconds`.
    """
    command = [str(Path(sys.executable).with_name("dbt")), *(["--quiet"] if quiet else []), *arguments]

    with _locked(settings, arguments[0]):
        return subprocess.run(command, cwd=settings.root, env=_environment(settings), check=False).returncode


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
        assert process.stdin is not None
        with _locked(settings, arguments[0]):
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(["--quiet", *arguments]) + "\n")
                process.stdin.flush()
            code = replies.readline()
        return int(code) if code else 2  # it ended, and has reported why

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


def _locked(settings: Settings, verb: str) -> AbstractContextManager[None]:
    return locked(settings.home, f"dbt {verb}", settings.lock_seconds)


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "SLUICE_HOME": str(settings.home)}


def compiled_manifest(settings: Settings) -> Manifest:
    """The manifest with the SQL of every model compiled.

    After a build of a part of it, dbt's manifest has compiled only that part; the whole is then compiled in a folder
    of its own, so that the results of the build stay where they are.
    """
    manifest = read_manifest(settings.target)
    if not manifest.uncompiled:
        return manifest
    aside = settings.target / "catalog"
    aside.mkdir(exist_ok=True)
    if (parsed := settings.target / PARSED).is_file():
        shutil.copy(parsed, aside)  # dbt then reads only the files that changed since
    if dbt(settings, ["compile", "--no-populate-cache", "--target-path", str(aside)], quiet=True):
        return manifest  # what is not compiled is of unknown lineage, and hidden where it could be personal
    return read_manifest(aside)


def excluding(failed_tables: Sequence[str]) -> list[str]:
    """dbt arguments that leave out all that depends on source tables that were not loaded."""
    return ["--exclude", *(f"source:{name}+" for name in failed_tables)] if failed_tables else []
