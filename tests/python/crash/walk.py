"""Real `sluice` processes that die at a chosen event of their run.

A driver imports everything once and forks a child a run, so that a run costs about a second. In the child a tracer
counts what leaves traces outside of the process: files below SLUICE_HOME opened for writing, renamed or removed,
statements sent to DuckDB and SQLite (before and after), dlt's steps and the acknowledgements of streams. Nothing of it
is picked by hand; a new step of the loader is counted by itself. At event `kill_at` the child sends itself SIGKILL.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[3]
FILE_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
STATEMENTS = {"execute", "executemany", "executescript", "commit", "rollback", "begin", "sql", "close"}
ENGINES = ("_duckdb", "sqlite3.", "cimpl.Consumer")
"""Where these statements belong to: a part of the method's module or of its object's type."""
STEPS = {
    "dlt.pipeline.pipeline": {"extract", "normalize", "load", "sync_destination"},
    "dlt.load.load": {"complete_package", "complete_jobs"},
    "nats.aio.client": {"request", "publish"},
    "sluice.load.normalise": {"normalise"},
}
"""Python functions whose begin and end are events; all else is seen by what it does."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal), what it printed, and the events it went through."""

    code: int
    output: str
    events: list[str]
    seconds: float


# -- in the child ----------------------------------------------------------------------------------------


def trace(home: str, log: str | None, kill_at: int | None) -> None:
    """Count events of this process from now on, write them to `log`, and die at number `kill_at` (from 1)."""
    numbers = count(1)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if log else None

    def event(what: str) -> None:
        number = next(numbers)
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal may reach another thread first
        if written is not None:
            os.write(written, f"{what}\n".encode())

    def audit(name: str, args: tuple[Any, ...]) -> None:
        if name == "open":
            _, mode, flags = args
            writes = (isinstance(mode, str) and any(c in mode for c in "wxa+")) or (
                mode is None and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            )
            if not writes:
                return
        elif name not in FILE_EVENTS:
            return
        place = os.fspath(args[0]) if isinstance(args[0], str | os.PathLike) else ""
        if isinstance(place, str) and place.startswith(home):
            event(f"{name} {place[len(home) :]}")

    def profile(frame: FrameType, what: str, arg: Any) -> None:
        if what in ("c_call", "c_return"):
            if arg.__name__ in STATEMENTS:
                owner = f"{getattr(arg, '__module__', '')} {type(arg.__self__)!r}"
                if any(engine in owner for engine in ENGINES):
                    event(f"{what} {arg.__name__} in {frame.f_globals.get('__name__')}")
        elif frame.f_code.co_name in STEPS.get(frame.f_globals.get("__name__", ""), ()):
            event(f"{what} {frame.f_globals['__name__']}.{frame.f_code.co_name}")

    sys.addaudithook(audit)
    threading.setprofile(profile)
    sys.setprofile(profile)


def _child(order: Mapping[str, Any]) -> None:
    os.setsid()
    os.chdir(order["root"])
    os.environ.update(order["environment"])
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.path[:0] = [order["root"]]
    sys.argv = ["sluice", *order["arguments"]]
    if order["kill_at"] or order["log"]:
        trace(order["home"], order["log"], order["kill_at"])
    from sluice.cli import main

    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# -- the driver ------------------------------------------------------------------------------------------


def serve() -> None:
    """Fork a child for every line of standard input; answer with a line when it has ended."""
    import importlib

    for module in (
        "sluice.cli", "sluice.runs.store", "sluice.workflow.load", "sluice.cli.progress", "sluice.load.dlt_pipeline",
        "dlt.destinations.impl.duckdb.duck",
        "dlt.destinations.impl.duckdb.factory", "dlt.normalize.items_normalizers.base", "dlt.load.load",
        *(f"sluice.extract.{k}" for k in (
            "database", "files", "rest", "stream.nats", "stream.kafka", "python",
        )),
    ):  # fmt: skip
        importlib.import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            _child(order)
        deadline = time.monotonic() + order["seconds"]
        kill = time.monotonic() + order["kill_after"] if order["kill_after"] else deadline
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            now = time.monotonic()
            if now > kill or now > deadline:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.005)
        code = os.waitstatus_to_exitcode(status)
        sys.stdout.write(json.dumps({"code": code, "late": time.monotonic() > deadline}) + "\n")
        sys.stdout.flush()


class Driver:
    """A process from which runs are forked; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.python.crash.walk import serve; serve()"],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT / 'pipelines'}{os.pathsep}{ROOT}",
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        root: Path,
        *arguments: str,
        kill_at: int | None = None,
        kill_after: float | None = None,
        traced: bool = False,
        seconds: float = 90,
        **environment: str,
    ) -> Ended:
        """Run `sluice <arguments>` in the project `root`, whose home is `root/warehouse`.

        `kill_at`: the event it dies at; `kill_after`: seconds until it is killed from outside, wherever it is.
        """
        home = root / "warehouse"
        output, log = self.folder / "output.txt", self.folder / "events.txt"
        order = {
            "root": str(root),
            "home": str(home),
            "arguments": arguments,
            "kill_at": kill_at,
            "kill_after": kill_after,
            "log": str(log) if traced else None,
            "output": str(output),
            "seconds": seconds,
            "environment": {"SLUICE_HOME": str(home), **environment},
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        started = time.monotonic()
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        text = output.read_text(errors="replace") if output.exists() else ""
        assert not answer["late"], f"did not end within {seconds} s:\n{text}"
        events = log.read_text().splitlines() if traced else []
        return Ended(answer["code"], text, events, time.monotonic() - started)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Driver]:
        driver = cls(folder)
        try:
            yield driver
        finally:
            driver.close()


def spread(points: int, budget: int, dice: random.Random) -> Sequence[int]:
    """`budget` of the numbers 1 … points, one from each of as many equal parts; all when there are no more."""
    if points <= budget:
        return range(1, points + 1)
    return [int((part + dice.random()) * points / budget) + 1 for part in range(budget)]
