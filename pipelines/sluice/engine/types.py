"""Which types raw has, and how a value is converted from one type to another without losing anything.

A cast here comes with a condition that is true exactly where it keeps the value; nothing is rounded,
truncated or nulled, because no row for which the condition is false is ever stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from sluice.config.data_types import duckdb_type
from sluice.sql import literal

NESTED = re.compile(r"^(STRUCT|MAP|UNION)\b|\]$")
DECIMAL = re.compile(r"^DECIMAL\((\d+),\s*(\d+)\)$")
RUNS = re.compile("(?:%[YymdHIMSj]){2,}")
"""Numbers of a date or time that follow each other without a sign between them, in a format of `strptime`."""
WIDTHS = {"Y": 4, "j": 3}
"""Digits of those numbers, where they are not two."""
INTEGERS = {
    "TINYINT": 8,
    "SMALLINT": 16,
    "INTEGER": 32,
    "BIGINT": 64,
    "UTINYINT": 16,
    "USMALLINT": 32,
    "UINTEGER": 64,
}
"""Bits of the signed integer that holds every value of the type."""
STORED_INTEGERS = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}
EXACT_IN_DOUBLE = 2**53
"""Up to here a double holds every integer."""
WIDEST = 38
"""Digits of the widest decimal."""


@dataclass(frozen=True)
class RawType:
    """A type of a raw column: `name` as DuckDB writes it, `hint` as dlt wants it."""

    name: str
    hint: dict[str, Any]


def raw_type(name: str) -> RawType:
    """The raw type that holds every value of the DuckDB type `name`.

    Nested types become JSON, types without a counterpart in dlt become text.
    """
    if name in INTEGERS:
        bits = INTEGERS[name]
        return RawType(STORED_INTEGERS[bits], {"data_type": "bigint", "precision": bits})
    if match := DECIMAL.match(name):
        precision, scale = int(match[1]), int(match[2])
        hint = {"data_type": "decimal", "precision": precision, "scale": scale}
        return RawType(f"DECIMAL({precision},{scale})", hint)
    if name in ("UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM"):
        return RawType("DECIMAL(38,0)", {"data_type": "decimal", "precision": 38, "scale": 0})
    if name == "JSON" or NESTED.search(name):
        return RawType("JSON", {"data_type": "json"})
    simple: dict[str, RawType] = {
        "BOOLEAN": RawType("BOOLEAN", {"data_type": "bool"}),
        "FLOAT": RawType("DOUBLE", {"data_type": "double"}),
        "DOUBLE": RawType("DOUBLE", {"data_type": "double"}),
        "DATE": RawType("DATE", {"data_type": "date"}),
        "TIME": RawType("TIME", {"data_type": "time"}),
        "BLOB": RawType("BLOB", {"data_type": "binary"}),
        "TIMESTAMP WITH TIME ZONE": RawType(
            "TIMESTAMP WITH TIME ZONE", {"data_type": "timestamp", "timezone": True, "precision": 6}
        ),
        "TIMESTAMP_NS": RawType(
            "TIMESTAMP_NS", {"data_type": "timestamp", "timezone": False, "precision": 9}
        ),
    }
    if name in ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"):
        return RawType("TIMESTAMP", {"data_type": "timestamp", "timezone": False, "precision": 6})
    return simple.get(name, RawType("VARCHAR", {"data_type": "text"}))


def ordering(kind: str) -> str | None:
    """What orders values of a DuckDB type: number, moment, clock or text; None: nothing that other types share."""
    if kind in INTEGERS or DECIMAL.match(kind) or kind in ("UBIGINT", "HUGEINT", "FLOAT", "DOUBLE"):
        return "number"
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return "moment"
    return {"TIME": "clock", "VARCHAR": "text", "UUID": "text"}.get(kind)


@cache
def declared_type(data_type: str) -> RawType:
    """The raw type of a declared `data_type`; raises ValueError when DuckDB does not know it."""
    return raw_type(duckdb_type(data_type))


@dataclass(frozen=True)
class Cast:
    """An SQL expression of the wanted type, and the condition under which it keeps the value."""

    value: str
    keeps: str | None = None
    """None: always."""


def cast(expression: str, source: str, target: str, decimal_mark: str = ".", form: str | None = None) -> Cast:
    """`expression` of DuckDB type `source` as raw type `target` (both as DuckDB writes them).

    `form`: how texts write a date or time, as `strptime` names it; default: ISO.
    """
    if source == target:
        return Cast(expression)
    if "FLOAT" in source:
        expression, source = as_written(expression, source)
    if target == "JSON":
        if source == "VARCHAR":
            return Cast(f"try_cast({expression} as json)", f"json_valid({expression})")
        return Cast(f"to_json({expression})")
    if source == "JSON":
        scalar = json_scalar(expression)
        if target == "VARCHAR":
            return Cast(scalar)
        inner = cast(scalar, "VARCHAR", target, decimal_mark, form)
        keeps = f"json_type({expression}) not in ('OBJECT', 'ARRAY')"
        return Cast(inner.value, f"({keeps} and {inner.keeps})" if inner.keeps else keeps)
    if target == "VARCHAR":
        if NESTED.search(source):
            return Cast(f"cast(to_json({expression}) as varchar)")
        if source == "BLOB":  # `cast` would write non-ASCII bytes as codes
            return Cast(f"try(decode({expression}))", f"try(decode({expression})) is not null")
        return Cast(f"cast({expression} as varchar)")
    if source == "VARCHAR" and form:
        return _cast_moment(expression, target, form)
    if source == "VARCHAR":
        return _cast_text(expression, target, decimal_mark)
    if source in INTEGERS and target == "DOUBLE":
        return Cast(f"cast({expression} as double)", f"abs({expression}::hugeint) <= {EXACT_IN_DOUBLE}")
    there = f"try_cast({expression} as {target})"
    if INTEGERS.get(source, 99) <= INTEGERS.get(target, 0):
        return Cast(f"cast({expression} as {target})")
    # a double stands for the number its shortest text names
    back = f"cast({there} as varchar)" if DECIMAL.match(source) and target == "DOUBLE" else there
    return Cast(there, f"try_cast({back} as {source}) is not distinct from {expression}")


_FLOAT = re.compile(r'("(?:[^"]|"")*")|\bFLOAT\b')
"""The type of single precision within a nested type, and the quoted names to pass over."""


def as_written(expression: str, source: str) -> tuple[str, str]:
    """Numbers of single precision as the doubles that their shortest texts name (9.8 stays 9.8), and their type."""

    def with_numbers_as(kind: str) -> str:
        return _FLOAT.sub(lambda match: match[1] or kind, source)

    if "UNION" in source:  # its members cannot be cast one by one
        return expression, source
    wide = with_numbers_as("DOUBLE")
    return f"cast(cast({expression} as {with_numbers_as('VARCHAR')}) as {wide})", wide


def json_scalar(expression: str) -> str:
    """The text of a JSON value: a string's characters, anything else as it is written, null for null.

    `->> '$'` would read a number as a double and write that, without the digits a double cannot hold.
    """
    text = f"cast({expression} as varchar)"
    return f"case when {text} like '\"%' then {expression} ->> '$' else nullif({text}, 'null') end"


_DAY = "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_CLOCK = "[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.][0-9]{0,6}0*)?)?"
_SECOND = "____-__-_____:__:__"
"""A day and time without a fraction, as LIKE matches them; a text of these places names one, or casts to nothing."""
_SPELLINGS = {
    "DATE": _DAY,
    "TIME": _CLOCK,
    # a zone other than UTC would be dropped
    "TIMESTAMP": f"{_DAY}([T ]{_CLOCK}( ?UTC|[Zz]|[+-]00(:?00)?)?)?",
    "TIMESTAMP_NS": f"{_DAY}([T ]{_CLOCK}( ?UTC|[Zz]|[+-]00(:?00)?)?)?".replace("{0,6}", "{0,9}"),
    # without a zone it is UTC
    "TIMESTAMP WITH TIME ZONE": f"{_DAY}([T ]{_CLOCK}( ?UTC|[Zz]|[+-][01][0-9](:?[0-5][0-9])?)?)?",
    "DOUBLE": "[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?|(?i:[+-]?inf(inity)?|nan)",
    **dict.fromkeys(STORED_INTEGERS.values(), "[+-]?[0-9]+"),
}
"""How a value of the type is spelled in text; DuckDB accepts more, but rounds or drops part of it."""


def _cast_text(expression: str, target: str, decimal_mark: str) -> Cast:
    """Text as a typed value: only spellings that name exactly one value of the type are accepted."""
    if target == "BLOB":
        return Cast(f"encode({expression})")
    match = DECIMAL.match(target)
    # DuckDB itself ignores spaces around all but booleans: trimming costs more than the cast
    text = f"trim({expression})" if target == "BOOLEAN" else expression
    conditions = []
    if decimal_mark == "," and (match or target == "DOUBLE" or target in STORED_INTEGERS.values()):
        # 1.234,50 and 1234,50 are numbers, 1.5 is not: a dot may only group three digits
        conditions.append(
            _spelled(text, "[+-]?([0-9]+|[0-9]{1,3}([.][0-9]{3})+)?(,[0-9]*)?([eE][+-]?[0-9]+)?")
        )
        text = f"replace(replace({text}, '.', ''), ',', '.')"
    value = f"try_cast({text} as {target})"
    spelling = _SPELLINGS.get(target)
    if match:
        scale = int(match[2])
        spelling = f"[+-]?([0-9]+([.][0-9]{{0,{scale}}}0*)?|[.][0-9]{{1,{max(scale, 1)}}}0*)"
    if spelling:
        conditions.append(_spelled(text, spelling))
    conditions.append(f"{value} is not null")
    if target == "DOUBLE":
        same = f"{_digits(text)} = {_digits(f'cast({value} as varchar)')}"
        conditions.append(f"({_spelled(text, '[0-9.+-]{1,15}')} or {same})")
    keeps = f"({' and '.join(conditions)})"
    if decimal_mark == "." and (match or target in ("DATE", "DOUBLE", *STORED_INTEGERS.values())):
        # written as DuckDB writes it; so are most, and that is found out faster than by a pattern
        keeps = f"(cast({value} as varchar) = {text} or {keeps})"
    if target.startswith("TIMESTAMP"):
        usual = " or ".join(f"{text} like '{_SECOND}{zone}'" for zone in ("", "Z", "+00"))
        keeps = f"((({usual}) and {value} is not null) or {keeps})"
    return Cast(value, keeps)


def _cast_moment(text: str, target: str, form: str) -> Cast:
    """Text as a date or time in a declared format; without a zone it is UTC."""
    moment = f"try_strptime({text}, {literal(form)})"
    conditions = [f"{moment} is not null"]
    if "%Y" in form:  # DuckDB takes 24 for the year 24
        # with an offset, the text's day may be the one before or after that of UTC
        near = [f"{moment} {sign} interval 1 day" for sign in "-+"] if "%z" in form else [moment]
        years = [f"contains({text}, lpad(cast(year({day}) as varchar), 4, '0'))" for day in near]
        conditions.append(f"({' or '.join(years)})")
    if "%j" in form:  # DuckDB takes day 366 of a year of 365 for its first
        conditions.append(f"strftime({moment}, {literal(form)}) = trim({text})")
    if runs := RUNS.findall(form):  # without all of its digits, 2024121 may be any of two days
        digits = max(sum(WIDTHS.get(letter, 2) for letter in run[1::2]) for run in runs)
        conditions.append(f"regexp_matches({text}, '(^|[^0-9])[0-9]{{{digits}}}')")
    if target == "DATE":
        conditions.append(f"{moment} = date_trunc('day', {moment})")
    return Cast(f"cast({moment} as {target})", f"({' and '.join(conditions)})")


def _spelled(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, ' *({pattern}) *')"


def _digits(number: str) -> str:
    """The significant digits of a number's text, which a double may not hold."""
    mantissa = f"regexp_replace({number}, '[eE].*', '')"
    return f"trim(regexp_replace({mantissa}, '[^0-9]', '', 'g'), '0')"
