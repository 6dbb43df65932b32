"""`sluice upgrade`, and the line that other commands say where a project asks for another engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice import __version__
from sluice.cli.documents import AsJson, of_upgrade, print_document
from sluice.cli.output import err, one_of, out, project, shown
from sluice.config.settings import Settings
from sluice.errors import Exit

if TYPE_CHECKING:
    from sluice.upgrade.plan import UpgradePlan


def upgrade(
    check: Annotated[
        bool, typer.Option("--check", help="Say what would change; exit code 1 if there is something.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Change it without asking.")] = False,
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the engine's wheel is, if the project carries one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Move the project and its warehouse to the installed engine, with a backup; show what changes and ask first."""
    from sluice.upgrade.operation import finish_interrupted
    from sluice.upgrade.operation import upgrade as move
    from sluice.upgrade.plan import plan_upgrade

    one_of({"--check": check or None, "--write": write or None})
    given = wheels and wheels.absolute()
    settings = project()
    if check and settings.upgrade_journal.exists():
        (err if as_json else out).print(
            "An upgrade was interrupted: `sluice upgrade` puts everything back first, or ends what was complete."
        )
        raise typer.Exit(Exit.FAILED)
    if not check and (said := finish_interrupted(settings)):
        (err if as_json else out).print(said, markup=False)
    plan = plan_upgrade(settings, given)
    if as_json:
        backup = move(settings, plan) if write and not plan.is_empty else None
        print_document(of_upgrade(settings, plan, __version__, backup))
        raise typer.Exit(Exit.OK if plan.is_empty or backup else Exit.FAILED)
    if plan.is_empty:
        out.print(f"nothing to do: the project is at Sluice {__version__}")
        _print_left(plan)
        return
    _print_plan(settings, plan)
    if check:
        raise typer.Exit(Exit.FAILED)
    if not write and not (sys.stdin.isatty() and typer.confirm("\nChange this?")):
        err.print("Nothing was changed. `sluice upgrade --write` does it without asking.")
        raise typer.Exit(Exit.FAILED)
    folder = move(settings, plan)
    out.print(
        f"\nupgraded to Sluice {__version__}; the copies and how to go back: {shown(settings, folder)}",
        markup=False,
    )
    _print_left(plan)


def _print_plan(settings: Settings, plan: UpgradePlan) -> None:
    for change in plan.files:
        out.print(f"{change.name}: {change.reason}", markup=False)
        out.print(change.diff(), markup=False)
    if plan.store:
        name, by = shown(settings, settings.ledger), plan.store.engine
        written = f"Sluice {by}" if by else "an earlier Sluice"
        number = plan.store.migrations
        steps = "1 migration" if number == 1 else f"{number} migrations"
        what = f"{steps} of the run store" if number else f"is recorded as of Sluice {__version__}"
        out.print(f"{name}: written by {written}; {what}", markup=False)
    if plan.copies:
        size = sum(file.stat().st_size for file in plan.copies) / 1e6
        out.print(f"copied first, {size:,.1f} MB, to {shown(settings, settings.backups)}:", markup=False)
        folders = {settings.pipelines: "pipelines/"}
        names = [
            next((n for f, n in folders.items() if f in file.parents), file.name) for file in plan.copies
        ]
        out.print("  " + ", ".join(dict.fromkeys(names)), markup=False)


def _print_left(plan: UpgradePlan) -> None:
    for line in plan.left_to_do:
        err.print(f"left to do: {line}", markup=False)


def say_other_engine(settings: Settings) -> None:
    """One line on standard error if the project asks for another version of the engine than the one that runs."""
    from sluice.upgrade.project_files import is_newer, pins

    for file, version in pins(settings.root).items():
        if version != __version__:
            advice = (
                "install what the project asks for"
                if is_newer(version)
                else "`sluice upgrade` moves the project to it"
            )
            err.print(f"{file} asks for Sluice {version}, this is {__version__}: {advice}", markup=False)
            return
