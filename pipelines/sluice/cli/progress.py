"""How what takes long looks while it runs: a load has a live bar per source on a terminal, else a line per source.

Where standard error is no terminal, a line every half minute says what is being done, and how far it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sluice.cli.output import err
from sluice.load.results import ProgressListener, SourceResult

SECONDS = 30.0
"""Between two lines of a step that says nothing else."""


class StillRunning:
    """While it is entered, reports the step on standard error now and then, unless that is a terminal."""

    def __init__(self, step: str = "") -> None:
        self._step = step
        self._detail = ""
        self._began = time.monotonic()
        self._ended = Event()
        self._thread = Thread(target=self._report, daemon=True)

    def begin(self, step: str) -> None:
        """The next step begins."""
        self._step, self._detail, self._began = step, "", time.monotonic()

    def detail(self, text: str) -> None:
        """What the step does next."""
        self._detail = text

    def lines(self) -> list[str]:
        """What is being done, one line each."""
        return [f"{self._step}: {self._detail}" if self._detail else self._step] if self._step else []

    def __enter__(self) -> StillRunning:
        if not err.is_terminal:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _report(self) -> None:
        while not self._ended.wait(SECONDS):
            for line in self.lines():
                err.print(f"{line}; {time.monotonic() - self._began:.0f} s so far", markup=False)


class _Loading(StillRunning):
    """The sources that are not finished, with the rows that were read."""

    def __init__(self, bars: Progress) -> None:
        super().__init__()
        self._bars = bars

    def lines(self) -> list[str]:
        return [
            f"load {task.description}: {task.fields['rows']:,} rows"
            + (f", the last of {task.fields['note']}" if task.fields["note"] else "")
            for task in self._bars.tasks
            if not task.finished
        ]


class LoadProgress(ProgressListener):
    """Shows a load on `console`; use as a context manager around it."""

    def __init__(self, console: Console, sources: Sequence[str]) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rows]:>11,} rows"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._still_running = _Loading(self._bars)
        self._tasks = {name: self._bars.add_task(name, total=None, rows=0, note="") for name in sources}

    def __enter__(self) -> LoadProgress:
        self._bars.start()
        self._still_running.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._still_running.__exit__(kind, error, trace)
        self._bars.stop()

    def rows(self, source: str, table: str, rows: int) -> None:
        task = self._tasks[source]
        self._bars.update(task, rows=self._bars.tasks[task].fields["rows"] + rows, note=table)

    def retried(self, source: str, table: str, what: str) -> None:
        self._console.print(f"load {source}.{table}: {what}", markup=False)

    def set_aside(self, source: str, folder: Path, reason: str) -> None:
        self._console.print(
            f"load {source}: an earlier load package cannot be loaded and was set aside in {folder}; its rows are "
            f"read again. Reason: {reason}",
            markup=False,
        )

    def finished(self, result: SourceResult) -> None:
        failed = bool(result.errors)
        note = "failed" if failed else "done"
        self._bars.update(self._tasks[result.source], total=1, completed=1, rows=result.rows, note=note)
        if not self._console.is_terminal:
            self._console.print(f"load {result.source}: {result.rows} rows, {result.seconds:.1f} s, {note}")
