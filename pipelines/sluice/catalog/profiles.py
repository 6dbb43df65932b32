"""Profiles of tables: per column nulls, distinct values, range, histogram and top values.

Columns whose values may not be shown are not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from sluice.privacy.redaction import looks_personal
from sluice.sql import one_row, quoted

NUMBERS = re.compile(r"^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DECIMAL|DOUBLE|FLOAT|REAL)")
TIMES = re.compile(r"^(DATE|TIMESTAMP)")
TEXTS = re.compile(r"^(VARCHAR|TEXT|BOOLEAN|ENUM|UUID)")
BINS = 20
TOP = 8
SAMPLE = 500_000
"""Rows read of larger tables: shares are then exact to a tenth of a percent, at a tenth of a second per column."""
OUTLIERS = 3
"""The histogram omits the ends if the range is this many times wider than the middle 98 % of the values."""
FEW = 1_000
"""Columns with more distinct values than this have no top values worth showing."""

Profile = dict[str, Any]


def profile(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str], row_count: int
) -> dict[str, Profile]:
    """Profiles of `columns` of a table or view with `row_count` rows.

    Shape, by column: {nulls, distinct, kind, low, high, mean, lengths, bins, top, suspect, sampled}; what does not
    apply is left out. `bins` are counts of equally wide intervals from low to high. Raises duckdb.Error if a view
    is broken.
    """
    if not columns or not row_count:
        return {}
    rows = f"(select {', '.join(map(quoted, columns))} from {relation})"
    sampled = row_count > SAMPLE
    if sampled:
        rows = f"(select * from {rows} using sample {SAMPLE} rows (reservoir, 42))"
    connection.execute(f"create or replace temp table profiled as select * from {rows}")
    try:
        types = {row[0]: str(row[1]) for row in connection.execute("describe profiled").fetchall()}
        found = _ranges(connection, types)
        _histograms(connection, types, found)
        for name, result in found.items():
            _top(connection, name, types[name], result)
            if sampled:
                result["sampled"] = SAMPLE
        return found
    finally:
        connection.execute("drop table if exists profiled")


def _ranges(connection: duckdb.DuckDBPyConnection, types: Mapping[str, str]) -> dict[str, Profile]:
    parts = ["count(*)"]
    for name, sql_type in types.items():
        column = quoted(name)
        distinct = f"approx_count_distinct({column})" if _nested(sql_type) else f"count(distinct {column})"
        parts += [f"count({column})", distinct]
        if NUMBERS.match(sql_type) or TIMES.match(sql_type):
            parts += [f"min({column})", f"max({column})"]
        elif sql_type == "VARCHAR":
            parts += [f"min(length({column}))", f"max(length({column}))"]
        else:
            parts += ["null", "null"]
        parts.append(f"avg({column})" if NUMBERS.match(sql_type) else "null")
    total, *values = one_row(connection, f"select {', '.join(parts)} from profiled")
    found: dict[str, Profile] = {}
    for index, (name, sql_type) in enumerate(types.items()):
        count, distinct, low, high, mean = values[index * 5 : index * 5 + 5]
        result: Profile = {
            "rows": total,
            "nulls": total - count,
            "distinct": distinct,
            "kind": _kind(sql_type),
        }
        if low is not None and sql_type == "VARCHAR":
            result["lengths"] = [low, high]
        elif low is not None:
            result |= {"low": plain(low), "high": plain(high)}
        if mean is not None:
            result["mean"] = float(f"{float(mean):.6g}")
        found[name] = result
    return found


def _nested(sql_type: str) -> bool:
    return not (NUMBERS.match(sql_type) or TIMES.match(sql_type) or TEXTS.match(sql_type))


def _kind(sql_type: str) -> str:
    for kind, pattern in (("number", NUMBERS), ("time", TIMES)):
        if pattern.match(sql_type):
            return kind
    return "boolean" if sql_type == "BOOLEAN" else "text" if TEXTS.match(sql_type) else "nested"


def _histograms(
    connection: duckdb.DuckDBPyConnection, types: Mapping[str, str], found: Mapping[str, Profile]
) -> None:
    wanted = [
        name
        for name, result in found.items()
        if result["kind"] in ("number", "time") and result["distinct"] > 1 and "low" in result
    ]
    for name in wanted:
        column = quoted(name)
        number = f"epoch({column})" if found[name]["kind"] == "time" else f"cast({column} as double)"
        # A few outliers would put everything else into one bin, so the bins may span the middle 98 %; the two outer
        # ones then hold the rest.
        ends = one_row(
            connection,
            f"select min({number}), max({number}), quantile_cont({number}, 0.01), quantile_cont({number}, 0.99)"
            f" from profiled where isfinite({number})",
        )
        if ends[0] is None or ends[0] == ends[1]:
            continue
        low, high, near, far = (float(end) for end in ends)
        if far > near and high - low > OUTLIERS * (far - near):
            low, high = near, far
            found[name] |= {"from": _end(low, found[name]), "to": _end(high, found[name])}
        place = f"floor(({number} - $low) / ($high - $low) * {BINS})"
        rows = connection.execute(
            f"select cast(greatest(0, least({BINS - 1}, {place})) as integer) as bin, count(*)"
            f" from profiled where isfinite({number}) group by 1",
            {"low": low, "high": high},
        ).fetchall()
        bins = [0] * BINS
        for index, count in rows:
            bins[index] = count
        found[name]["bins"] = bins


def _end(value: float, result: Profile) -> Any:
    if result["kind"] == "time":
        return plain(datetime.fromtimestamp(value, UTC))[:10]
    return float(f"{value:.4g}")


def _top(connection: duckdb.DuckDBPyConnection, name: str, sql_type: str, result: Profile) -> None:
    filled = result["rows"] - result["nulls"]
    if not TEXTS.match(sql_type) and not (NUMBERS.match(sql_type) and result["distinct"] <= TOP):
        return
    if not filled or result["distinct"] > FEW or result["distinct"] == filled > TOP:
        return
    column = quoted(name)
    values = connection.execute(
        f"select {column}, count(*) from profiled where {column} is not null"
        f" group by 1 order by 2 desc, 1 limit {TOP}"
    ).fetchall()
    if looks_personal([value for value, _ in values]):
        result["suspect"] = True
        return
    result["top"] = [[plain(value), count] for value, count in values]


def plain(value: Any) -> Any:
    """A value as JSON; times as text in UTC, long text shortened."""
    match value:
        case bool() | int() | None:
            return value
        case float() | Decimal():
            return float(f"{float(value):.10g}")
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case date():
            return value.isoformat()
        case _:
            text = str(value)
            return text if len(text) <= 60 else text[:59] + "…"
