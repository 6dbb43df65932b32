"""Which columns of a source raw has, how it spells them, and those it adds itself."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

from sluice.config.declaration import Table

LOADED_AT = "_loaded_at"
LOAD_ID = "_load_id"
DELETED_AT = "_deleted_at"
STAMPS = (LOADED_AT, LOAD_ID)
"""Written by every load, so they say nothing about whether a row changed."""


LATIN = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l"}
    | {"Æ": "Ae", "Œ": "Oe", "Ø": "O", "Đ": "D", "Ð": "D", "Þ": "Th", "Ł": "L", "ẞ": "SS"})  # fmt: skip
"""Letters that do not come apart into one of ASCII and its accent."""
SIGNS = str.maketrans("+-*@|", "x_xal")
OTHERS = re.compile("[^a-zA-Z0-9_]+")
WORDS = (re.compile("([^_])([A-Z][a-z]+)"), re.compile("([a-z0-9])([A-Z])"))
UNDERSCORES = re.compile("__+")


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
