"""Names that a project declares, for completion in a shell: read quickly, and silent about mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from sluice.config.yaml_file import LOADER


def declared_names(folder: Path) -> list[str]:
    """Sources (`crm`) and their tables (`crm.contacts`) in the files of `folder` that can be read."""
    names = []
    for file in sorted(file for ending in ("yml", "yaml") for file in folder.rglob(f"*.{ending}")):
        for source in _entries(file, "sources"):
            names.append(source["name"])
            tables = source.get("tables")
            tables = [t for t in tables if isinstance(t, dict)] if isinstance(tables, list) else []
            names += [f"{source['name']}.{table['name']}" for table in tables if table.get("name")]
    return names


def audience_names(file: Path) -> list[str]:
    """The audiences of audiences.yml."""
    return [audience["name"] for audience in _entries(file, "audiences")]


def _entries(file: Path, key: str) -> Iterator[dict[str, Any]]:
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        content = yaml.load(file.read_text(encoding="utf-8-sig"), Loader=LOADER)  # noqa: S506 - it is the safe one
        entries = content.get(key) if isinstance(content, dict) else None
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                yield entry
