"""`sluice check`."""

from __future__ import annotations

import typer

from sluice.cli.output import err, out, shown
from sluice.config.settings import load_settings
from sluice.errors import Exit


def check() -> None:
    """Check every declaration in sources/, and audiences.yml, with no network."""
    from sluice.config.audiences import read_policy
    from sluice.config.sources import read_sources
    from sluice.extract import declaration_problems

    settings = load_settings()
    sources, problems = read_sources(settings.sources)
    problems += [problem for source in sources for problem in declaration_problems(source)]
    problems += read_policy(settings.root / "audiences.yml")[1]
    for problem in problems:
        err.print(
            f"{shown(settings, problem.file)}:{problem.line}: {problem.where}: {problem.message}",
            markup=False,
        )
    if problems:
        raise typer.Exit(Exit.DECLARATION)
    tables = sum(len(s.tables) for s in sources)
    out.print(f"{len(sources)} sources, {tables} tables: all declarations are sound")
