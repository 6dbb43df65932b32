"""`sluice discover`: from a system to its source file."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.documents import AsJson, of_discovered, of_models, print_document
from sluice.cli.output import err, out, project, shown

if TYPE_CHECKING:
    from sluice.config.settings import Settings
    from sluice.discover.contract import DiscoveredSource
    from sluice.discover.model_files import Saved
    from sluice.discover.project_files import Written

Patterns = Annotated[
    list[str] | None,
    typer.Option(help="Only these tables, files, endpoints or subjects, e.g. 'order*'; may be repeated."),
]


def discover(
    address: Annotated[
        str,
        typer.Argument(
            help="URL of a database, API, bucket or stream, a file or a folder, or the name of a source or connection."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the source; default: as the system is called.")
    ] = None,
    connection: Annotated[
        str | None, typer.Option(help="Connection with the address's credentials; default: a new one.")
    ] = None,
    schema: Annotated[
        list[str] | None, typer.Option(help="Only this schema of a database; may be repeated.")
    ] = None,
    tables: Patterns = None,
    models: Annotated[
        bool,
        typer.Option(
            "--models",
            help="Propose staging models, tests, a first mart and docs/entities.md, too; of a source that is declared,"
            " by what raw holds.",
        ),
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Bring what is new into the source file that is there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a system and write its source file: tables, columns, keys, cursors, data classes, relationships."""
    from sluice.cli.progress import StillRunning
    from sluice.discover.contract import Limits
    from sluice.discover.model_files import is_declared, propose_from_raw, propose_models, save_models
    from sluice.discover.project_files import save_source
    from sluice.discover.run import discover as discover_system
    from sluice.discover.run import find_target, scratch_database

    settings = project()
    if models and is_declared(settings, address):
        with scratch_database() as con:
            saved = save_models(settings, propose_from_raw(settings, address, con))
        _say_models(settings, address, saved, as_json=as_json)
        return
    limits = Limits(schemas=tuple(schema or ()), tables=tuple(tables or ()))
    target = find_target(address, settings, name=name, connection=connection)
    with StillRunning(f"look at {target.name}"), scratch_database() as con:
        found = discover_system(target, settings, con, limits)
        written = save_source(settings, found, con, limits, write=write)
        if models:
            proposed = propose_models(settings, target.name, found.relationships, found.source, con)
            saved = save_models(settings, proposed)
    if as_json:
        document = of_discovered(settings, found, written, write=write)
        print_document({**document, "models": of_models(settings, saved) if models else None})
        return
    _print_source(str(shown(settings, written.file)), found.source, written, write=write)
    if models:
        _print_models(settings, saved)


def _say_models(settings: Settings, source: str, saved: Saved, *, as_json: bool) -> None:
    if as_json:
        print_document({"source": source, "models": of_models(settings, saved)})
    else:
        _print_models(settings, saved)


def _print_source(file: str, source: DiscoveredSource, written: Written, *, write: bool) -> None:
    """What was found; of a source that has its file what differs, and the patch alone on standard output."""
    for different in written.differences:
        err.print(f"{different.place}: {different.message}", markup=False)
    for table, reason in source.skipped.items():
        err.print(f"{table} is left out: {reason}", markup=False)
    if written.is_new:
        questions = len(source.questions) + sum(len(table.questions) for table in source.tables)
        out.print(f"{file}: {len(source.tables)} tables, {questions} questions to answer", markup=False)
    elif not written.patch:
        out.print(f"{file}: nothing to add", markup=False)
    elif write:
        out.print(f"{file}: changed; git diff shows what is new", markup=False)
    else:
        err.print("The same command with --write applies this patch, and so does `git apply`:", markup=False)
        typer.echo(written.patch, nl=False)  # as it is; a console would drop carriage returns
    for message in written.messages:
        out.print(message, markup=False)


def _print_models(settings: Settings, saved: Saved) -> None:
    """The files by folder and what is left to do; on standard output alone what existing files lack."""
    for folder, files in groupby(saved.written, key=lambda file: file.parent):
        names = [file.name for file in files]
        said = names[0] if len(names) == 1 else f"{len(names)} files"
        out.print(f"{shown(settings, folder)}: {said}", markup=False)
    if saved.kept:
        err.print(f"{len(saved.kept)} files exist and stay as they are", markup=False)
    for note in saved.notes:
        err.print(note, markup=False)
    if saved.patches:
        err.print("They lack this, which `git apply` takes:", markup=False)
    for patch in saved.patches:
        typer.echo(patch, nl=False)
