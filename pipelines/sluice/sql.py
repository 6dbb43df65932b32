"""Names and values in SQL text: the one place where they are quoted."""

from __future__ import annotations


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A text, or a path, as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"
