"""Names and types that staging gives to the columns of raw: plain, in the conventions of models, each once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from sluice.discover.column_words import singular
from sluice.discover.sql_layout import is_keyword, is_reserved, reference

VAGUE = ("id", "name", "date")
"""Column names that say something only beside the name of their table."""
QUESTION = re.compile(r"(is|has|was|can|should|allows|needs)_")
"""How the name of a boolean begins."""
IDENTIFIER = re.compile(r"_(id|key|uuid|guid|code)$|^(id|key|uuid|guid|code|sku)$")
SHORTER = ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
ALWAYS = Callable[[str], bool]
"""Whether a condition, in which `{}` is the column, holds for all rows of the source that have a value."""


@dataclass(frozen=True)
class Staged:
    """A column as staging selects it."""

    name: str
    sql: str
    """Over raw's column, without the alias."""
    data_type: str
    """DuckDB's name of the type."""


def entity(table: str) -> str:
    """What one row of a table is: order_items is order_item."""
    first, _, last = table.strip("_").rpartition("_")
    return f"{first}_{singular(last)}" if first else singular(last or table)


def words(name: str) -> str:
    """A name in snake_case as text."""
    return name.replace("_", " ").strip()


def staged(raw: str, data_type: str, of: str, always: ALWAYS) -> Staged:
    """The column `raw` of an entity `of` under its plain name and with the type that the name says.

    data_type: DuckDB's name of its type in raw, empty if that is not known.
    """
    name = raw.strip("_")
    if not re.match("[a-z]", name):
        name = f"column_{name}".rstrip("_")
    if name in VAGUE or is_reserved(name):
        name = f"{of}_{name}"
    found = Staged(name, reference(raw), data_type)
    for rule in (_in_utc, _yes_or_no, _day, _moment):
        found = rule(found, always)
    if is_keyword(found.name) and found.sql != found.name:
        return replace(found, name=f"{of}_{found.name}")
    return found


def kind(data_type: str) -> str:
    """The kind of a DuckDB type: text, number, boolean, moment, structure, or other."""
    if data_type == "BOOLEAN":
        return "boolean"
    if data_type.endswith("]") or data_type.startswith(("STRUCT", "MAP", "UNION", "JSON", "VARIANT")):
        return "structure"
    if data_type.startswith(("DATE", "TIME")):
        return "moment"
    if re.match(r"U?(TINY|SMALL|BIG|HUGE)?INT|DECIMAL|DOUBLE|FLOAT", data_type):
        return "number"
    return "text" if data_type.startswith(("VARCHAR", "UUID", "ENUM")) else "other"


def is_identifier(name: str) -> bool:
    return bool(IDENTIFIER.search(name))


def _in_utc(column: Staged, _: ALWAYS) -> Staged:
    """Times are UTC and of one type."""
    if column.data_type == "TIMESTAMP WITH TIME ZONE":
        return Staged(column.name, f"{column.sql} at time zone 'UTC'", "TIMESTAMP")
    if column.data_type in SHORTER:
        return Staged(column.name, f"cast({column.sql} as timestamp)", "TIMESTAMP")
    return column


def _yes_or_no(column: Staged, always: ALWAYS) -> Staged:
    """is_ and has_ mark a boolean, and every boolean has such a name."""
    name, what = column.name, kind(column.data_type)
    if what == "boolean":
        return column if QUESTION.match(name) else Staged(f"is_{name}", column.sql, column.data_type)
    if not name.startswith(("is_", "has_")) or not column.data_type:
        return column
    if what == "number" and always("try_cast({} as integer) in (0, 1)"):
        return Staged(name, f"cast({column.sql} as boolean)", "BOOLEAN")
    return Staged(f"{name.partition('_')[2]}_flag", column.sql, column.data_type)


def _day(column: Staged, always: ALWAYS) -> Staged:
    """_date marks a day without a time; a timestamp that is always midnight is one."""
    if not column.name.endswith("_date") or column.data_type in ("DATE", ""):
        return column
    if column.data_type == "TIMESTAMP":
        plain = not column.sql.startswith("cast(") and " " not in column.sql
        if plain and always("try_cast({} as timestamp) = cast(try_cast({} as date) as timestamp)"):
            return Staged(column.name, f"cast({column.sql} as date)", "DATE")
        return Staged(f"{column.name.removesuffix('_date')}_at", column.sql, column.data_type)
    return _by_type(column)


def _moment(column: Staged, _: ALWAYS) -> Staged:
    """_at marks a UTC timestamp."""
    if not column.name.endswith("_at") or column.data_type in ("TIMESTAMP", ""):
        return column
    if column.data_type == "DATE":
        return Staged(f"{column.name.removesuffix('_at')}_date", column.sql, column.data_type)
    return _by_type(column)


def _by_type(column: Staged) -> Staged:
    ending = {"text": "text", "number": "number"}.get(kind(column.data_type), "value")
    return Staged(f"{column.name}_{ending}", column.sql, column.data_type)
