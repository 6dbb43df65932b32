"""`sluice check`: declarations, then conventions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.output import err, out, print_problems, shown
from sluice.cli.upgrade import say_other_engine
from sluice.config.settings import GLOSSARY, Settings, load_settings
from sluice.errors import Exit, NotLookedAtError, SluiceError, UsageError

if TYPE_CHECKING:
    from sluice.config.declaration import Source
    from sluice.config.yaml_file import Problem


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Only these source files, or audiences.yml; the conventions are left out."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Compare the sources with their systems, too; needs the network.")
    ] = False,
) -> None:
    """Check every declaration in sources/, audiences.yml, and the conventions of models; no network, no warehouse."""
    from sluice.config.connections import Connections

    settings = load_settings()
    say_other_engine(settings)
    if files:
        _check_files(settings, files, live)
        return
    from sluice.load.declarations import changed_tables

    sources, problems = _declarations(settings)
    _end_with(settings, problems, Exit.DECLARATION)
    Connections(settings.root, settings.connections)  # refuses files that cannot be read
    tables = sum(len(s.tables) for s in sources)
    out.print(f"{len(sources)} sources, {tables} tables: all declarations are sound")
    for table, changed in changed_tables(settings, sources):
        out.print(
            f"{table.qualified}: {changed} changed since its rows were read; the next load reads all of them again, "
            "unless raw is that way already, and says so if it cannot",
            markup=False,
        )

    code = _compare_with_systems(settings, sources) if live else Exit.OK
    from sluice.cli.progress import StillRunning
    from sluice.conventions.check import (  # imports sqlglot, which the declarations do not need
        check_conventions,
        rule_names,
    )
    from sluice.conventions.switched_off import CONVENTIONS, switched_off_problems

    switched_off, problems = switched_off_problems(settings.root, rule_names(settings.root))
    _end_with(settings, problems, Exit.DECLARATION)
    with StillRunning("check of the conventions"):
        models, broken = check_conventions(settings)
    for rule, reason in switched_off.items():
        out.print(f"{rule} is switched off: {reason}", markup=False)
    if broken:
        err.print(
            f"A rule that does not fit this project is switched off, with the reason, in {CONVENTIONS}:"
        )
    _end_with(settings, broken, Exit.FAILED)
    if models:
        out.print(f"{models} models: all {'other ' if switched_off else ''}conventions are kept")
    if code:
        raise typer.Exit(code)


def _declarations(
    settings: Settings, only: Collection[Path] = ()
) -> tuple[list[Source[Any, Any]], list[Problem]]:
    """Sources without a mistake, and all mistakes; `only`: those of these files."""
    from sluice.config.audiences import read_policy, without_connection
    from sluice.config.glossary import glossary_problems
    from sluice.config.sources import read_sources
    from sluice.extract import declaration_problems

    def wanted(file: Path) -> bool:
        return not only or file.resolve() in only

    sources, problems = read_sources(settings.sources)
    sources = [source for source in sources if wanted(source.file)]
    problems += [problem for source in sources for problem in declaration_problems(source)]
    if wanted(settings.audiences):
        policy, wrong = read_policy(settings.audiences)
        problems += wrong or (without_connection(policy) if policy else [])
    if wanted(settings.root / GLOSSARY):
        problems += glossary_problems(settings.root / GLOSSARY)[1]
    return sources, [problem for problem in problems if wanted(problem.file)]


def _check_files(settings: Settings, files: Sequence[Path], live: bool) -> None:
    """What a person who saves a file, or a hook before a commit, waits for."""
    for file in files:
        place = file.resolve()
        is_source = place.is_relative_to(settings.sources) and place.suffix in (".yml", ".yaml")
        if not place.is_file() or not (is_source or place in (settings.audiences, settings.root / GLOSSARY)):
            raise UsageError(
                f"{file} is not a file of {settings.sources.name}/, {settings.audiences.name} or {GLOSSARY}; "
                "without files, all of the project is checked"
            )
    sources, problems = _declarations(settings, {file.resolve() for file in files})
    _end_with(settings, problems, Exit.DECLARATION)
    out.print(f"{len(files)} files: all declarations are sound")
    if live and (code := _compare_with_systems(settings, sources)):
        raise typer.Exit(code)


def _compare_with_systems(settings: Settings, sources: Sequence[Source[Any, Any]]) -> Exit:
    """Print how the sources differ from their systems; the code says whether a load would suffer."""
    from sluice.cli.progress import StillRunning
    from sluice.discover.live import live_differences
    from sluice.discover.run import scratch_database

    codes = {Exit.OK}
    for source in sources:
        try:
            with StillRunning(f"look at {source.name}"), scratch_database() as con:
                found = live_differences(source, settings, con)
        except NotLookedAtError as error:
            out.print(str(error), markup=False)
            continue
        except SluiceError as error:
            err.print(str(error), markup=False)
            codes.add(error.exit)
            continue
        for difference in found:
            place = f"{shown(settings, source.file)}:{difference.line}"
            printer = err if difference.breaks else out
            printer.print(f"{place}: {difference.place}: {difference.message}", markup=False)
        if any(difference.breaks for difference in found):
            codes.add(Exit.FAILED)
        if not found:
            out.print(f"{source.name}: as its system is", markup=False)
    return Exit.FAILED if Exit.FAILED in codes else max(codes)


def _end_with(settings: Settings, problems: Sequence[Problem], code: Exit) -> None:
    """Print the problems, and end the command if there are any."""
    print_problems(settings, problems)
    if problems:
        raise typer.Exit(code)
