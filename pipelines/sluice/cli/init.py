"""`sluice init`: what a person sets up once on a machine."""

from __future__ import annotations

from typing import Annotated

import typer
from typer._completion_shared import Shells, install  # typer offers it as an option only

from sluice.cli.output import out

init = typer.Typer(no_args_is_help=True, help="Set up what a person needs once on a machine.")


@init.callback()
def _group() -> None:
    """Set up what a person needs once on a machine."""


@init.command()
def completion(
    shell: Annotated[
        Shells | None, typer.Argument(help="Name of the shell; default: the one this runs in.")
    ] = None,
) -> None:
    """Let the shell complete commands, options, and the project's sources, tables and audiences."""
    name, file = install(shell.value if shell else None, prog_name="sluice")
    out.print(f"{name} completes sluice from its next start on: {file}", markup=False)
