"""What both ways into a database share: which columns and rows of a table are wanted, and the keys it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil, floor
from typing import Any
from urllib.parse import urlsplit

import duckdb

from sluice.config.column_names import DELETED_AT
from sluice.config.declaration import DatabaseTable, Table
from sluice.engine import engine
from sluice.engine.raw import address
from sluice.engine.types import INTEGERS, ordering
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext
from sluice.extract.silence import Watch
from sluice.sql import literal, quoted

DIALECTS = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}
"""URL schemes DuckDB reads itself, and the name of its extension."""
PORTS = {"postgres": 5432, "mysql": 3306}
CONNECT_SECONDS = 10
FLOAT_STEP = 2.0**-23
"""Two neighbours among numbers of single precision differ by at most this part of them."""
SILENCE_SECONDS = 1800.0
"""A server that sends nothing for this long while it is read is considered gone; a slow query may need as long."""
BROKEN = re.compile(
    r"closed the connection|connection (?:was |has been )?(?:reset|closed|refused|timed out|not open|to server)|"
    r"could not (?:connect|receive|send)|no connection to the server|terminating connection|lost connection|"
    r"can't connect|gone away|ssl (?:syscall|error)|timeout expired|broken pipe|not connected|"
    r"failed to fetch result",
    re.IGNORECASE,
)
"""Messages of PostgreSQL's and MySQL's clients about a broken connection."""


def server_of(url: str) -> tuple[Watch | None, str]:
    """A watch over connections to the server of a URL, where it has one, and the server's name in messages."""
    parts = urlsplit(url)
    try:
        port = parts.port or PORTS.get(DIALECTS.get(parts.scheme, ""), 0)
    except ValueError:  # several hosts
        return None, parts.netloc.rpartition("@")[2] + parts.path
    if not parts.hostname:
        return None, parts.path
    if not port:
        return None, parts.hostname + parts.path
    return Watch(parts.hostname, port), f"{parts.hostname}:{port}{parts.path}"


def chosen_columns(table: Table[DatabaseTable], columns: Sequence[str], context: ExtractContext) -> list[str]:
    """Columns to read, in the source's order; a name the source lacks is an error.

    Except for an excluded one that raw has and the source no longer has.
    """
    wanted = table.load.columns
    raw = context.raw.columns(table)
    named = [*(wanted.include or []), *key_and_cursor(table)]
    named += [name for name in wanted.exclude or [] if table.raw_name(name) not in raw]
    if missing := [name for name in named if name not in columns]:
        raise LoadError(
            f"{table.qualified}: the source's table has no column {', '.join(missing)}; "
            f"it has {', '.join(columns)}"
        )
    chosen = [
        name
        for name in columns
        if (name in wanted.include if wanted.include is not None else name not in (wanted.exclude or []))
    ]
    if not chosen:
        raise LoadError(f"{table.qualified}: columns leaves none of the source's out of {', '.join(columns)}")
    return chosen


def explained_filter(table: Table[DatabaseTable], error: Exception) -> Exception:
    """A LoadError where the `filter` is not a condition over the table's columns; else the error itself."""
    if not table.load.filter or not isinstance(error, duckdb.ProgrammingError):
        return error
    reason = str(error).partition("\n")[0].partition("Error: ")[2]
    return LoadError(
        f"{table.qualified}: the filter {table.load.filter!r} is not a condition over the table's columns: {reason}"
    )


def key_and_cursor(table: Table[DatabaseTable]) -> list[str]:
    """Primary key and cursor, each once."""
    return list(dict.fromkeys([*table.load.primary_key, *filter(None, [table.load.cursor])]))


@dataclass(frozen=True)
class Range:
    """Which cursor values to read; None: no bound on that side."""

    begin: Any
    end: Any
    """Not included."""
    data_type: str
    nulls: bool
    """Whether rows without a cursor are read, too."""

    def condition(self, *places: str, typed: bool) -> str:
        """SQL over a column: with typed literals as DuckDB reads them, or with texts as servers do.

        `places` are the column in the orders it may rise by. What has no end is what one of them lets in; a window is
        one of the first, raw's.
        """
        sides = [(">=", self.begin), ("<", self.end)]
        texts = [(sign, literal(str(value))) for sign, value in sides if value is not None]
        within = [
            " and ".join(
                f"{place} {sign} {f'cast({text} as {self.data_type})' if typed else text}"
                for sign, text in texts
            )
            for place in (places if self.end is None else places[:1])
        ]
        return f"({' or '.join(within)})" if within[1:] else within[0]

    def at_source(self, own: str) -> Range:
        """The same range in the source's type, where raw has another one."""
        return replace(
            self, begin=_converted(self.begin, own, floor), end=_converted(self.end, own, ceil), data_type=own
        )


def _converted(value: Any, own: str, whole: Callable[[Any], int]) -> Any:
    if own == "FLOAT" and whole is floor and value is not None:
        return value - abs(value) * FLOAT_STEP  # raw's 9.9 is a little less at the source
    if isinstance(value, datetime) and own.startswith("TIMESTAMP"):
        if own.endswith("ZONE"):  # without one the server would take its own
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return whole(value) if own in INTEGERS and isinstance(value, (float, Decimal)) else value


