"""The `sluice` command: parses what was typed, calls the engine, prints the result; no other package prints.

Each command imports what it needs when it runs, so that `--help` and short commands do not wait for dlt and dbt.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from sluice import __version__
from sluice.cli.adopt import adopt
from sluice.cli.catalog import catalog
from sluice.cli.check import check
from sluice.cli.discover import discover
from sluice.cli.env import env
from sluice.cli.init import init
from sluice.cli.lineage import lineage
from sluice.cli.load import load
from sluice.cli.new import new
from sluice.cli.output import err, out
from sluice.cli.publish import publish
from sluice.cli.review import review
from sluice.cli.run import build, run
from sluice.cli.runs import runs
from sluice.cli.sample import sample
from sluice.cli.schema import schema
from sluice.cli.serve import serve
from sluice.cli.show import show
from sluice.cli.status import status
from sluice.cli.target import on_target
from sluice.cli.upgrade import upgrade
from sluice.config.settings import quiet_tools
from sluice.errors import Exit, SluiceError
from sluice.system import keep_new_files_private

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""A full disk, a quota, a read-only disk, missing rights: no fault of the program's, so no traceback."""

NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
"""A path that somebody named."""


class PluggedIn(TyperGroup):
    """The engine's commands, and those of installed extras: entry points of the group `sluice.commands`."""

    def list_commands(self, ctx: Any) -> list[str]:
        self._plug_in()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            self._plug_in()
        return super().get_command(ctx, cmd_name)

    def _plug_in(self) -> None:
        from importlib.metadata import entry_points

        for point in entry_points(group="sluice.commands"):
            self.add_command(get_command(point.load()), point.name)
            self.commands[point.name].name = point.name


app = typer.Typer(
    cls=PluggedIn,
    help="A data warehouse that lives in a repository.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
WITHOUT_WAREHOUSE = (new, check, schema)
"""Commands for which it does not matter which environment they run in."""
ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}
for command in (
    new,
    adopt,
    check,
    discover,
    load,
    build,
    run,
    status,
    env,
    sample,
    publish,
    catalog,
    serve,
    review,
    lineage,
    show,
    schema,
    upgrade,
):
    app.command(context_settings=ANY_ARGUMENTS if command is build else None)(
        command if command in WITHOUT_WAREHOUSE else on_target(command)
    )
app.add_typer(init, name="init")
app.add_typer(runs, name="runs")


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
    faulthandler.enable(2)  # stderr: says where a library crashed, which otherwise ends in silence
    quiet_tools()
    keep_new_files_private()
    try:
        app()
    except SluiceError as error:
        err.print(str(error), markup=False)
        sys.exit(error.exit)
    except OSError as error:
        if error.errno in UNWRITABLE:
            denied = (
                "this user may not use it" if error.errno == errno.EACCES else "nothing can be written there"
            )
            err.print(f"{error}: {denied}", markup=False)
        elif error.errno in NO_SUCH_FILE:
            err.print(str(error), markup=False)
        else:
            raise
        sys.exit(Exit.FAILED)
    except SystemExit as ended:
        if ended.code != Exit.INTERRUPTED:  # what typer makes of Ctrl-C
            raise
        err.print("interrupted; the next run continues from here")
        sys.stdout.flush()
        os._exit(Exit.INTERRUPTED)  # threads of a broken-off load are not waited for
