"""`sluice check`: declarations, then conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from sluice.cli.output import err, out, shown
from sluice.config.settings import Settings, load_settings
from sluice.errors import Exit

if TYPE_CHECKING:
    from sluice.config.yaml_file import Problem


def check() -> None:
    """Check every declaration in sources/, audiences.yml, and the conventions of models; no network, no warehouse."""
    from sluice.config.audiences import read_policy
    from sluice.config.sources import read_sources
    from sluice.extract import declaration_problems

    settings = load_settings()
    sources, problems = read_sources(settings.sources)
    problems += [problem for source in sources for problem in declaration_problems(source)]
    problems += read_policy(settings.audiences)[1]
    _print_problems(settings, problems, Exit.DECLARATION)
    tables = sum(len(s.tables) for s in sources)
    out.print(f"{len(sources)} sources, {tables} tables: all declarations are sound")

    from sluice.conventions.check import (
        check_conventions,  # imports sqlglot, which the declarations do not need
    )

    models, broken = check_conventions(settings)
    _print_problems(settings, broken, Exit.FAILED)
    if models:
        out.print(f"{models} models: all conventions are kept")


def _print_problems(settings: Settings, problems: Sequence[Problem], code: Exit) -> None:
    """One line per problem, and the end of the command if there is one."""
    for problem in problems:
        err.print(str(replace(problem, file=shown(settings, problem.file))), markup=False)
    if problems:
        raise typer.Exit(code)
