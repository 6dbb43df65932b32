"""`sluice catalog`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.output import err, out, shown
from sluice.config.settings import load_settings
from sluice.errors import Exit
from sluice.system import without_collector


def catalog(
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to write it; default: target/catalog.html.")
    ] = None,
    check_only: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail on undocumented, unowned or untested marts.")
    ] = False,
    profiles: Annotated[
        bool,
        typer.Option("--profiles/--no-profiles", help="Look into the tables, or only at what is declared."),
    ] = True,
) -> None:
    """Write the catalog: one page with every table, column, test, load and where it all comes from."""
    with without_collector():
        _catalog(output, check_only, profiles)


def _catalog(output: Path | None, check_only: bool, profiles: bool) -> None:
    from sluice.catalog import gather, write
    from sluice.cli.progress import StillRunning
    from sluice.workflow.build import record_build

    settings = load_settings()
    record_build(settings)
    with StillRunning("catalog") as running:
        gathered = gather(settings, with_profiles=profiles, on_step=running.detail)
    problems = gathered.problems
    if check_only:
        for problem in problems:
            if problem.gate:
                err.print(f"{problem.rule}: {problem.text}", markup=False)
        failing = sum(problem.gate for problem in problems)
        if failing:
            raise typer.Exit(Exit.FAILED)
        has_marts = any(table.layer == "marts" for table in gathered.manifest.tables.values())
        out.print(
            "every mart is documented, owned and tested"
            if has_marts
            else "there are no marts (models in models/marts/), so nothing was checked"
        )
        return
    file = write(settings, gathered, output)
    size = file.stat().st_size / 1e6
    out.print(f"{shown(settings, file)}: {len(gathered.ids)} tables, {size:.1f} MB; open it in a browser")
