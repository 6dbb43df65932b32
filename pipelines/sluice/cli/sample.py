"""`sluice sample`: a part of production's raw for another target."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.cli.output import grid, one_of, out, print_table, project
from sluice.system import lower_priority


def sample(
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Rows to begin with in each table without parents.")
    ] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, help="Begin with the last days of tables with a time as cursor."),
    ] = None,
) -> None:
    """Fill raw of this target with a part of production's, in which every reference leads to a row."""
    from sluice.cli.progress import StillRunning
    from sluice.workflow.sample import sample as take

    one_of({"--rows": rows, "--days": days})
    if rows is None and days is None:
        raise typer.BadParameter("say how much: --rows 1000, or --days 7")
    settings = project()
    lower_priority()
    with StillRunning("sample"):
        result = take(settings, rows=rows, days=days)
    table = grid("table", "rows", "of")
    for name, (taken, there) in result.rows.items():
        table.add_row(name, f"{taken:,}", f"{there:,}")
    print_table(table)
    for reason in result.not_followed:
        out.print(f"not followed: {reason}", markup=False)
    out.print(f"{len(result.relationships)} relationships followed, and checked in the sample")
