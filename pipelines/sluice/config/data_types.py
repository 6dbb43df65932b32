"""Declared data types, as SQL writes them."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from sluice.errors import with_hint
from sluice.sql import literal

if TYPE_CHECKING:
    import duckdb

COMMON = {
    "text": "VARCHAR",
    "varchar": "VARCHAR",
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "int": "INTEGER",
    "smallint": "SMALLINT",
    "decimal": "DECIMAL(18,3)",
    "numeric": "DECIMAL(18,3)",
    "double": "DOUBLE",
    "real": "FLOAT",
    "float": "FLOAT",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "timestamp with time zone": "TIMESTAMP WITH TIME ZONE",
    "time": "TIME",
    "interval": "INTERVAL",
    "uuid": "UUID",
    "json": "JSON",
    "blob": "BLOB",
}
"""Types that people declare, with DuckDB's names, so that a check of them need not import it; DuckDB knows more."""
DECIMAL = re.compile(r"(?:decimal|numeric)\((\d+), ?(\d+)\)", re.IGNORECASE)
MOST_DIGITS = 38
PARTS = {"year": "YyG", "month": "mbB", "day": "dj", "hour": "HI", "minute": "M", "second": "S"}
"""Letters of `strptime` by what they stand for."""


def _not_a_type(data_type: str) -> str:
    name = data_type.partition("(")[0].strip().lower()
    if data_type.count("(") != data_type.count(")"):
        return "is not an SQL type; a parenthesis is not closed"
    if name in COMMON and "(" in data_type:
        return (
            f"is not an SQL type; {name} does not take what is in the parentheses, write e.g. decimal(18,2)"
        )
    message = (
        "is not an SQL type; write e.g. text, bigint, decimal(18,2), double, boolean, date, timestamp, "
        "timestamp with time zone, json"
    )
    return with_hint(message, name, COMMON)


@cache
def duckdb_type(data_type: str) -> str:
    """DuckDB's own name of a declared `data_type`, e.g. INTEGER for int; raises ValueError for no SQL type."""
    if known := COMMON.get(data_type.lower()):
        return known
    if (
        (found := DECIMAL.fullmatch(data_type))
        and int(found[2]) <= int(found[1]) <= MOST_DIGITS
        and int(found[1])
    ):
        return f"DECIMAL({int(found[1])},{int(found[2])})"
    if not re.fullmatch(r"[A-Za-z0-9_ (),\[\]]+", data_type):
        raise ValueError("is not an SQL type")
    import duckdb

    try:
        with _in_memory().cursor() as con:
            row = con.execute(f"describe select cast(null as {data_type}) as c").fetchone()
    except duckdb.Error:
        raise ValueError(_not_a_type(data_type)) from None
    assert row is not None
    return str(row[1])


@cache
def check_moment_format(form: str, data_type: str) -> None:
    """Raise ValueError unless texts in the `strptime` format are values of the DuckDB type `data_type`."""
    if not data_type.startswith(("DATE", "TIME")):
        raise ValueError("is for columns declared as date, time or timestamp")
    import duckdb

    try:
        with _in_memory().cursor() as con:
            kind = con.execute(f"describe select strptime('', {literal(form)}) as c").fetchall()[0][1]
            con.execute(f"select try_strptime('', {literal(form)})")
    except duckdb.Error as error:
        said = str(error).partition("specifier ")[2].partition("\n")[0] or str(error)
        raise ValueError(f"is not a format of strptime: {said}") from None
    if "%" not in form:
        raise ValueError(
            "names no part of a date or time; write them as strptime does, e.g. %d.%m.%Y %H:%M:%S"
        )
    if data_type != "TIME" and not re.search(r"%-?[YyxcG]", form):
        raise ValueError("has no year (%Y, or %y for two digits)")
    letters = re.findall(r"%-?([A-Za-z])", form)
    for what, names in PARTS.items():
        if len(named := [letter for letter in letters if letter in names]) > 1:
            raise ValueError(
                f"names the {what} twice, by %{' and %'.join(named)} (%m is the month, %M the minute)"
            )
    if "d" in letters and not set(letters) & {*PARTS["month"], "j", "x", "c"}:
        raise ValueError("has a day, but no month (%m is the month, %M the minute)")
    if "I" in letters and "p" not in letters:
        raise ValueError("has hours up to 12 (%I) without AM or PM (%p); %H is the hour up to 24")
    if kind == "TIMESTAMP WITH TIME ZONE" != data_type:
        raise ValueError("has a time zone, so the column's data_type must be timestamp with time zone")


@cache
def _in_memory() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(":memory:")
