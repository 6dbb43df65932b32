"""`sluice check`: declarations, then conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from sluice.cli.output import err, out, print_problems
from sluice.cli.upgrade import say_other_engine
from sluice.config.settings import GLOSSARY, Settings, load_settings
from sluice.errors import Exit

if TYPE_CHECKING:
    from sluice.config.yaml_file import Problem


def check() -> None:
    """Check every declaration in sources/, audiences.yml, and the conventions of models; no network, no warehouse."""
    from sluice.catalog.glossary import glossary_problems
    from sluice.config.audiences import read_policy, without_connection
    from sluice.config.connections import Connections
    from sluice.config.sources import read_sources
    from sluice.extract import declaration_problems
    from sluice.load.declarations import changed_tables

    settings = load_settings()
    say_other_engine(settings)
    sources, problems = read_sources(settings.sources)
    problems += [problem for source in sources for problem in declaration_problems(source)]
    policy, wrong = read_policy(settings.audiences)
    problems += wrong or (without_connection(policy) if policy else [])
    problems += glossary_problems(settings.root / GLOSSARY)[1]
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


def _end_with(settings: Settings, problems: Sequence[Problem], code: Exit) -> None:
    """Print the problems, and end the command if there are any."""
    print_problems(settings, problems)
    if problems:
        raise typer.Exit(code)
