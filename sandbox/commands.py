"""`sluice sandbox`: start, stop and move the example company; the engine finds it by its entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated

import typer
from rich.console import Console

from sluice.config.settings import Settings, load_settings

app = typer.Typer(
    help="The sandbox company: real servers on this machine, with made-up data.", no_args_is_help=True
)
out = Console(highlight=False, soft_wrap=True)


@app.command("up")
def up(
    seed: Annotated[
        int | None, typer.Option(help="Which company; the same seed makes the same one. Default: 42.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=0.001, help="1, the default, is about 100,000 orders in two years.")
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="Its today; a new one's is 2026-09-30."),
    ] = None,
) -> None:
    """Start the company's servers, and fill them on first use."""
    settings = load_settings()
    _start(settings, _print, seed, scale, day.date() if day else None, outlive=True)
    out.print(f"the sandbox is up; `sluice load` finds it through {settings.connections}")


@app.command("down")
def down() -> None:
    """Stop the company's servers; what they hold stays."""
    from sandbox import company

    company.down(load_settings().home)
    out.print("the sandbox is down")


@app.command("advance")
def advance(days: Annotated[int, typer.Option(min=1, help="How many days.")] = 1) -> None:
    """Move the company forward in time: new rows, updates, deletes, files and messages."""
    from sandbox import company

    settings = load_settings()
    company.advance(settings.home, days, progress=_print)
    out.print(f"AnyCompany's today is {company.status(settings.home).date}")


@app.command("status")
def status() -> None:
    """The company's date, its servers and their ports."""
    from sandbox import company

    found = company.status(load_settings().home)
    if found.date is None:
        out.print("there is no sandbox yet: sluice sandbox up")
        return
    state = "running" if found.running else "stopped"
    out.print(f"{state}, today is {found.date} (seed {found.seed}, scale {found.scale:g})")
    for name, pid in found.servers.items():
        ports = ", ".join(f"{what} {port}" for what, port in found.ports.get(name, {}).items())
        out.print(f"  {name}: {f'process {pid}, {ports}' if pid else 'not running'}")


@contextmanager
def running(settings: Settings, progress: Callable[[str], None]) -> Iterator[None]:
    """The company while something loads from it; it is stopped afterwards unless it ran before."""
    from sandbox import company

    was_running = _start(settings, progress)
    try:
        yield
    finally:
        if not was_running:
            company.down(settings.home)


def _start(
    settings: Settings,
    progress: Callable[[str], None],
    seed: int | None = None,
    scale: float | None = None,
    day: date | None = None,
    *,
    outlive: bool = False,
) -> bool:
    """Start the company, a new one if there is none; whether it ran already."""
    from sandbox import company

    was_running = company.status(settings.home).running
    company.up(settings.home, seed=seed, scale=scale, date=day, outlive=outlive, progress=progress)
    return was_running


def _print(text: str) -> None:
    out.print(f"sandbox: {text}", markup=False)
