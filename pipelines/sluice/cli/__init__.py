"""The `sluice` command: parses what was typed, calls the engine, prints the result; no other package prints.

Each command imports what it needs when it runs, so that `--help` and short commands do not wait for dlt and dbt.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from sluice import __version__
from sluice.cli.catalog import catalog
from sluice.cli.check import check
from sluice.cli.lineage import lineage
from sluice.cli.load import load
from sluice.cli.output import err, out
from sluice.cli.publish import publish
from sluice.cli.review import review
from sluice.cli.run import build, run
from sluice.cli.serve import serve
from sluice.cli.status import runs, status
from sluice.config.settings import quiet_tools
from sluice.errors import Exit, SluiceError

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""A full disk, a quota, a read-only disk, missing rights: no fault of the program's, so no traceback."""


class PluggedIn(TyperGroup):
    """The engine's commands, and those of installed extras: entry points of the group `sluice.commands`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *(point.name for point in entry_points(group="sluice.commands"))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        for point in entry_points(group="sluice.commands", name=cmd_name):
            found = get_command(point.load())
            found.name = cmd_name
            return found
        return None


app = typer.Typer(
    cls=PluggedIn,
    help="A data warehouse that lives in a repository.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}
for command in (check, load, build, run, status, runs, publish, catalog, serve, review, lineage):
    app.command(context_settings=ANY_ARGUMENTS if command is build else None)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"sluice {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A data warehouse that lives in a repository."""


def main() -> None:
    """Run the command; a SluiceError becomes its message and exit code, never a traceback."""
    quiet_tools()
    try:
        app()
    except SluiceError as error:
        err.print(str(error), markup=False)
        sys.exit(error.exit)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        err.print(f"{error}: nothing can be written there", markup=False)
        sys.exit(Exit.FAILED)
    except SystemExit as ended:
        if ended.code != Exit.INTERRUPTED:  # what typer makes of Ctrl-C
            raise
        err.print("interrupted; the next run continues from here")
        sys.stdout.flush()
        os._exit(Exit.INTERRUPTED)  # threads of a broken-off load are not waited for
