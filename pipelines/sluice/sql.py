"""Names and values in SQL text, and queries that return one row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A text, or a path, as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def listed(values: Iterable[object]) -> str:
    """Texts between the brackets of IN or NOT IN; without any, a null, with which neither is true."""
    return ", ".join(map(literal, values)) or "null"


def one_row(con: Any, select: str) -> tuple[Any, ...]:
    """The row of a SELECT that returns exactly one, such as an aggregate."""
    (row,) = con.execute(select).fetchall()
    return tuple(row)


def first_value(con: Any, select: str) -> Any:
    """The only value of a SELECT that returns one row of one column."""
    return one_row(con, select)[0]
