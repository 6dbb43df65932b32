"""`sluice load`, and how the result of a load is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.completion import sources_and_tables
from sluice.cli.documents import AsJson, of_loads, print_document
from sluice.cli.output import err, grid, one_of, out, print_problems, print_table, project
from sluice.cli.upgrade import say_other_engine
from sluice.config.settings import Settings
from sluice.errors import Exit
from sluice.system import lower_priority

if TYPE_CHECKING:
    from sluice.config.declaration import Source
    from sluice.load.results import SourceResult

Selection = Annotated[
    list[str] | None,
    typer.Argument(
        help="crm, or crm.contacts; default: all", metavar="SOURCE", autocompletion=sources_and_tables
    ),
]


def load(
    selection: Selection = None,
    full_refresh: Annotated[
        bool,
        typer.Option(
            "--full-refresh",
            help="Read the tables from scratch and exchange raw's for them; see docs/loading.md.",
        ),
    ] = False,
    since: Annotated[
        str | None, typer.Option("--from", help="Load rows again from this cursor value on, e.g. 2026-01-01.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Up to this cursor value, which is not included.")
    ] = None,
    retry_quarantine: Annotated[
        bool, typer.Option("--retry-quarantine", help="Only load quarantined rows again, after a fix.")
    ] = False,
    keep_rows: Annotated[
        bool,
        typer.Option(
            "--keep-rows",
            help="Keep rows as they were read, where the declaration has changed since; read new ones as declared.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Load what is new from the sources into raw."""
    from sluice.cli.progress import LoadProgress
    from sluice.extract.contract import LoadOptions
    from sluice.load.results import exit_code
    from sluice.workflow.load import load as load_all

    lower_priority()
    window = None if since is None and until is None else (since, until)
    one_of(
        {
            "--full-refresh": full_refresh or None,
            "--retry-quarantine": retry_quarantine or None,
            "--from, --to": window,
            "--keep-rows": keep_rows or None,
        }
    )
    if window and not selection:
        raise typer.BadParameter(
            "--from and --to load rows of named tables again: name them, like crm.contacts"
        )
    settings = project()
    say_other_engine(settings)
    sources, all_sound = sources_to_load(settings, selection or [])
    with LoadProgress(err if as_json else out, [source.name for source in sources]) as listener:
        options = LoadOptions(full_refresh, window, retry_quarantine, keep_rows)
        results = load_all(settings, sources, options, listener, is_complete=all_sound)
    if as_json:
        print_document(of_loads(results))
    else:
        print_loads(results)
    raise typer.Exit(with_mistakes(exit_code(results), all_sound))


def sources_to_load(settings: Settings, selection: Sequence[str]) -> tuple[list[Source[Any, Any]], bool]:
    """The sources without a mistake, and whether those are all; the mistakes of the others are printed.

    Raises DeclarationError if there is nothing to load.
    """
    from sluice.config.sources import sound_sources

    sources, problems = sound_sources(settings.sources, selection)
    print_problems(settings, problems)
    if problems:
        err.print("Sources with a mistake are left out.\n")
    return sources, not problems


def with_mistakes(code: Exit, all_sound: bool) -> Exit:
    """The exit code of a command that left out the sources with a mistake."""
    if all_sound:
        return code
    return Exit.DECLARATION if code == Exit.OK else Exit.FAILED


def print_loads(results: Sequence[SourceResult]) -> None:
    """One row per source, then the errors."""
    table = grid("source", "rows", "deleted", "quarantined", "seconds", "state")
    for result in results:
        failed = len(result.failed)
        state = f"{failed} of {len(result.tables)} tables failed" if failed else "ok"
        deleted = sum(t.deleted for t in result.tables)
        bad = sum(t.quarantined for t in result.tables)
        numbers = [f"{n:,}" for n in (result.rows, deleted, bad)]
        table.add_row(result.source, *numbers, f"{result.seconds:.1f}", state)
    print_table(table)
    for result in results:
        for message in result.messages:
            out.print(f"\n{message}", markup=False)
        for warning in result.warnings:
            out.print(f"\nwarning: {warning}", markup=False)
        for error in result.errors:
            err.print(f"\n{error}", markup=False)
