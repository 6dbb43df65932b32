"""`sluice lineage`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.output import out
from sluice.config.settings import load_settings


def lineage(
    column: Annotated[
        str | None, typer.Argument(help="model.column, or source.table.column with a field inside it.")
    ] = None,
    up: Annotated[bool, typer.Option("--up/--down", help="Where it comes from, or where it goes.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs; docs/lineage.md has the shape.")
    ] = False,
    openlineage: Annotated[
        Path | None,
        typer.Option(help="Write the whole project's lineage as OpenLineage events into this folder."),
    ] = None,
) -> None:
    """Where a column's values come from, and what else decides about its rows."""
    from sluice.lineage import describe, export_openlineage, read_project

    settings = load_settings()
    if openlineage:
        files = export_openlineage(read_project(settings.target, settings.lineage_cache), openlineage)
        out.print(f"{len(files)} events in {openlineage}")
    if column:
        cache = settings.lineage_cache
        out.print(describe(settings.target, column, up=up, as_json=as_json, cache_file=cache), markup=False)
    if not column and not openlineage:
        raise typer.BadParameter("name a column, such as orders.amount, or give --openlineage FOLDER")
