"""`sluice review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.documents import AsJson, of_review, print_document
from sluice.cli.output import out
from sluice.config.settings import load_settings
from sluice.errors import Exit


def review(
    base: Annotated[str, typer.Option(help="Branch, tag or commit to compare with.")] = "main",
    output: Annotated[Path | None, typer.Option("--output", help="Write the Markdown here too.")] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Write one HTML page here.")] = None,
    data: Annotated[
        bool,
        typer.Option("--data/--no-data", help="Build what changed, or look at meaning and lineage only."),
    ] = True,
    accept_file: Annotated[
        Path | None,
        typer.Option("--accept-file", help="Text with accepting lines: the pull request's description."),
    ] = None,
    fail_on: Annotated[
        str | None, typer.Option("--fail-on", help="Exit with 1 at this verdict or a worse one: look, stop.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a branch changes in meaning, data and promises: a verdict, its reasons, and whom to ask."""
    import sluice.review as reviewing
    from sluice.cli.progress import StillRunning
    from sluice.review.run import read_accepted

    if fail_on not in (None, "look", "stop"):
        raise typer.BadParameter("--fail-on takes look or stop")
    with StillRunning(f"review against {base}"):
        found = reviewing.review(load_settings(), base, with_data=data, accepted=read_accepted(accept_file))
    text = reviewing.markdown(found)
    if output:
        output.write_text(text, encoding="utf-8")
    if page:
        page.write_text(reviewing.html(found), encoding="utf-8")
    if as_json:
        print_document(of_review(found))
    else:
        out.print(text, markup=False, end="")
    if fail_on and found.verdict >= reviewing.Level[fail_on.upper()]:
        raise typer.Exit(Exit.FAILED)
