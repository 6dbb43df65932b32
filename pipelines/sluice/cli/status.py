"""`sluice status`: what was loaded of each source, when, and how far it lags behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from sluice.cli.documents import AsJson, of_status, print_document
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
