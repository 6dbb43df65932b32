"""What dbt makes of a seed's values where `column_types` does not say it: dbt guesses, then DuckDB casts."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb

UNSURE = ("boolean", "float8")
"""Types that may be another thing than what was meant even if the text is the same: words, exact decimals."""


EXACT = re.compile(r"(decimal|numeric)\(\d+,\s*\d+\)|u?(tiny|small|big|huge)?int|integer", re.IGNORECASE)
"""Declared types that round what does not fit."""


class Guess(NamedTuple):
    """A column that dbt types itself, or that rounds, and the first value that is no longer what is written.

    `read` is that value as text after the cast, None if it does not fit and `dbt seed` fails.
    """

    column: str
    type: str
    line: int
    written: str
    read: str | None
    is_declared: bool = False


def guesses(file: Path, declared: Mapping[str, str], delimiter: str) -> Iterator[Guess]:
    """The columns of a seed whose values the guessed type changes, or may change: all booleans and binary fractions.

    And those that `declared`, the types by column, rounds. Raises ValueError for a file that dbt cannot read.
    """
    rows = _rows(file, delimiter)
    types = {i: (name, declared[name]) for i, name in enumerate(rows[0][1]) if name in declared}
    if len(types) < len(rows[0][1]):
        from dbt.adapters.duckdb.impl import (
            DuckDBAdapter,
        )  # takes 1 s, and most projects declare every column
        from dbt_common.clients import agate_helper

        table = agate_helper.from_csv(file, text_columns=declared, delimiter=delimiter)
        for i, name in enumerate(table.column_names):
            types.setdefault(i, (name, str(DuckDBAdapter.convert_agate_type(table, i))))
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        for i, (column, kind) in sorted(types.items()):
            is_declared = column in declared
            if kind == "text" or (is_declared and not EXACT.fullmatch(kind)):
                continue
            written = "replace(v, 'T', ' ')" if kind.startswith("timestamp") else "v"
            is_kept = "false" if kind in UNSURE else f"coalesce(read = {written}, false)"
            if is_declared:  # 007 may be meant as 7
                is_kept = (
                    f"coalesce(try_cast(v as {kind}) = try_cast(v as decimal(38, 12)), read is not null)"
                )
            changed = con.execute(
                f"select line, v, read from (select *, cast(try_cast(v as {kind}) as varchar) as read from"
                f" (select unnest(?) as line, unnest(?) as v)) where v <> '' and not {is_kept} order by line limit 1",
                [[line for line, _ in rows[1:]], [row[i] if i < len(row) else "" for _, row in rows[1:]]],
            ).fetchone()
            if changed:
                line, value, read = changed
                yield Guess(column, kind, line, value, read, is_declared)


def _rows(file: Path, delimiter: str) -> list[tuple[int, list[str]]]:
    """The header and the rows, each with the line it begins in."""
    rows, line = [], 1
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter)
        try:
            for row in reader:
                rows.append((line, row))
                line = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"line {line}: {error}") from None
    if not rows:
        raise ValueError("it is empty")
    return rows
