"""Keys of files that do not fit their format or each other."""

from __future__ import annotations

import re
from typing import Any

from sluice.config.known_keys import FORMATS

NAMED = {"tab": '"\\t"', "comma": '","', "semicolon": '";"', "pipe": '"|"', "space": '" "'} | {
    "lf": '"\\n"', "crlf": '"\\r\\n"', "cr": '"\\r"'
}  # fmt: skip
"""Words that people write for a character, and how YAML writes it."""


def check_format(load: Any) -> None:
    """Raise ValueError for a key that the format does not have, or cannot have together with another.

    `load`: the FilesTable.
    """
    if load.format == "lines":
        if not load.pattern:
            raise ValueError("pattern is missing: format lines needs a regular expression with named groups")
        try:
            groups = re.compile(load.pattern).groupindex
        except re.error as error:
            raise ValueError(f"pattern is not a regular expression: {error}") from None
        if not groups:
            raise ValueError("pattern has no named group; write (?P<name>...) for each column")
    _check_dialect(load)
    if load.range:
        (top, left), (bottom, right) = map(_cell, load.range.split(":"))
        if not 0 < top <= bottom or left > right:
            raise ValueError(f"range is {load.range!r}: write the upper left cell first, as in A3:F200")
    try:
        "".encode(load.encoding)
    except LookupError:
        raise ValueError(f"encoding {load.encoding!r} is unknown; write utf-8, windows-1252, …") from None
    for key, formats in FORMATS.items():
        if key in load.model_fields_set and load.format not in formats:
            raise ValueError(f"{key} means nothing for format {load.format}; it is for {', '.join(formats)}")


def _cell(reference: str) -> tuple[int, tuple[int, str]]:
    """`C7` as row and column, in an order."""
    letters = reference.rstrip("0123456789").upper()
    return int(reference[len(letters) :]), (len(letters), letters)


def _check_dialect(load: Any) -> None:
    """Raise ValueError for a delimiter, quote, escape or line end of a CSV that would be taken for another."""
    signs = {"delimiter": load.delimiter, "row_terminator": load.row_terminator or "\n"}
    for key, sign in {**signs, "escape": load.escape or "-"}.items():
        if sign.lower() in NAMED:
            raise ValueError(
                f"{key} is {sign!r}, a word: write the character itself, {key}: {NAMED[sign.lower()]}"
            )
        if re.search(r"\\[tnrux0]", sign):
            raise ValueError(
                f'{key} is {sign!r}, a backslash and more: write it in double quotes, such as "\\t"'
            )
        if not sign:
            raise ValueError(f"{key} is empty")
    if len(load.quote) > 1:
        raise ValueError("quote is one character or none")
    for key, sign in signs.items():
        for other in ("quote", "escape"):
            if (character := getattr(load, other)) and character in sign:
                raise ValueError(f"{key} {sign!r} has {other} {character!r} in it")
    delimiter, end = signs.values()
    if end in delimiter or (load.row_terminator is None and "\r" in delimiter):
        raise ValueError(f"delimiter {delimiter!r} has the end of a row in it")
    if any(end.startswith(delimiter[i:]) for i in range(1, len(delimiter))):
        raise ValueError(f"delimiter {delimiter!r} and row_terminator {end!r} overlap")
