"""`sluice adopt`: what a dbt project that exists lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.cli.output import out, project


def adopt(
    write: Annotated[bool, typer.Option("--write", help="Write the files, after showing them.")] = False,
) -> None:
    """Show what a dbt-duckdb project lacks to be reviewed, catalogued and published, and write it."""
    from sluice.cli.progress import StillRunning
    from sluice.scaffold.adopt import found_in, proposed_files, write_files

    settings = project()
    for line in found_in(settings):
        out.print(line, markup=False)
    with StillRunning("check of the conventions"):
        files = proposed_files(settings)
    for file in files:
        out.print(
            f"\n{'new' if file.before is None else 'added to'}: {file.path}: {file.purpose}", markup=False
        )
        out.print(file.diff if file.before is not None else file.after, markup=False, end="")
    if not files:
        out.print("\nnothing is missing")
        return
    names = ", ".join(file.path for file in files)
    if write:
        write_files(settings.root, files)
        out.print(f"\nwritten: {names}", markup=False)
        out.print("next: sluice review, sluice catalog; docs/adopt.md says how to publish")
    else:
        out.print(f"\nnothing was written; `sluice adopt --write` writes {names}", markup=False)
