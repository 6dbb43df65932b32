"""`sluice show`: the first rows of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from sluice.cli.documents import AsJson, of_preview, print_document
from sluice.cli.output import err, grid, out, print_table, project

if TYPE_CHECKING:
    from sluice.dbt.preview import Preview
UNBOUNDED = 100_000
"""Characters of a line that is as long as it has to be."""


def show(
    model: Annotated[str, typer.Argument(help="The model's name; of one with versions, such as orders.v2.")],
    limit: Annotated[int, typer.Option(min=1, help="How many rows.")] = 5,
    as_json: AsJson = False,
) -> None:
    """The first rows of what a model's SQL gives, as its file is now."""
    from sluice.dbt.preview import preview

    found = preview(project(), model, limit)
    if found.reason:
        err.print(f"compiled with dbt: {found.reason}", markup=False)
    if as_json:
        print_document(of_preview(found))
    else:
        _print_rows(found)


def _print_rows(found: Preview) -> None:
    table = grid(*map(escape, found.columns))
    for row in found.texts:
        table.add_row(*map(_cell, row))
    if not found.texts:
        out.print(f"{found.model} has no rows; its columns are {', '.join(found.columns)}", markup=False)
    elif not out.is_terminal:
        print_table(table)
    elif out.measure(table, options=out.options.update(width=UNBOUNDED)).maximum <= out.width:
        out.print(table)
    else:
        width = min(max(map(len, found.columns)), out.width // 2)
        for row in found.texts:
            for name, value in zip(found.columns, row, strict=True):
                out.print(
                    Text("  ").join((_cut(Text(name), width), _cut(_cell(value), out.width - width - 2)))
                )
            out.print()


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def _cell(value: str | None) -> Text:
    if value is None:
        return Text("<null>", style="dim")
    return Text("".join(letter if letter.isprintable() else " " for letter in value))
