"""What an audience sees of a column, as an SQL expression; what it may not see is never selected."""

from __future__ import annotations

import re

from sluice.config.audiences import Treatment
from sluice.errors import DeclarationError
from sluice.sql import quoted

KEY = "masking_key"
"""SQL variable of the publishing connection: 64 hex digits, so no statement or message holds the key."""


ENUM = re.compile(r""""(?:[^"]|"")*"|ENUM\((?:'(?:[^']|'')*'(?:, )?)*\)""")
"""A quoted name, which is passed over, or an ENUM with its words."""
NAMED_PARTS = re.compile(r"\b(STRUCT|UNION)\(")


def shown_type(data_type: str, treatment: Treatment) -> str:
    """The type of a column as it is shown.

    A type must not tell what the rows that are shown do not: an ENUM lists words of other rows, and the names of
    fields may have been values once.
    """
    if treatment in ("hash", "partial") or (treatment == "null" and has_named_parts(data_type)):
        return "VARCHAR"
    return ENUM.sub(lambda found: found[0] if found[0].startswith('"') else "VARCHAR", data_type)


def has_named_parts(data_type: str) -> bool:
    """Whether a type holds names of fields or members."""
    return NAMED_PARTS.search(re.sub(r"'(?:[^']|'')*'", "", data_type)) is not None


def masked(name: str, data_type: str, treatment: Treatment, data_class: str | None) -> str:
    """The expression that stands for column `name` of DuckDB type `data_type`, without its alias.

    Nulls stay null. Raises DeclarationError where the mask means nothing for the type.
    """
    column = quoted(name)
    text = f"cast({column} as varchar)"
    if treatment == "clear":
        shown = shown_type(data_type, treatment)
        return column if shown == data_type else f"cast({column} as {shown})"
    if treatment == "null":
        return f"cast(null as {shown_type(data_type, treatment)})"
    if treatment == "hash":
        # The key fills SHA-256's first block, half of the digest is kept: without the key nothing can be
        # tried out, and nothing can be appended. Equal values stay equal, so masked columns still join.
        return f"left(sha256(getvariable('{KEY}') || {text}), 32)"
    if treatment == "partial":
        if data_class == "email":
            # the domain is the end of the text only: the text may hold several addresses, or be JSON
            return f"regexp_replace({text}, '(?s)^(.?).*?(@[\\pL\\pN.-]+)?$', '\\1***\\2')"
        return f"case when length({text}) > 6 then '***' || right({text}, 3) when {column} is not null then '***' end"
    if data_type == "DATE" or data_type.startswith("TIMESTAMP"):
        return f"cast(date_trunc('year', {column}) as {data_type})"
    if data_type == "VARCHAR":
        return f"left({column}, 2)"
    raise DeclarationError(
        f"column {name} is {data_type}: `generalise` makes a year of a date and a region (two characters) of a postal "
        "code; use hash or null"
    )
