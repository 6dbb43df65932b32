"""How the command line shows things: consoles, tables, paths, spans of time."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sluice.config.settings import Settings

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)
NUMBERS = ("rows", "loaded", "deleted", "quarantined", "seconds", "lag", "limit", "tables", "failed")
"""Headings of columns that are aligned to the right."""


def grid(*headings: str) -> Table:
    """An empty table with these headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in NUMBERS else "left")
    return table


def shown(settings: Settings, path: Path) -> Path:
    """A path as a person reads it: relative where it is below the project."""
    return path.relative_to(settings.root) if path.is_relative_to(settings.root) else path


def span(time: timedelta | None) -> str:
    """A span of time in the unit that fits it, e.g. `36.0 h`."""
    if time is None:
        return "-"
    hours = time.total_seconds() / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} d"
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
