"""JSON in and out without altering a number, at orjson's speed where nothing is at stake."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import orjson

LONG_NUMBER = r"[:,\[\s]-?([0-9.]{16}|[0-9.]+[eE])"
"""Matches every JSON text with a number that a double may not hold exactly; in the syntax of RE2."""
_DIGITS = bytes.maketrans(b"0123456789.E", b"00000000000e")
_LONG = b"0" * 17
_LONG_NUMBER = re.compile(
    rb"(?<![\w\".\-+])-?(?:\d[\d.]{15,}(?:[eE][+-]?\d+)?|\d+(?:\.\d+)?[eE][+-]?\d+)(?![\w\"])"
)


def loads(body: bytes) -> Any:
    """Parse JSON so that no number is altered and no value lost; ValueError for what is not JSON, or a key twice.

    orjson rounds what a double or a 64-bit integer cannot hold. Such numbers are long or have an exponent, which
    two passes at memory speed exclude for nearly every page; the pages that do have them are parsed by Python's
    module, where they become Decimal, or int. `dumps` writes them as they were.
    """
    translated = body.translate(_DIGITS)
    may_be_long = _LONG in translated or b"0e" in translated
    if may_be_long and not all(map(_is_held, _LONG_NUMBER.findall(body))):
        return json.loads(body, parse_float=_parse_number, object_pairs_hook=no_key_twice)
    value = orjson.loads(body)
    # of a key that is there twice one value is gone, and with it at least two quotation marks; escapes differ, too
    if orjson.dumps(value).count(b'"') != body.count(b'"'):
        json.loads(body, object_pairs_hook=no_key_twice)
    return value


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these pairs; ValueError when one would take the other's place."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in an object")
    return found


def _is_held(token: bytes) -> bool:
    """Whether orjson keeps the number; also False for what only looks like one, inside a text."""
    if token.lstrip(b"-").isdigit():
        return len(token) < 40 and -(2**63) <= int(token) < 2**64
    try:
        return isinstance(_parse_number(token.decode()), float)
    except ValueError:
        return False


def _parse_number(token: str) -> float | Decimal:
    number = float(token)
    exact = Decimal(token)
    # the shortest text of a double stands for it, though its exact value has fifty digits
    return number if number not in (float("inf"), float("-inf")) and Decimal(repr(number)) == exact else exact


def _dump_other(value: Any) -> Any:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value).encode())
    raise TypeError(f"{value!r} ({type(value).__name__}) has no form in JSON")


def dumps(value: Any) -> bytes:
    """A value as JSON text; TypeError when something in it has none, such as bytes."""
    try:
        return orjson.dumps(value, default=_dump_other, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        if error.__cause__ is not None:  # raised below
            raise error.__cause__ from None
        # perhaps an integer of more than 64 bits
        return orjson.dumps(_with_fragments(value), default=_dump_other, option=orjson.OPT_NON_STR_KEYS)


def _with_fragments(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_fragments(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_fragments(inner) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return orjson.Fragment(str(value).encode())
    return value
