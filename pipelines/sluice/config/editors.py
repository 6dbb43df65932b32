"""What editors need to check a project's YAML while it is typed: JSON Schemas, and settings that name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sluice.config.json_schema import audiences_schema, json_schema
from sluice.config.settings import AUDIENCES
from sluice.config.text_files import replace_text

FOLDER = ".vscode"
SCHEMAS: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "source.schema.json": (json_schema, ["sources/**/*.yml", "sources/**/*.yaml"]),
    "audiences.schema.json": (audiences_schema, [AUDIENCES]),
}
"""What makes a schema, and the files of a project that have it, by the schema's file."""
SCHEMA_FILES = [f"{FOLDER}/{name}" for name in SCHEMAS]
SETTINGS, EXTENSIONS = f"{FOLDER}/settings.json", f"{FOLDER}/extensions.json"


def editor_files() -> dict[str, str]:
    """Text by path below the project: the schemas, and how Visual Studio Code finds them."""
    files = {f"{FOLDER}/{name}": _json(schema()) for name, (schema, _) in SCHEMAS.items()}
    return {
        **files,
        SETTINGS: _json({"yaml.schemas": schema_settings()}),
        EXTENSIONS: _json({"recommendations": ["redhat.vscode-yaml"]}),
    }


def schema_settings() -> dict[str, list[str]]:
    """Patterns of files by the path of their schema, as the setting `yaml.schemas` takes them."""
    return {f"{FOLDER}/{name}": patterns for name, (_, patterns) in SCHEMAS.items()}


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def write_editor_files(root: Path) -> tuple[list[str], bool]:
    """Write the schemas, and Visual Studio Code's own files where there are none.

    Returns the paths of the files that changed, and whether the settings that are there name the schemas.
    """
    changed = []
    for name, text in editor_files().items():
        file = root / name
        is_own = file.name in SCHEMAS
        if file.is_file() and (not is_own or file.read_text(encoding="utf-8") == text):
            continue
        replace_text(file, text)
        changed.append(name)
    settings = (root / SETTINGS).read_text(encoding="utf-8")  # it may have comments, which JSON has not
    return changed, all(name in settings for name in SCHEMA_FILES)
