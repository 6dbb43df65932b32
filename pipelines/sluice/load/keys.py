"""Keys of the staged rows: every key identifies one row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from sluice.config.column_names import FILE, LOAD_ID
from sluice.config.declaration import Table
from sluice.engine.types import INTEGERS
from sluice.errors import LoadError
from sluice.extract.contract import Files, Messages, TypedRows
from sluice.load.staging import Target, copy_to, read_parquet
from sluice.sql import first_value, listed, quoted

BITS_PER_ROW, MOST_BITS = 64, 10**9
"""For a wider range of whole numbers the bits would take more memory than the keys; the second is DuckDB's bound."""


class DoubledKeyError(Exception):
    """Some keys stand for several different rows; `keys` is a FROM clause of them."""

    def __init__(self, keys: str) -> None:
        super().__init__()
        self.keys = keys


def merge_key(table: Table[Any], rows: TypedRows) -> list[str]:
    """Raw names of the columns by which rows are merged; empty for a table without a key."""
    declared = [table.raw_name(name) for name in table.load.primary_key]
    return declared or (list(rows.origin.columns) if isinstance(rows.origin, Messages) else [])


def table_hints(target: Target, rows: TypedRows, key: Sequence[str]) -> dict[str, Any]:
    """dlt hints under which a package may be loaded twice, after a crash, with the same result.

    Everything is delete-insert in one transaction: by primary key, by file, or, for rows without any
    identity, by the load that brought them. `append` as dlt does it would double rows after a kill.
    """
    if target.table.load.disposition() == "replace" and rows.origin is None:
        return {"write_disposition": "replace"}
    hints: dict[str, Any] = {"write_disposition": {"disposition": "merge", "strategy": "delete-insert"}}
    if isinstance(rows.origin, Files):
        return hints | {"primary_key": list(key), "merge_key": list(rows.origin.columns)}
    return hints | ({"primary_key": list(key)} if key else {"merge_key": [LOAD_ID]})


def rows_without_key(target: Target, key: Sequence[str], file: Path) -> int:
    """Rows with a null in a column of the key."""
    empty = " or ".join(f"{quoted(name)} is null" for name in key)
    return target.count(f"from {read_parquet(file)} where {empty}") if key else 0


def settle_keys(target: Target, rows: TypedRows, key: Sequence[str], file: Path) -> int:
    """Collapse equal rows of a key, and keep the newest of several versions; returns the rows that are left.

    Raises DoubledKeyError where neither leaves one row per key.
    """
    if isinstance(rows.origin, Files) and rows.origin.continued:
        _refuse_repeated_keys(target, rows.origin.continued, key, file)
    con, keys = target.con, ", ".join(map(quoted, key))
    all_rows = target.count(f"from {read_parquet(file)}")
    distinct = distinct_keys(con, key, file, all_rows)
    if all_rows == distinct:
        return all_rows
    version = None
    if target.table.load.cursor:
        version = quoted(target.table.raw_name(target.table.load.cursor))
    elif rows.origin:
        version = quoted(rows.origin.columns[-1])
    newest = (
        f" qualify {version} is not distinct from max({version}) over (partition by {keys})"
        if version
        else ""
    )
    settled = file.with_suffix(".settled")
    kept = copy_to(con, f"select distinct * from {read_parquet(file)}{newest}", settled)
    if kept != distinct:
        doubled = file.with_suffix(".doubled")
        copy_to(con, f"select {keys} from {read_parquet(settled)} group by all having count(*) > 1", doubled)
        raise DoubledKeyError(f"from {read_parquet(doubled)}")
    settled.replace(file)
    return kept


def _refuse_repeated_keys(target: Target, continued: Sequence[str], key: Sequence[str], file: Path) -> None:
    """Raise LoadError for a key that one of these files, which were appended to, had before."""
    same = " and ".join(f"h.{quoted(name)} = n.{quoted(name)}" for name in key)
    names = listed(continued)
    if target.count(
        f"from {target.address} h semi join {read_parquet(file)} n on {same} where h.{FILE} in ({names})"
    ):
        raise LoadError(f"{target.table.qualified}: a key occurs twice in one of {names}")


def distinct_keys(con: duckdb.DuckDBPyConnection, key: Sequence[str], file: Path, rows: int) -> int:
    """How many keys a file has; DuckDB's own count comes last, as it takes ten times as long as the other two ways.

    Whole numbers in a narrow range are counted as bits, and keys in ascending order, as databases often have them, are
    as many as the rows.
    """
    names = list(map(quoted, key))
    bounds = ", ".join(f"min({name}), max({name}), any_value(typeof({name}))" for name in names)
    found = con.execute(f"select {bounds} from {read_parquet(file)}").fetchone() if rows else None
    if found and set(found[2::3]) <= set(INTEGERS):
        number, span = "0::bigint", 1
        for name, lowest, highest in zip(names, found[::3], found[1::3], strict=True):
            number = f"({number}) * {highest - lowest + 1} + ({name}::bigint - ({lowest})::bigint)"
            span *= highest - lowest + 1
        if span <= min(rows * BITS_PER_ROW, MOST_BITS):
            bits = f"bit_count(bitstring_agg({number}, 0, {span - 1}))"
            return int(first_value(con, f"select {bits} from {read_parquet(file)}"))
    above = "false"
    for name in reversed(names):
        above = f"({name} > before.{name} or {name} = before.{name} and {above})"
    before = ", ".join(f"{name} := lag({name}) over ()" for name in names)
    with_before = f"(select {', '.join(names)}, struct_pack({before}) as before from {read_parquet(file)})"
    if not first_value(con, f"select count(*) filter (not {above}) from {with_before}"):
        return rows
    return int(first_value(con, f"select count(distinct ({', '.join(names)})) from {read_parquet(file)}"))
