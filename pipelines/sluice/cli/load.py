"""`sluice load`, and how the result of a load is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.output import err, grid, out
from sluice.config.settings import load_settings
from sluice.errors import Exit
from sluice.system import lower_priority

if TYPE_CHECKING:
    from sluice.load.results import SourceResult


def load(
    selection: Annotated[
        list[str] | None, typer.Argument(help="crm, or crm.contacts; default: all", metavar="[SOURCE]…")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Drop the raw tables and load them from scratch.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--from", help="Load rows again from this cursor value on, e.g. 2026-01-01.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Up to this cursor value, which is not included.")
    ] = None,
    retry_quarantine: Annotated[
        bool, typer.Option("--retry-quarantine", help="Only load quarantined rows again, after a fix.")
    ] = False,
) -> None:
    """Load what is new from the sources into raw."""
    from sluice.cli.progress import LoadProgress
    from sluice.config.sources import load_sources
    from sluice.extract.contract import LoadOptions
    from sluice.workflow.load import load as load_all

    lower_priority()
    window = None if since is None and until is None else (since, until)
    modes = {"--full-refresh": full_refresh, "--retry-quarantine": retry_quarantine, "--from, --to": window}
    if len(several := [name for name, given in modes.items() if given]) > 1:
        raise typer.BadParameter(f"{' and '.join(several)} do not go together; load with one after the other")
    settings = load_settings()
    sources = load_sources(settings.sources, selection or [])
    with LoadProgress(out, [source.name for source in sources]) as listener:
        options = LoadOptions(full_refresh, window, retry_quarantine)
        results = load_all(settings, sources, options, listener)
    print_loads(results)
    if any(result.errors for result in results):
        raise typer.Exit(Exit.FAILED)


def print_loads(results: Sequence[SourceResult]) -> None:
    """One row per source, then the errors."""
    table = grid("source", "rows", "deleted", "quarantined", "seconds", "state")
    for result in results:
        failed = len(result.failed)
        state = f"{failed} of {len(result.tables)} tables failed" if failed else "ok"
        deleted = sum(t.deleted for t in result.tables)
        bad = sum(t.quarantined for t in result.tables)
        numbers = [f"{n:,}" for n in (result.rows, deleted, bad)]
        table.add_row(result.source, *numbers, f"{result.seconds:.1f}", state)
    out.print(table)
    for result in results:
        for error in result.errors:
            err.print(f"\n{error}", markup=False)
