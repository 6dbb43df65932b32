"""`sluice status` and `sluice runs`: what was loaded, when, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.documents import AsJson, of_runs, of_status, print_document, run_seconds
from sluice.cli.load import sources_to_load, with_mistakes
from sluice.cli.output import err, grid, out, print_table, span
from sluice.config.settings import load_settings
from sluice.errors import Exit

if TYPE_CHECKING:
    from sluice.runs.status import SourceStatus


def status(as_json: AsJson = False) -> None:
    """Each source's last load, its rows, and its lag behind the freshness limit."""
    from sluice.runs.status import status as source_status
    from sluice.runs.store import RunStore

    settings = load_settings()
    sound, all_sound = sources_to_load(settings, ())
    sources = source_status(sound, RunStore(settings.ledger))
    if as_json:
        print_document(of_status(sources))
    else:
        _print_status(sources)
    raise typer.Exit(with_mistakes(Exit.OK, all_sound))


def _print_status(sources: Sequence[SourceStatus]) -> None:
    table = grid("source", "state", "last load (UTC)", "rows", "lag", "limit")
    for source in sources:
        last = f"{source.last_load:%Y-%m-%d %H:%M}" if source.last_load else "-"
        rows = f"{source.rows_loaded:,}"
        table.add_row(source.source, source.state, last, rows, span(source.lag), span(source.limit))
    print_table(table)
    for source in sources:
        for line in source.drift:
            out.print(f"drift: {line}", markup=False)
    for source in sources:
        for warning in source.warnings:
            out.print(f"warning: {warning}", markup=False)
    for source in sources:
        for error in source.errors:
            err.print(error, markup=False)


def runs(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The last runs: when, how long, what they loaded, and whether they failed."""
    from sluice.runs.store import RunStore

    rows = RunStore(load_settings().ledger).runs(limit)
    if as_json:
        print_document(of_runs(rows))
        return
    counted = ("tables", "rows_loaded", "rows_deleted", "rows_quarantined", "warnings", "failed")
    table = grid("started (UTC)", "command", "status", "seconds", *(n.removeprefix("rows_") for n in counted))
    for row in rows:
        started = datetime.fromisoformat(row["started_at"])
        taken = run_seconds(row)
        seconds = "-" if taken is None else f"{taken:.1f}"
        counts = [f"{row[name]:,}" for name in counted]
        table.add_row(f"{started:%Y-%m-%d %H:%M:%S}", row["command"], row["status"], seconds, *counts)
    print_table(table)