def wanted_range(table: Table[DatabaseTable], own: str, context: ExtractContext) -> Range | None:
    """From the highest cursor in raw minus the look-back, or the requested window. None: the whole table.

    `own` is the type of the cursor by which the source orders.
    """
    if not table.load.cursor:
        return None
    data_type = _cursor_type(table, own, context)
    highest = _highest(table, data_type, context)
    if context.options.window:
        return _asked_range(table, data_type, highest, context)
    if highest is None or table.load.disposition() == "replace" or context.options.retry_quarantine:
        return None
    if table.load.lookback:
        # a date has no hours: the look-back of one is whole days
        highest -= table.load.lookback if isinstance(highest, datetime) else _days(table.load.lookback)
    return Range(highest, None, data_type, nulls=True)


def declared_types(table: Table[DatabaseTable]) -> dict[str, str]:
    """Raw's types of the columns with a declared `data_type`, by their names in raw."""
    return {name: engine().declared_type(kind).name for name, kind in table.data_types.items()}


def _cursor_type(table: Table[DatabaseTable], own: str, context: ExtractContext) -> str:
    """Raw's type of the cursor; refused where rows would be missed, for raw's highest need not be the source's."""
    cursor = table.load.cursor or ""
    name = table.raw_name(cursor)
    raw = (
        context.raw.columns(table).get(name) or declared_types(table).get(name) or engine().raw_type(own).name
    )
    if ordering(own) is None or ordering(own) != ordering(raw):
        raise LoadError(
            f"{table.qualified}: the cursor {cursor} is {own.lower()} at the source and {raw.lower()} in raw, and what "
            "is higher in the one need not be in the other, so rows would be missed. A cursor is a number, a time or a "
            "text in both: name another one, or none, or fix its data_type. Where its type changed at the source: "
            f"sluice load {table.qualified} --full-refresh"
        )
    if table.load.lookback and ordering(raw) != "moment":
        raise LoadError(
            f"{table.qualified}: lookback needs a cursor that is a time; {cursor} is {raw.lower()}"
        )
    return raw


def _highest(table: Table[DatabaseTable], data_type: str, context: ExtractContext) -> Any:
    """The highest cursor in raw; one in the future, or at infinity, shows nothing about new rows."""
    column = table.raw_name(table.load.cursor or "_")
    reached = "true"
    if data_type.startswith(("TIMESTAMP", "DATE")):
        reached = f"{quoted(column)} <= now() + interval 1 day"
    elif data_type == "DOUBLE":
        reached = f"isfinite({quoted(column)})"
    return context.raw.maximum(table, column, reached)


def _asked_range(table: Table[DatabaseTable], data_type: str, highest: Any, context: ExtractContext) -> Range:
    way = engine().cast("$1", "VARCHAR", data_type)
    value = f"case when {way.keeps} then {way.value} end" if way.keeps else way.value
    values = []
    for text in context.options.window or ():
        row = context.con.execute(f"select {value.replace('$1', '$1::varchar')}", [text]).fetchone() or (
            None,
        )
        if text is not None and row[0] is None:
            raise LoadError(
                f"{table.qualified}: --from and --to are values of the cursor {table.load.cursor}, which is "
                f"{data_type.lower()}; {text!r} is not such a value"
            )
        values.append(row[0])
    begin, end = values
    if begin is not None and end is not None and begin >= end:
        raise LoadError(
            f"{table.qualified}: --from {begin} is not before --to {end}, so nothing lies between"
        )
    if begin is not None and (highest is None or begin > highest):
        # the next load begins at the highest cursor in raw
        ends = "has none of its rows" if highest is None else f"ends with {highest}"
        raise LoadError(
            f"{table.qualified}: raw {ends}, so what lies before --from {begin} would be missed by all later loads. "
            f"Load it first: sluice load {table.qualified}"
        )
    return Range(begin, end, data_type, nulls=False)


def _days(span: timedelta) -> timedelta:
    return timedelta(days=-(-span // timedelta(days=1)))


def stage_keys(table: Table[DatabaseTable], context: ExtractContext, relation: str) -> str:
    """All keys of the source (and their cursors), read once, in raw's types; null if the type cannot hold the value."""
    file = context.folder / f"{table.name}.keys.parquet"
    known = context.raw.columns(table)
    shown = []
    for name, own, *_ in context.con.execute(f"describe {relation}").fetchall():
        way = engine().cast(quoted(name), own, known.get(table.raw_name(name), own))
        value = f"case when {way.keeps} then {way.value} end" if way.keeps else way.value
        shown.append(f"{value} as {quoted(name)}")
    context.con.execute(
        f"copy (select {', '.join(shown)} from ({relation})) to {literal(str(file))} (format parquet)"
    )
    return f"select * from read_parquet({literal(str(file))})"


def some_are_late(table: Table[DatabaseTable], keys: str, wanted: Range, context: ExtractContext) -> bool:
    """Whether the source has keys below the bound that raw lacks or holds as deleted.

    Such rows were committed late, or came back; the table is then read whole, and what raw has is dropped later.
    """
    if context.options.window:
        return False
    alive = f"where {DELETED_AT} is null" if DELETED_AT in context.raw.columns(table) else ""
    same = " and ".join(f"s.{quoted(k)} = r.{quoted(table.raw_name(k))}" for k in table.load.primary_key)
    row = context.con.execute(
        f"select count(*) from ({keys}) s anti join"
        f" (select * from {address(table)} {alive}) r on {same}"
        f" where not ({wanted.condition('s.' + quoted(table.load.cursor or ''), typed=True)})"
    ).fetchone()
    return bool(row and row[0])
