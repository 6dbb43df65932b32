"""Which columns of a source raw has, how it spells them, and those it adds itself."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluice.config.declaration import Table

LOADED_AT = "_loaded_at"
LOAD_ID = "_load_id"
DELETED_AT = "_deleted_at"
FILE, LINE = "_file", "_line"
STREAM, SEQUENCE, SUBJECT = "_stream", "_sequence", "_subject"
PARTITION, OFFSET, KEY, IS_TOMBSTONE = "_partition", "_offset", "_key", "_is_tombstone"
RECEIVED_AT = "_received_at"
RECORD = "_record"
"""The text of a JSON record or of a bad row; in raw only in quarantines, as is the next."""
REASON = "_reason"
STAMPS = (LOADED_AT, LOAD_ID)
"""Written by every load, so they say nothing about whether a row changed."""
POSITION = (FILE, LINE, STREAM, PARTITION, OFFSET, SEQUENCE)
"""Position of a row at the source."""


@dataclass(frozen=True)
class TechnicalColumn:
    """A column that loading adds to raw tables; sources do not declare it."""

    data_type: str
    description: str
    kind: str | None = None
    """The kind of source whose tables have it; None: those of every kind."""


TECHNICAL = {
    LOADED_AT: TechnicalColumn("timestamp with time zone", "When the row was loaded."),
    LOAD_ID: TechnicalColumn("text", "Load that brought the row."),
    DELETED_AT: TechnicalColumn("timestamp with time zone", "When the row was found missing at the source."),
    FILE: TechnicalColumn("text", "File the row was read from.", "files"),
    LINE: TechnicalColumn("bigint", "Line of the file.", "files"),
    STREAM: TechnicalColumn("text", "Stream the message was read from.", "stream"),
    SEQUENCE: TechnicalColumn("bigint", "Number of the message in its stream.", "stream"),
    SUBJECT: TechnicalColumn("text", "Subject or topic of the message.", "stream"),
    PARTITION: TechnicalColumn("bigint", "Partition of the topic.", "stream"),
    OFFSET: TechnicalColumn("bigint", "Offset in the partition.", "stream"),
    KEY: TechnicalColumn("text", "Key of the message.", "stream"),
    IS_TOMBSTONE: TechnicalColumn(
        "boolean", "Whether the message has a key only, which marks a deletion.", "stream"
    ),
    RECEIVED_AT: TechnicalColumn(
        "timestamp with time zone", "When the server received the message.", "stream"
    ),
}
"""Columns that loading adds, by name."""


LATIN = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l"}
    | {"Æ": "Ae", "Œ": "Oe", "Ø": "O", "Đ": "D", "Ð": "D", "Þ": "Th", "Ł": "L", "ẞ": "SS"})  # fmt: skip
"""Letters that do not come apart into one of ASCII and its accent."""
SIGNS = str.maketrans("+-*@|", "x_xal")
OTHERS = re.compile("[^a-zA-Z0-9_]+")
WORDS = (re.compile("([^_])([A-Z][a-z]+)"), re.compile("([a-z0-9])([A-Z])"))
UNDERSCORES = re.compile("__+")


def technical_columns(kind: str, *, finds_deleted: bool) -> dict[str, TechnicalColumn]:
    """The columns that loading adds to a table of a kind of source; `finds_deleted`: its deleted rows are found."""
    return {
        name: column
        for name, column in TECHNICAL.items()
        if column.kind in (None, kind) and (name != DELETED_AT or finds_deleted)
    }


@cache
def normalized(name: str) -> str:
    """A source column name as raw spells it: snake_case, to the letter as dlt does; letters without accents.

    Letters of other scripts become their code points. dlt would make one underscore of any of them, so that another
    column under another name would pass for the same. ValueError for a name of blanks.

    Not by dlt itself, because sources are read before it is imported; a test compares the two.
    """
    if not name.isascii():
        plain = unicodedata.normalize("NFKD", name.translate(LATIN))
        name = "".join(
            f"u{ord(c):04x}" if not c.isascii() and c.isalnum() else c
            for c in plain
            if not unicodedata.combining(c)
        )
    name = name.strip()
    if not name:
        raise ValueError(name)
    name = OTHERS.sub("_", name.translate(SIGNS))
    for word in WORDS:
        name = word.sub(r"\1_\2", name)
    name = "_" * name[0].isdigit() + name.lower()
    kept = name.rstrip("_")
    return UNDERSCORES.sub("_", kept + "x" * (len(name) - len(kept)))


def is_chosen(table: Table[Any], source: str, name: str) -> bool:
    """Whether the declaration wants the column `source`, in raw called `name`; metadata always."""
    wanted = table.load.columns
    if name in (*STAMPS, DELETED_AT) and name in (wanted.exclude or []):  # the source's own
        return False
    if source.startswith("_") and name == source:
        return True
    if wanted.include is not None:
        return name in map(normalized, wanted.include)
    return name not in map(normalized, wanted.exclude or [])
