"""How one table differs between the two sides: rows, values, column by column."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import duckdb

from sluice.lineage import Ref
from sluice.review.wording import clip, other_ones
from sluice.sql import first_value, quoted

EXAMPLES = 3
MASK = "•••"
EXACT_NUMBER = re.compile(r"DECIMAL|U?(TINY|SMALL|BIG|HUGE)?INT")


@dataclass
class ColumnDiff:
    """One column, over the rows both sides have: how many values differ; nulls, distincts and sum, old and new."""

    name: str
    changed: int
    nulls: tuple[int, int]
    distinct: tuple[int, int]
    total: tuple[Any, Any]
    examples: list[str] = field(default_factory=list)

    @property
    def sum_change(self) -> float:
        """By how much the sum moved, as a share of the old one."""
        before, after = self.total
        if before is None or after is None or before == after:
            return 0.0
        return float(after - before) / abs(float(before)) if before else 1.0

    @property
    def sentence(self) -> str:
        if not self.sum_change:
            return f"`{self.name}` in {self.changed:,}"
        totals = " → ".join(f"{v:,.2f}" if not isinstance(v, int) else f"{v:,}" for v in self.total)
        return f"`{self.name}` in {self.changed:,}, its sum {totals} ({self.sum_change:+.1%})"


@dataclass
class TableDiff:
    """One table on both sides; None stands for a side that has no such table."""

    id: str
    name: str
    rows: tuple[int | None, int | None]
    key: list[str]
    added: int = 0
    removed: int = 0
    changed: int = 0
    duplicates: tuple[int, int] = (0, 0)
    """Rows beyond the first of each key, before and after."""
    without_key: int = 0
    """Rows of the new side that have no value in a part of their key."""
    reshaped: bool = False
    """Other columns, types, or order of columns, which matter to what reads columns without naming them."""
    columns: list[ColumnDiff] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)
    bytes: tuple[int, int] = (0, 0)
    """Compressed, in the database's blocks; a block of several tables is divided among them."""
    error: str = ""
    is_public: bool = False

    @property
    def size(self) -> float:
        """How much of the table differs, as a share: rows, values, or a sum; for the order of a report."""
        moved = [abs(c.sum_change) for c in self.columns]
        return max(self.row_share, self.changed / max(self.rows[1] or 0, 1), *moved)

    @property
    def row_share(self) -> float:
        """By how much the number of rows moved."""
        before, after = self.rows[0] or 0, self.rows[1] or 0
        return abs(after - before) / max(before, 1)

    @property
    def sentence(self) -> str:
        """`fct_lines`: 10,167 → 9,044 rows (-11.0%); 12 changed, `amount` in 10, its sum 5.00 → 4.00."""
        before, after = self.rows
        parts = []
        if before is not None and after is not None:
            share = f" ({(after - before) / before:+.1%})" if before and after != before else ""
            parts.append(
                f"{before:,} → {after:,} rows{share}" if after != before else f"{after:,} rows as before"
            )
        if self.changed:
            parts.append(f"{self.changed:,} changed")
        elif after == before and self.added:
            parts.append(other_ones(self.added))
        most = sorted((c for c in self.columns if c.changed), key=lambda c: (c.sum_change == 0, -c.changed))[
            :2
        ]
        parts += [c.sentence for c in most]
        return f"`{self.name}`: {', '.join(parts)}"

    @property
    def is_equal(self) -> bool:
        return not (self.error or self.added or self.removed or self.changed or self.columns) and (
            self.rows[0] == self.rows[1]
        )


