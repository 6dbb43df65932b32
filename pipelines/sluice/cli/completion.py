"""What a shell completes besides commands and options: the names that the project declares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sluice.config.settings import AUDIENCES, find_project


def sources_and_tables(incomplete: str) -> list[str]:
    """Sources, and the tables of a source once its name and a dot are typed, or where it is the only one that fits."""
    from sluice.config.names import declared_names

    names = _names(lambda root: declared_names(root / "sources"), incomplete)
    sources = [name for name in names if "." not in name]
    return sources if len(sources) > 1 else names


def audiences(incomplete: str) -> list[str]:
    """The audiences of audiences.yml."""
    from sluice.config.names import audience_names

    return _names(lambda root: audience_names(root / AUDIENCES), incomplete)


def _names(find: Callable[[Path], list[str]], incomplete: str) -> list[str]:
    root = find_project(Path.cwd())
    return [name for name in find(root) if name.startswith(incomplete)] if root else []
