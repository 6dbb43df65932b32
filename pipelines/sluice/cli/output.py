"""How the command line reads its project and shows things: consoles, tables, paths, spans of time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from sluice.config.settings import Settings, load_settings

if TYPE_CHECKING:
    from sluice.config.yaml_file import Problem

out = Console(highlight=False, soft_wrap=True)
_wide = Console(highlight=False, soft_wrap=True, width=100_000)
err = Console(stderr=True, highlight=False, soft_wrap=True)
NUMBERS = ("rows", "loaded", "deleted", "quarantined", "seconds", "lag", "limit", "tables", "failed")
"""Headings of columns that are aligned to the right."""


def grid(*headings: str) -> Table:
    """An empty table with these headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in NUMBERS else "left")
    return table


def print_table(table: Table) -> None:
    """Print a table as wide as it is: a terminal wraps its lines, and nothing is cut anywhere."""
    _wide.print(table)


def one_of(options: Mapping[str, object]) -> None:
    """Refuse options that do not go together, by name; those that are None were not given."""
    if len(several := [name for name, value in options.items() if value is not None]) > 1:
        raise typer.BadParameter(f"{' and '.join(several)} do not go together; give one after the other")


def project() -> Settings:
    """Settings of the project above the working directory, which becomes the working directory.

    Relative paths in declarations and connections then mean the same from every subfolder; for commands whose options
    name no files. Raises UsageError outside of a project.
    """
    settings = load_settings()
    os.chdir(settings.root)
    return settings


def shown(settings: Settings, path: Path) -> Path:
    """A path as a person reads it: relative where it is below the project."""
    return path.relative_to(settings.root) if path.is_relative_to(settings.root) else path


def print_problems(settings: Settings, problems: Sequence[Problem]) -> None:
    """One line for each mistake of a declaration."""
    for problem in problems:
        err.print(str(replace(problem, file=shown(settings, problem.file))), markup=False)


def span(time: timedelta | None) -> str:
    """A span of time in the unit that fits it, e.g. `36.0 h`."""
    if time is None:
        return "-"
    hours = time.total_seconds() / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} d"
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
