"""The kinds of sources, and the extractor of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # commands that read no source need none of these
    from sluice.config.declaration import Source
    from sluice.config.yaml_file import Problem
    from sluice.extract.contract import Extractor

REREADABLE = ("database", "files")
"""Kinds that bring all of their rows each time they are read whole, change nothing where they read, and need no dlt."""


def extractor(source: Source[Any, Any]) -> Extractor:
    """The extractor of the source's kind; imported here, for most of them take long to import."""
    match source.kind:
        case "database":
            from sluice.extract import database

            return database.extract
        case "files":
            from sluice.extract import files

            return files.extract
        case "rest":
            from sluice.extract import rest

            return rest.extract
        case "stream":
            from sluice.extract import stream

            return stream.extract
        case "python":
            from sluice.extract import python

            return python.extract
    raise ValueError(source.kind)


def declaration_problems(source: Source[Any, Any]) -> list[Problem]:
    """Mistakes that do not keep a source from being loaded here, or that only the extractor's libraries can find.

    Needs no network.
    """
    if source.kind == "rest":
        from sluice.extract import rest

        return rest.problems(source)
    from sluice.config.checks import located, unportable

    return located(source, unportable(source))
