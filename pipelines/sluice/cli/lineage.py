"""`sluice lineage`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.output import err, out
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
    from sluice.dbt.runner import compiled_manifest
    from sluice.lineage import describe, export_openlineage, read_project

    if not column and not openlineage:
        raise typer.BadParameter("name a column, such as orders.amount, or give --openlineage FOLDER")
    settings = load_settings()
    graph = read_project(settings.target, settings.lineage_cache, compiled_manifest(settings))
    if openlineage:
        (err if as_json else out).print(
            f"{len(export_openlineage(graph, openlineage))} events in {openlineage}"
        )
    if column:
        out.print(describe(graph, column, up=up, as_json=as_json), markup=False)
