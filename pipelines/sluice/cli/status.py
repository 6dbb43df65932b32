"""`sluice status` and `sluice runs`: what was loaded, when, and how it went."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from sluice.cli.output import err, grid, out, span
from sluice.config.settings import load_settings


def status() -> None:
    """Each source's last load, its rows, and its lag behind the freshness limit."""
    from sluice.config.sources import load_sources
    from sluice.runs.status import status as source_status
    from sluice.runs.store import RunStore

    settings = load_settings()
    sources = source_status(load_sources(settings.sources), RunStore(settings.ledger))
    table = grid("source", "state", "last load (UTC)", "rows", "lag", "limit")
    for source in sources:
        last = f"{source.last_load:%Y-%m-%d %H:%M}" if source.last_load else "-"
        rows = f"{source.rows_loaded:,}"
        table.add_row(source.source, source.state, last, rows, span(source.lag), span(source.limit))
    out.print(table)
    for source in sources:
        for line in source.drift:
            out.print(f"drift: {line}", markup=False)
    for source in sources:
        for error in source.errors:
            err.print(error, markup=False)


def runs(limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20) -> None:
    """The last runs: when, how long, what they loaded, and whether they failed."""
    from sluice.runs.store import RunStore

    counted = ("tables", "rows_loaded", "rows_deleted", "rows_quarantined", "failed")
    table = grid("started (UTC)", "command", "status", "seconds", *(n.removeprefix("rows_") for n in counted))
    for row in RunStore(load_settings().ledger).runs(limit):
        started = datetime.fromisoformat(row["started_at"])
        ended = datetime.fromisoformat(row["ended_at"]) if row["ended_at"] else None
        seconds = f"{(ended - started).total_seconds():.1f}" if ended else "-"
        counts = [f"{row[name]:,}" for name in counted]
        table.add_row(f"{started:%Y-%m-%d %H:%M:%S}", row["command"], row["status"], seconds, *counts)
    out.print(table)