def columns_of_table(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Names and types of a table's columns, in their order."""
    return {name: kind for name, kind, *_ in connection.execute(f"describe {table}").fetchall()}


def compare_tables(
    connection: duckdb.DuckDBPyConnection, diff: TableDiff, base: str, head: str, hidden: Collection[Ref]
) -> None:
    """Fill the diff of two tables, by their key where it is unique on both sides, else as sets of rows.

    hidden: columns of which no value is shown.
    """
    _Comparison(connection, diff, base, head, hidden).fill()


class _Comparison:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        diff: TableDiff,
        base: str,
        head: str,
        hidden: Collection[Ref],
    ) -> None:
        self.connection = connection
        self.diff, self.base, self.head, self.hidden = diff, base, head, hidden
        before, after = (columns_of_table(connection, table) for table in (base, head))
        diff.reshaped = list(before.items()) != list(after.items())
        self.types = after
        self.shared = [name for name in after if name in before]
        self.as_text = {
            name
            for name in self.shared
            if before[name] != after[name] and all(EXACT_NUMBER.match(side[name]) for side in (before, after))
        }
        """Columns whose common type need not hold both: DuckDB rounds decimal(38,3) to decimal(38,1), as sums are."""
        wanted = {name.lower() for name in diff.key}
        self.grain = [name for name in self.shared if name.lower() in wanted]
        if len(self.grain) != len(diff.key):
            diff.key = self.grain = []

    def fill(self) -> None:
        diff = self.diff
        if self.grain:
            diff.duplicates = self._duplicates(self.base), self._duplicates(self.head)
            missing = " or ".join(f"{quoted(k)} is null" for k in self.grain)
            diff.without_key = self._one(f"select count(*) from {self.head} where {missing}")
        is_unique = bool(self.grain) and not any(diff.duplicates)
        changed = self._by_key() if is_unique else self._as_sets()
        diff.columns = [self._column(name, count) for name, count in changed.items()]
        if is_unique:
            self._add_examples()

    def _one(self, sql: str) -> Any:
        return first_value(self.connection, sql)

    def _duplicates(self, table: str) -> int:
        key = ", ".join(map(quoted, self.grain))
        groups = f"select count(*) as n from {table} group by {key}"
        return int(self._one(f"select coalesce(sum(n - 1), 0) from ({groups})"))

    @property
    def _same_key(self) -> str:
        return " and ".join(self._compared(k, "is not distinct from") for k in self.grain)

    def _compared(self, name: str, how: str) -> str:
        return f"{self._value(name, 'b.')} {how} {self._value(name, 'h.')}"

    def _value(self, name: str, table: str = "") -> str:
        """A column as it is compared, in SQL; of numbers as text, without the zeros that the type alone adds."""
        value = f"{table}{quoted(name)}"
        if name not in self.as_text:
            return value
        text = f"cast({value} as varchar)"
        return f"case when contains({text}, '.') then rtrim(rtrim({text}, '0'), '.') else {text} end"

    def _by_key(self) -> dict[str, int]:
        """Counts added, removed and changed rows; the number of changed values by column."""
        others = [name for name in self.shared if name not in self.grain]
        both = "b.rowid is not null and h.rowid is not null"
        differ = [self._compared(c, "is distinct from") for c in others]
        counts = "".join(f", count(*) filter ({both} and {d})" for d in differ)
        row = self.connection.execute(
            f"select count(*) filter (b.rowid is null), count(*) filter (h.rowid is null), "
            f"count(*) filter ({both} and ({' or '.join(differ) or 'false'})){counts} "
            f"from {self.base} as b full outer join {self.head} as h on {self._same_key}"
        ).fetchone()
        assert row is not None
        self.diff.added, self.diff.removed, self.diff.changed = row[:3]
        return {name: n for name, n in zip(others, row[3:], strict=True) if n}

    def _as_sets(self) -> dict[str, int]:
        """The same without a key, where no row is changed but added and removed."""
        every = ", ".join(map(self._value, self.shared))
        self.diff.added = self._beyond(every, self.head, self.base)
        self.diff.removed = self._beyond(every, self.base, self.head)
        if not self.diff.added and not self.diff.removed:
            return {}
        counts = {name: self._beyond(self._value(name), self.head, self.base) for name in self.shared}
        return {name: n for name, n in counts.items() if n}

    def _beyond(self, columns: str, table: str, other: str) -> int:
        rows = f"select {columns} from {table} except all select {columns} from {other}"
        return int(self._one(f"select count(*) from ({rows})"))

    def _column(self, name: str, changed: int) -> ColumnDiff:
        column = quoted(name)
        is_number = re.match(r"(DECIMAL|U?(TINY|SMALL|BIG|HUGE)?INT|DOUBLE|FLOAT)", self.types[name])
        total = f"sum({column})" if is_number else "null"
        a, b = (
            self.connection.execute(
                f"select count(*) - count({column}), count(distinct {column}), {total} from {table}"
            ).fetchone()
            or (0, 0, None)
            for table in (self.base, self.head)
        )
        return ColumnDiff(name, changed, (a[0], b[0]), (a[1], b[1]), (a[2], b[2]))

    def _is_hidden(self, name: str) -> bool:
        return Ref(self.diff.id, name.lower()) in self.hidden

    def _add_examples(self) -> None:
        shows_key = not any(map(self._is_hidden, self.grain))
        identity = " || ' ' || ".join(
            f"coalesce(cast(h.{quoted(k)} as varchar), '{k} is NULL')" for k in self.grain
        )
        for column in self.diff.columns:
            c = quoted(column.name)
            rows = self.connection.execute(
                f"select {identity}, cast(b.{c} as varchar), cast(h.{c} as varchar) "
                f"from {self.base} as b join {self.head} as h on {self._same_key} "
                f"where {self._compared(column.name, 'is distinct from')} order by 1 limit {EXAMPLES}"
            ).fetchall()
            is_hidden = self._is_hidden(column.name)
            for key, *values in rows:
                shown = ["null" if v is None else MASK if is_hidden else clip(v, 60) for v in values]
                column.examples.append(f"{key if shows_key else MASK}: {' → '.join(shown)}")
