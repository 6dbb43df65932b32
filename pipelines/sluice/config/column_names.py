"""Which columns of a source raw has, how it spells them, and those it adds itself."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

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
SIGNS = {
    "#": "number", "№": "number", "%": "percent", "&": "and", "+": "plus", "@": "at",
    "€": "eur", "$": "dollar", "£": "pound", "¥": "yen",
}  # fmt: skip
"""Signs that are words of a name: `Margin` and `Margin %` are two columns."""
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
    """A source column name in snake_case: letters of other scripts and accents become ASCII, some signs words.

    dlt, by which the name passes, leaves it as it is.
    """
    name = name.strip() or name
    plain = _ascii("".join(f"_{SIGNS[c]}_" if c in SIGNS else c for c in name))
    plain = UNDERSCORES.sub("_", _words(OTHERS.sub("_", plain).strip("_")))
    if not plain:  # it has no letter, digit or sign with a word
        return "_".join(f"u{ord(c):04x}" for c in name)
    return "_" * (name[0] == "_" or plain[0].isdigit()) + plain


@cache
def earlier_name(name: str) -> str:
    """The name that versions up to 0.2 gave, by dlt's naming; raw tables of that time keep it."""
    if not name.isascii():
        plain = unicodedata.normalize("NFKD", name.translate(LATIN))
        name = "".join(
            f"u{ord(c):04x}" if not c.isascii() and c.isalnum() else c
            for c in plain
            if not unicodedata.combining(c)
        )
    name = OTHERS.sub("_", name.strip().translate(str.maketrans("+-*@|", "x_xal")))
    name = "_" * name[:1].isdigit() + _words(name)
    kept = name.rstrip("_")
    return UNDERSCORES.sub("_", kept + "x" * (len(name) - len(kept)))


def _ascii(name: str) -> str:
    """The name without accents, and with the letters of other scripts transliterated."""
    if name.isascii():
        return name
    from text_unidecode import unidecode

    return str(unidecode(unicodedata.normalize("NFC", name).translate(LATIN)))


def _words(name: str) -> str:
    """The words of a name in camel case, in small letters, with underscores between them."""
    for word in WORDS:
        name = word.sub(r"\1_\2", name)
    return name.lower()
