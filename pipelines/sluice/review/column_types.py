"""Declared types of columns, compared."""

from __future__ import annotations

import re

SYNONYMS = {
    "varchar": "text",
    "string": "text",
    "int": "integer",
    "int8": "bigint",
    "int4": "integer",
    "bool": "boolean",
}
INTEGERS = ["tinyint", "smallint", "integer", "bigint", "hugeint"]


def plain_type(text: str | None) -> str:
    """A declared type in one spelling: lower case, no blanks, one word for the same type; "" for none."""
    plain = re.sub(r"\s+", "", (text or "").lower()).replace("numeric", "decimal")
    return SYNONYMS.get(plain, plain)


def is_wider(before: str, after: str) -> bool:
    """True if every value of one type is the same value of the other."""
    if before in INTEGERS and after in INTEGERS:
        return INTEGERS.index(after) > INTEGERS.index(before)
    decimals = [re.fullmatch(r"decimal\((\d+),(\d+)\)", t) for t in (before, after)]
    if decimals[0] and decimals[1]:
        (p, s), (q, t) = ((int(m[1]), int(m[2])) for m in decimals if m)
        return t >= s and q - t >= p - s
    return False
