"""`sluice adopt`: what a dbt project that exists lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.documents import AsJson, of_adopted, print_document
from sluice.cli.output import out, project

if TYPE_CHECKING:
    from sluice.scaffold.adopt import ProposedFile


def adopt(
    write: Annotated[bool, typer.Option("--write", help="Write the files, after showing them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a dbt-duckdb project lacks to be reviewed, catalogued and published, and write it."""
    from sluice.cli.progress import StillRunning
    from sluice.scaffold.adopt import found_in, proposed_files, write_files

    settings = project()
    found = found_in(settings)
    if not as_json:
        _print_found(found)
    with StillRunning("check of the conventions"):
        files = proposed_files(settings)
    if not as_json:
        _print_files(files)
    if write:
        write_files(settings.root, files)
    if as_json:
        print_document(of_adopted(found, files, written=write))
    else:
        _print_end(files, written=write)


def _print_found(found: Sequence[str]) -> None:
    for line in found:
        out.print(line, markup=False)


def _print_files(files: Sequence[ProposedFile]) -> None:
    for file in files:
        out.print(
            f"\n{'new' if file.before is None else 'added to'}: {file.path}: {file.purpose}", markup=False
        )
        out.print(file.diff if file.before is not None else file.after, markup=False, end="")


def _print_end(files: Sequence[ProposedFile], *, written: bool) -> None:
    names = ", ".join(file.path for file in files)
    if not files:
        out.print("\nnothing is missing")
    elif written:
        out.print(f"\nwritten: {names}", markup=False)
        out.print("next: sluice review, sluice catalog; docs/adopt.md says how to publish")
    else:
        out.print(f"\nnothing was written; `sluice adopt --write` writes {names}", markup=False)
