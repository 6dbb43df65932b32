"""`sluice discover`: from a system to its source file."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.cli.output import out, project, shown

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
) -> None:
    """Look at a system and write its source file: tables, columns, keys, cursors, data classes, relationships."""
    from sluice.discover.contract import Limits
    from sluice.discover.project_files import write_source
    from sluice.discover.run import discover as discover_system
    from sluice.discover.run import find_target, scratch_database

    settings = project()
    limits = Limits(schemas=tuple(schema or ()), tables=tuple(tables or ()))
    target = find_target(address, settings, name=name, connection=connection)
    with scratch_database() as con:
        found = discover_system(target, settings, con, limits)
    written = write_source(settings, found)
    out.print(f"{shown(settings, written.file)}: {len(found.source.tables)} tables", markup=False)
    for name_, reason in found.source.skipped.items():
        out.print(f"left out: {name_}: {reason}", markup=False)
    for message in written.messages:
        out.print(message, markup=False)
