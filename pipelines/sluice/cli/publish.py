"""`sluice publish`, and how a publication is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.output import err, grid, out, shown
from sluice.config.settings import Settings, load_settings
from sluice.system import lower_priority

if TYPE_CHECKING:
    from sluice.publish import Published


def publish(
    version: Annotated[str | None, typer.Argument(help="With --rollback: the version to go back to.")] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Give readers the version before, or VERSION.")
    ] = False,
    rotate_key: Annotated[
        str | None,
        typer.Option("--rotate-key", metavar="AUDIENCE", help="Encrypt its versions with a new key."),
    ] = None,
    accept_rows: Annotated[
        bool, typer.Option("--accept-rows", help="Let row counts move beyond their limits, this time.")
    ] = False,
    versions: Annotated[bool, typer.Option("--versions", help="List the versions that are kept.")] = False,
) -> None:
    """Give each audience a new, audited copy of the marts it is granted."""
    import sluice.publish as publishing

    settings = load_settings()
    if version and not rollback:
        raise typer.BadParameter("a version is for --rollback")
    if versions:
        _print_versions(settings)
    elif rollback:
        out.print(f"readers have version {publishing.rollback(settings, version)} now")
    elif rotate_key:
        lower_priority()
        rotated = publishing.rotate_key(settings, rotate_key)
        number = len(rotated.versions)
        which = "1 version" if number == 1 else f"all {number} versions"
        out.print(
            f"{which} of {rotate_key} can be read with the new key only. {rotated.left_to_do}", markup=False
        )
    else:
        lower_priority()
        print_published(settings, publishing.publish(settings, accept_rows=accept_rows))


def print_published(settings: Settings, published: Published) -> None:
    """One row per audience, then what was held back, then the version."""
    current = settings.published / "current"
    table = grid("audience", "tables", "rows", "written", "encrypted", "read it at")
    for name, audience in published.audiences.items():
        file = current / (f"{name}.duckdb" if audience.format == "duckdb" else name)
        table.add_row(
            name,
            str(len(audience.tables)),
            f"{sum(t.rows for t in audience.tables.values()):,}",
            str(len(published.written[name])),
            "yes" if audience.is_encrypted else "no",
            str(shown(settings, file)),
        )
    out.print(table)
    for model, reason in published.held.items():
        err.print(f"{model} stays as it was: {reason}", markup=False)
    out.print(f"version {published.version}")


def _print_versions(settings: Settings) -> None:
    from sluice.publish.versions import Versions

    versions = Versions(settings.published)
    table = grid("version", "", "run", "commit", "tables", "rows")
    for name in reversed(versions.names):
        version = versions.read(name)
        tables = [t for a in version.audiences.values() for t in a.tables.values()]
        mark = "current" if name == versions.current else ""
        commit = (version.git_commit or "-")[:8]
        rows = f"{sum(t.rows for t in tables):,}"
        table.add_row(name, mark, version.run_id or "-", commit, str(len(tables)), rows)
    out.print(table)
