"""`sluice new`: a warehouse of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.documents import AsJson, of_new_project, print_document
from sluice.cli.output import out


def new(
    name: Annotated[str, typer.Argument(help="What the project is called, or the path of its folder.")],
    company: Annotated[
        str | None, typer.Option(help="The company as its README calls it. Default: made from the name.")
    ] = None,
    example: Annotated[
        bool, typer.Option("--example", help="The installed example company's warehouse.")
    ] = False,
    wheels: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the engine's wheel. Default: where it was installed from.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a project: a folder with a warehouse that runs, and everything pinned."""
    from sluice.scaffold.project import new_project

    names, files = new_project(name, company, wheels, example=example)
    if as_json:
        print_document(of_new_project(names, files))
        return
    here = Path.cwd()
    folder = names.folder.relative_to(here) if names.folder.is_relative_to(here) else names.folder
    out.print(f"{folder}: the warehouse of {names.company}, {len(files)} files", markup=False)
    out.print("next: make run" if names.folder == here else f"next: cd {folder} && make run", markup=False)
