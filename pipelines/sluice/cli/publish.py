"""`sluice publish`, and how a publication is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.completion import audiences
from sluice.cli.documents import AsJson, of_published, of_rotated, of_versions, print_document
from sluice.cli.output import err, grid, one_of, out, print_table, project, shown
from sluice.cli.upgrade import say_other_engine
from sluice.config.environments import PRODUCTION
from sluice.config.settings import Settings
from sluice.system import lower_priority

if TYPE_CHECKING:
    from sluice.publish import Published

RotateKey = Annotated[
    str | None,
    typer.Option(
        "--rotate-key",
        metavar="AUDIENCE",
        help="Encrypt its versions with a new key.",
        autocompletion=audiences,
    ),
]


def publish(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="With --rollback: the version to go back to.")
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Give readers the version before, or VERSION.")
    ] = False,
    rotate_key: RotateKey = None,
    accept_rows: Annotated[
        bool, typer.Option("--accept-rows", help="Let row counts move beyond their limits, this time.")
    ] = False,
    versions: Annotated[bool, typer.Option("--versions", help="List the versions that are kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give each audience a new, audited copy of the marts it is granted."""
    import sluice.publish as publishing
    from sluice.cli.progress import StillRunning

    one_of(
        {
            "--accept-rows": accept_rows or None,
            "--versions": versions or None,
            "--rollback": rollback or None,
            "--rotate-key": rotate_key,
        }
    )
    if version and not rollback:
        raise typer.BadParameter("a version is for --rollback")
    settings = project()
    say_other_engine(settings)
    if versions:
        _print_versions(settings, as_json)
    elif rollback:
        given = publishing.rollback(settings, version)
        if as_json:
            print_document({"version": given})
        else:
            out.print(f"readers have version {given} now")
    elif rotate_key is not None:
        lower_priority()
        with StillRunning(f"new key of {rotate_key}"):
            rotated = publishing.rotate_key(settings, rotate_key)
        if as_json:
            print_document(of_rotated(rotate_key, rotated))
            return
        number = len(rotated.versions)
        which = "1 version" if number == 1 else f"all {number} versions"
        out.print(
            f"{which} of {rotate_key} can be read with the new key only. {rotated.left_to_do}.", markup=False
        )
    else:
        lower_priority()
        with StillRunning("publish") as running:
            published = publishing.publish(settings, accept_rows=accept_rows, on_step=running.detail)
        if as_json:
            print_document(of_published(settings, published))
        else:
            print_published(settings, published)


def print_published(settings: Settings, published: Published) -> None:
    """One row per audience, then what was held back, then the version."""
    table = grid("audience", "tables", "rows", "not read", "written", "encrypted", "read it at")
    for name, audience in published.audiences.items():
        file = settings.published_path(name, audience.format)
        table.add_row(
            name,
            str(len(audience.tables)),
            f"{sum(t.rows for t in audience.tables.values()):,}",
            str(len(published.unread[name])),
            str(len(published.written[name])),
            "yes" if audience.is_encrypted else "no",
            str(shown(settings, file)),
        )
    print_table(table)
    for model, reason in published.held.items():
        err.print(f"{model} stays as it was: {reason}", markup=False)
    for name in published.not_copied:
        out.print(f"{name}: not copied elsewhere; only the target {PRODUCTION} writes there", markup=False)
    out.print(f"version {published.version}")


def _print_versions(settings: Settings, as_json: bool) -> None:
    from sluice.publish.versions import Versions

    versions = Versions(settings.published)
    if as_json:
        kept = map(versions.read, reversed(versions.names))
        print_document(of_versions(kept, versions.current))
        return
    table = grid("version", "", "run", "commit", "tables", "rows")
    for name in reversed(versions.names):
        version = versions.read(name)
        tables = [t for a in version.audiences.values() for t in a.tables.values()]
        mark = "current" if name == versions.current else ""
        commit = (version.git_commit or "-")[:8]
        rows = f"{sum(t.rows for t in tables):,}"
        table.add_row(name, mark, version.run_id or "-", commit, str(len(tables)), rows)
    print_table(table)
