"""A whole run, as `sluice run` and a scheduler call it: load, build, docs, publish, catalog."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.build.unchanged import unchanged
from sluice.config.declaration import Source
from sluice.config.settings import Settings
from sluice.dbt.build_state import BUILDING
from sluice.dbt.run_results import BuildResult
from sluice.dbt.runner import Session, dbt_session, excluding
from sluice.errors import Exit, SluiceError
from sluice.extract.contract import LoadOptions
from sluice.load.results import ProgressListener, SourceResult, exit_code
from sluice.workflow.last_run import is_nothing_left_to_do, keep_marks
from sluice.workflow.load import load

if TYPE_CHECKING:  # what later steps need is imported when they begin, so that the load begins at once
    from sluice.publish import Published


@dataclass(frozen=True)
class RunResult:
    """The result of each step of a run."""

    loads: Sequence[SourceResult]
    build: BuildResult
    dbt_failed: bool
    """dbt ended a command with an error."""
    published: Published | None
    """None: the project has no audiences, or the publication failed."""
    errors: Sequence[SluiceError]
    """Why publishing or the catalog failed."""
    seconds: float

    @property
    def exit(self) -> Exit:
        """OK if every step succeeded in full, CONNECTION where nothing failed but connections, or FAILED."""
        steps = {exit_code(self.loads), *(error.exit for error in self.errors)} - {Exit.OK}
        if self.dbt_failed or len(steps) > 1:
            return Exit.FAILED
        return Exit.CONNECTION if Exit.CONNECTION in steps else Exit.FAILED if steps else Exit.OK


def run(
    settings: Settings,
    sources: Sequence[Source[Any, Any]],
    *,
    is_complete: bool = True,
    loading: AbstractContextManager[ProgressListener | None] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
    on_detail: Callable[[str], None] = lambda detail: None,
) -> RunResult:
    """Run every step; one that fails does not stop the steps that can do without it.

    is_complete: false if sources with a mistake were left out. loading: is entered for the load only, and gives the
    load's listener. on_step: is called with the name of each step after the load as it begins, on_detail with what the
    step does next. Raises LockedError when another process works on the warehouse for too long.
    """
    started = time.monotonic()
    with dbt_session(settings, BUILDING, is_early=unchanged(settings) is None) as dbt:
        with loading or nullcontext() as listener:
            starting = _StartsDbt(listener or ProgressListener(), dbt)
            loads = load(settings, sources, LoadOptions(), starting, is_complete=is_complete)
        from sluice.workflow.build import build

        on_step("build: dbt build")
        failed_tables = [name for result in loads for name in result.failed]
        code, built = build(settings, excluding(failed_tables), dbt)
        if is_nothing_left_to_do(settings, built):
            on_step("docs, publication and catalog are as they were, for nothing has changed")
            return RunResult(loads, built, bool(code), None, [], time.monotonic() - started)
        on_step("docs: dbt docs generate")
        # a whole build that passed has compiled all, and left that in the manifest
        is_compiled = not code and not failed_tables
        code |= dbt(["docs", "generate", "--static", *["--no-compile"] * is_compiled])
    errors: list[SluiceError] = []
    published = None
    if settings.audiences.is_file():
        from sluice.publish import publish

        on_step("publish")
        with _noted(errors):
            published = publish(settings, on_step=on_detail)
    from sluice import catalog

    on_step("catalog")
    with _noted(errors):
        catalog.write(settings, catalog.gather(settings, on_step=on_detail))
    if not code and not errors:
        keep_marks(settings)
    return RunResult(loads, built, bool(code), published, errors, time.monotonic() - started)


class _StartsDbt(ProgressListener):
    """Passes on how a load goes, and starts dbt with the first source that has brought rows."""

    def __init__(self, listener: ProgressListener, dbt: Session) -> None:
        self._listener, self._dbt = listener, dbt

    def rows(self, source: str, table: str, rows: int) -> None:
        self._listener.rows(source, table, rows)

    def finished(self, result: SourceResult) -> None:
        if result.rows:
            self._dbt.start()
        self._listener.finished(result)

    def retried(self, source: str, table: str, what: str) -> None:
        self._listener.retried(source, table, what)

    def set_aside(self, source: str, folder: Path, reason: str) -> None:
        self._listener.set_aside(source, folder, reason)


@contextmanager
def _noted(errors: list[SluiceError]) -> Iterator[None]:
    """Add an error to `errors`: the next step can do without this one."""
    try:
        yield
    except SluiceError as error:
        errors.append(error)
