"""`sluice schema`: what editors need to check a project's YAML while it is typed."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from sluice.cli.output import out
from sluice.config.settings import load_settings


class SchemaOf(StrEnum):
    """Which files a schema is for."""

    SOURCES = "sources"
    AUDIENCES = "audiences"


def schema(
    files: Annotated[
        SchemaOf, typer.Argument(metavar="FILES", help="sources, or audiences.")
    ] = SchemaOf.SOURCES,
    write: Annotated[
        bool, typer.Option("--write", help="Write all schemas, and settings that name them, into .vscode/.")
    ] = False,
) -> None:
    """Print the JSON Schema of sources/*.yml or audiences.yml, or write what editors need into the project."""
    from sluice.config.editors import schema_settings, write_editor_files
    from sluice.config.json_schema import audiences_schema, json_schema

    if not write:
        print_json = {SchemaOf.SOURCES: json_schema, SchemaOf.AUDIENCES: audiences_schema}[files]
        out.print(json.dumps(print_json(), indent=2), markup=False)
        return
    changed, is_named = write_editor_files(load_settings().root)
    for name in changed:
        out.print(f"written: {name}", markup=False)
    if not changed:
        out.print("nothing to do: the schemas are those of this version")
    if not is_named:
        out.print(
            "\n.vscode/settings.json is yours and stays as it is. Add these lines to its `yaml.schemas`:\n"
            + json.dumps(schema_settings(), indent=2),
            markup=False,
        )
