"""How a load looks while it runs: a live bar per source on a terminal, one line per source elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sluice.load.results import ProgressListener, SourceResult


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
        self._tasks = {name: self._bars.add_task(name, total=None, rows=0, note="") for name in sources}

    def __enter__(self) -> LoadProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
