"""`sluice` with a watch on its parts: `python phases.py REPORT load …` writes what took how long.

The phases come from one run without a profiler, which would slow Python more than DuckDB; what is inside the
extraction is counted there and taken off dlt's part of it. A second look with cProfile would need a second run; the
functions listed are those of a sampler that looks at all threads every few milliseconds.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

BESIDE = ("tables: read, check, type, write Parquet", "imports: dlt, beside it")
"""Phases that run side by side: the longer one counts."""
STEP_SECONDS = 0.005
LINES = 12


class Watch:
    """Seconds by phase, and how often a function was seen at work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.seen: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(STEP_SECONDS):
            for ident, frame in sys._current_frames().items():
                if ident != threading.get_ident() and (place := _place(frame)):
                    self.seen[place] += 1

    def around(self, owner: Any, name: str, phase: str) -> None:
        """Count a function's seconds for a phase."""
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[phase] += time.perf_counter() - begun

        setattr(owner, name, timed)


WAITING = ("threading.py", "selectors.py", "queue.py", "concurrent/futures")
"""Where a thread stands that has nothing to do; a server that is waited for counts as work."""


def _place(frame: Any) -> str | None:
    """The innermost line of ours or of dlt's that a thread is at; None for one that only waits."""
    if any(part in frame.f_code.co_filename for part in WAITING) and "epoll" not in frame.f_code.co_name:
        return None
    while frame:
        file = frame.f_code.co_filename
        for package in ("sluice", "dlt", "nats", "requests"):
            if f"/{package}/" in file:
                short = package + file.rsplit(f"/{package}/", 1)[1].join(("/", ""))
                return f"{short}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return None


def main() -> None:
    """Run the command and write the report; the exit code is the command's."""
    report, *arguments = sys.argv[1:]
    begun = time.perf_counter()
    watch = Watch()
    from sluice import cli

    watch.seconds["imports: command line"] = time.perf_counter() - begun
    imported = time.perf_counter()
    from sluice.config import sources as declared
    from sluice.engine import engine
    from sluice.load import read_ahead
    from sluice.load import run as load

    watch.seconds["imports: DuckDB, pyarrow"] = time.perf_counter() - imported
    watch.around(engine(), "open_raw", "open raw")
    watch.around(declared, "load_sources", "declarations")
    watch.around(read_ahead.SourceReader, "begin", BESIDE[0])
    watch.around(load, "_record", "run store: a row per table")
    watch.around(load, "copy_to_raw", "run store: copied to raw")
    bring = load._import_dlt

    def watched(*sources: Any) -> Any:
        imported = time.perf_counter()
        through_dlt = bring(*sources)
        watch.seconds[BESIDE[1]] = time.perf_counter() - imported
        import dlt

        watch.around(through_dlt.SourceLoad, "_pipeline", "dlt: make the pipeline")
        watch.around(through_dlt.SourceLoad, "_dlt_source", "dlt: make the source")
        watch.around(dlt.Pipeline, "run", "dlt: run")
        watch.around(read_ahead.SourceReader, "staged", "normalise: check, type, write Parquet, the rest")
        watch.around(through_dlt.SourceLoad, "_extracted", "extractor: read the source, the rest")
        for step in ("extract", "normalize", "load", "sync_destination"):
            watch.around(dlt.Pipeline, step, f"dlt: {step}")
        return through_dlt

    setattr(load, "_import_dlt", watched)  # noqa: B010 - mypy does not let a function be replaced
    watch.start()
    sys.argv = ["sluice", *arguments]
    code: Any = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code
    watch.stop()
    whole = time.perf_counter() - begun
    Path(report).write_text(_report(watch, whole), encoding="utf-8")
    sys.exit(code)


def _report(watch: Watch, whole: float) -> str:
    seconds = dict(watch.seconds)
    inside = [name for name in seconds if name.startswith(("normalise", "extractor")) and name not in BESIDE]
    if "dlt: extract" in seconds:
        seconds["dlt: extract, its own"] = seconds.pop("dlt: extract") - sum(seconds[name] for name in inside)
    steps = [
        name for name in seconds if name.startswith("dlt: ") and "make" not in name and name != "dlt: run"
    ]
    if "dlt: run" in seconds:
        seconds["dlt: run, between the steps"] = seconds.pop("dlt: run") - sum(
            seconds[name] for name in [*steps, *inside]
        )
    seconds["the rest"] = whole - sum(seconds.values()) + min(map(seconds.__getitem__, BESIDE))
    lines = [f"{took:8.2f} s  {phase}" for phase, took in seconds.items()]
    lines.append(f"{whole:8.2f} s  whole, after the start of Python")
    lines += ["", f"seen at work most often (share of {sum(watch.seen.values())} looks):"]
    total = max(sum(watch.seen.values()), 1)
    lines += [f"{seen / total:7.1%}  {place}" for place, seen in watch.seen.most_common(LINES)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
