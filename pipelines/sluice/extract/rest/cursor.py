"""Which of two cursor values of an API is higher: times as instants, numbers by size, other texts as texts.

JSON has no times, so they come as texts, and not always in one form: many APIs leave out a fraction that is zero, so
that `…:00Z` comes before `…:00.5Z` in time and after it as a text. dlt compares texts, and drops what is lower than the
highest it has seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from dlt.extract.incremental import Incremental

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))? ?([Zz]|UTC|[+-]\d\d(?::?\d\d)?)?)?"
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_SHAPE = str.maketrans("123456789", "000000000")


def compare_by_meaning(incremental: Incremental[Any]) -> None:
    """Make a bound cursor compare texts by what they mean."""
    # dlt steps back by `lag` only with its own functions, which it did when it was bound
    incremental._current_last_value = incremental._start_value
    incremental.last_value_func = of_meaning(incremental)


def of_meaning(incremental: Incremental[Any]) -> Callable[[Sequence[Any]], Any]:
    """The function that says which of its cursor values are beyond the others."""
    return lowest if incremental.last_value_func in (min, lowest) else highest


def highest(values: Sequence[Any]) -> Any:
    """As `max`: of equal ones the first."""
    return _extreme(values, lambda one, other: one > other)


def lowest(values: Sequence[Any]) -> Any:
    """As `min`: of equal ones the first."""
    return _extreme(values, lambda one, other: one < other)


def _extreme(values: Sequence[Any], is_beyond: Callable[[Any, Any], bool]) -> Any:
    found = values[0]
    for value in values[1:]:
        if not isinstance(value, str) or not isinstance(found, str):
            found = value if is_beyond(value, found) else found
            continue
        found = value if _is_text_beyond(value, found, is_beyond) else found
    return found


def _is_text_beyond(one: str, other: str, is_beyond: Callable[[Any, Any], bool]) -> bool:
    # times of one form, as most APIs give them, are in order as texts, which takes a tenth of reading them
    if one.endswith("Z") and one.translate(_SHAPE) == other.translate(_SHAPE):
        return is_beyond(one, other)
    (kind, meaning), (other_kind, other_meaning) = _meaning(one), _meaning(other)
    return is_beyond(meaning, other_meaning) if kind == other_kind else is_beyond(one, other)


@lru_cache(maxsize=256)
def _meaning(text: str) -> tuple[str, Any]:
    """What kind of value a text is, and a value of it that can be compared with others of the kind."""
    if match := _TIME.fullmatch(text):
        day, clock, fraction, zone = match.groups()
        zone = "+00:00" if zone in (None, "Z", "z", "UTC") else zone
        try:
            at = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            return "text", text
        # not as a part of the datetime, which ends with microseconds
        return "time", (at, Decimal(f"0.{fraction or 0}"))
    if _NUMBER.fullmatch(text):
        return "number", Decimal(text)
    return "text", text
