"""What the Python processes of a command are at, for commands that start others, as dbt's.

`watched` runs a command with a `sitecustomize` that calls `begin` in each Python process below it: a thread looks at
the stacks of the others every few milliseconds, and writes what it has seen when the process ends.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.phases import STEP_SECONDS, WAITING

FOLDER = "BENCH_SEEN"
"""The variable with the folder that a watched process writes to."""
ROOT = Path(__file__).parents[1]
SHORTEST = 0.2
"""Seconds of a process that is worth a paragraph."""
LINES = 12
OWN = ("sluice/", "dbt/task/", "dbt/parser/", "dbt/compilation.py", "dbt/artifacts/")
IMPORTING = "<frozen importlib._bootstrap>"


def begin() -> None:
    """Watch this process until its end."""
    seen = _Seen()
    threading.Thread(target=seen.look, daemon=True).start()
    atexit.register(seen.write)


class _Seen:
    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.started = time.time()
        self.at: Counter[str] = Counter()
        """The innermost functions of the project or of a package."""
        self.below: Counter[str] = Counter()
        """The functions of Sluice and of dbt's parser and tasks that are on the stack."""
        self.looks = self.importing = 0

    def look(self) -> None:
        while True:
            time.sleep(STEP_SECONDS)
            own = threading.get_ident()
            for ident, frame in sys._current_frames().items():
                if ident != own:
                    self._note(frame)

    def _note(self, frame: Any) -> None:
        if any(part in frame.f_code.co_filename for part in WAITING):
            return
        self.looks += 1
        files = list(_stack(frame))
        self.importing += any(file == IMPORTING for file, _ in files)
        named = [name for file, function in files if (name := _name(file, function))]
        self.at.update(named[:1])
        self.below.update({name for name in named if name.startswith(OWN)})

    def write(self) -> None:
        report = {
            "command": " ".join(Path(part).name for part in sys.orig_argv[1:])[:80],
            "started": self.started,
            "wall": time.perf_counter() - self.begun,
            "cpu": time.process_time(),
            "looks": self.looks,
            "importing": self.importing,
            "at": self.at.most_common(LINES),
            "below": self.below.most_common(LINES),
        }
        file = Path(os.environ[FOLDER]) / f"{os.getpid()}.json"
        file.write_text(json.dumps(report), encoding="utf-8")


def _stack(frame: Any) -> Iterator[tuple[str, str]]:
    while frame:
        yield frame.f_code.co_filename, frame.f_code.co_name
        frame = frame.f_back


def _name(file: str, function: str) -> str:
    """The file below its package, and the function; empty for the standard library."""
    for part in ("/site-packages/", "/pipelines/"):
        if part in file:
            return f"{file.rsplit(part, 1)[1]} {function}"
    return ""


def watched(run: Callable[[Mapping[str, str]], object], folder: Path) -> str:
    """Call `run` with variables for its processes; what they were at, as text."""
    shim, reports = folder / "shim", folder / "reports"
    for place in (shim, reports):
        place.mkdir(parents=True, exist_ok=True)
    for old in reports.iterdir():
        old.unlink()
    (shim / "sitecustomize.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom bench.seen import begin\nsys.path.pop(0)\nbegin()\n",
        encoding="utf-8",
    )
    path = os.pathsep.join(filter(None, [str(shim), os.environ.get("PYTHONPATH", "")]))
    begun = time.perf_counter()
    run({"PYTHONPATH": path, FOLDER: str(reports)})
    whole = time.perf_counter() - begun
    found = [json.loads(file.read_text(encoding="utf-8")) for file in reports.glob("*.json")]
    lines = [f"{whole:8.2f} s  whole, after the start of Python; each process by itself:"]
    for report in sorted(found, key=lambda one: one["started"]):
        if report["wall"] >= SHORTEST and report["at"]:
            lines += ["", *_paragraph(report)]
    return "\n".join(lines) + "\n"


def _paragraph(report: Mapping[str, Any]) -> Iterator[str]:
    looks = report["looks"]
    yield (
        f"`{report['command']}`: {report['wall']:.2f} s, {report['cpu']:.2f} s CPU;"
        f" {report['importing'] / looks:.0%} of {looks} looks found it importing"
    )
    yield "  innermost:"
    yield from (f"  {seen / looks:7.1%}  {name}" for name, seen in report["at"])
    if report["below"]:
        yield "  with all that it calls:"
        yield from (f"  {seen / looks:7.1%}  {name}" for name, seen in report["below"])
