"""What DuckDB's scanners make of a table's values, and how values they would alter are read unaltered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from sluice.config.declaration import DatabaseTable, Table
from sluice.engine.types import DECIMAL, EXACT_IN_DOUBLE, NESTED, ordering
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext
from sluice.extract.database.common import Range, declared_types
from sluice.sql import literal, quoted

TEXTS = re.compile(r"text|varchar|bpchar|name|char|citext|(tiny|medium|long)text")
"""PostgreSQL's and MySQL's types of texts."""
DATES = ("date", "datetime", "timestamp")
"""MySQL's types that have a zero date."""
SQLITE_DIGITS = " ".join(
    f"when cast(printf('%!.{n}g', {{0}}) as real) = {{0}} then printf('%!.{n}g', {{0}})" for n in (15, 16)
)
SQLITE_TEXT = (
    "case typeof({0}) when 'blob' then 'X' || hex({0}) when 'real' then"
    f" case {SQLITE_DIGITS} else printf('%!.17g', {{0}}) end else cast({{0}} as text) end"
)
"""The shortest text that names the value of a column in SQLite, which writes reals with 15 digits."""
SQLITE_DAY = "????-??-??"
SQLITE_TIMES = [SQLITE_DAY] + [
    f"{SQLITE_DAY}[ T]??:??:??{fraction}" for fraction in ("", "." + "[0-9]" * 3, "." + "[0-9]" * 6)
]
"""Spellings of times in SQLite that the scanner takes, or stops at; others it cuts, or reads as a number."""

SQLITE_TYPES = {
    "INT": "BIGINT",
    "CHAR": "VARCHAR",
    "CLOB": "VARCHAR",
    "TEXT": "VARCHAR",
    "BLOB": "BLOB",
    "TIMESTAMP": "TIMESTAMP",
    "DATETIME": "TIMESTAMP",
    "DATE": "DATE",
}
"""What a declared type contains, and the scanner's type for it; the first one counts."""


class Scan:
    """One table of an attached database: what its columns are, and SELECTs over it."""

    def __init__(
        self, catalog: str, dialect: str, table: Table[DatabaseTable], context: ExtractContext
    ) -> None:
        parts = (table.load.table or table.name).split(".")
        self._catalog = catalog
        self._dialect = dialect
        self._table = table
        self._context = context
        self._address = ".".join([catalog, *map(quoted, parts)])
        self._there = ".".join(map(self.mark, parts))
        try:
            described = context.con.execute(f"describe {self._address}").fetchall()
        except duckdb.CatalogException:
            raise LoadError(_missing(table, parts)) from None
        self.columns = {name: data_type for name, data_type, *_ in described}
        self.nullable = {name: nullable == "YES" for name, _, nullable, *_ in described}
        self._generated = self._generated_in_sqlite(parts[-1]) if dialect == "sqlite" else {}
        self.columns |= self._generated
        self.nullable |= dict.fromkeys(self._generated, True)
        self._altered, self._suspects, self._own = _altered_by_scanner(
            table, catalog, dialect, parts, self.columns, context
        )

    def relation(self, names: Sequence[str], since: str, *, by_server: bool = False) -> str:
        """`since` is a condition in DuckDB's dialect, or in the server's where its own texts are read."""
        load, altered = self._table.load, self._altered
        filtered = f"({load.filter})" if load.filter else "true"
        shown = ", ".join(map(quoted, names))
        if not by_server and not self.needs_server(names):
            return f"select {shown} from {self._address} where {filtered} and {since}"
        scan = self._of_server(since)
        if plain := [f"{a.plain} as {quoted(n)}" for n, a in altered.items() if a.plain]:
            scan = f"select * replace ({', '.join(plain)}) from ({scan}) where not ({self._unread()})"
        if not load.filter or not altered:
            return f"select {shown} from ({scan}) where {filtered}"
        typed = ", ".join(f"cast({quoted(n)} as {a.type}) as {quoted(n)}" for n, a in altered.items())
        texts = ", ".join(f"{quoted(n)} as {quoted(n + ' as text')}" for n in altered)
        shown = ", ".join(
            f"{quoted(n + ' as text')} as {quoted(n)}" if n in altered else quoted(n) for n in names
        )
        return f"select {shown} from (select * replace ({typed}), {texts} from ({scan})) where {filtered}"

    def orders(self, cursor: str, wanted: Range) -> list[str]:
        """The cursor in the server's SQL, in each of the orders it may rise by."""
        texts = ordering(wanted.data_type) == "text"
        return [self._bytewise(cursor), self.mark(cursor)] if texts else [self.mark(cursor)]

    def newer(self, chosen: Sequence[str], cursor: str, wanted: Range, nulls: bool) -> str:
        """A SELECT of the rows in a range of the cursor; `nulls`: and of those without one."""
        texts = ordering(wanted.data_type) == "text"
        # few rows, so PostgreSQL may find them by an index: DuckDB's scanner asks it for every page of the table.
        # What the scanner takes apart, as points, its query function does not
        asked = (self._dialect == "postgres" or (texts and self._dialect == "mysql")) and not any(
            NESTED.search(self.columns[name]) and not self.needs_server([name]) for name in chosen
        )
        if asked or self.needs_server(chosen):
            place = self.mark(cursor)
            since = wanted.condition(*self.orders(cursor, wanted), typed=False)
        else:
            place = quoted(cursor)
            orders = [place, f"{place} collate nocase"] if texts else [place]  # SQLite's other order
            since = wanted.condition(*orders, typed=True)
        rows = self.relation(chosen, since, by_server=asked)
        if nulls:
            # a row without a cursor may have changed at any time; `or`, and in PostgreSQL `is null`, is not pushed down
            rows += f" union all {self.relation(chosen, f'{place} is null', by_server=asked)}"
        return rows

    def ordered_as(self, name: str) -> str:
        """The DuckDB type that orders values as the source orders those of a column, or the source's name of a type."""
        own: str = self._own.get(name, "")
        kind: str = self.columns[name]
        if self._dialect == "sqlite":
            return kind  # a column of texts turns numbers into texts; one without a type is a blob
        if self._dialect == "mysql" and own in DATES and name in self._altered:
            return self._altered[name].type  # MySQL's texts of times are in order, too
        if own == "numeric" and name in self._altered:
            return "DECIMAL(38,10)"
        return own if kind == "VARCHAR" and own != "uuid" and not TEXTS.fullmatch(own) else kind

    def needs_server(self, names: Sequence[str]) -> bool:
        """Whether the server has to write some of the values as texts."""
        return any(n in self._altered for n in self.columns if n in names or self._table.load.filter)

    def types(self) -> dict[str, str]:
        """Raw types of what arrives as text."""
        return {self._table.raw_name(name): altered.type for name, altered in self._altered.items()}

    def take_odd_as_text(
        self, chosen: Sequence[str], within: str, *, every: bool, suspects: Sequence[str]
    ) -> bool:
        """Read columns with values that the scanner alters as texts from now on; whether there are such columns.

        Of SQLite all columns then, for its texts come by a query without types; `every`: also without such values.
        """
        asked = {n: s for n, s in self._suspects.items() if n in chosen or self._table.load.filter}
        if suspects:
            asked = {n: s for n, s in asked.items() if self._table.raw_name(n) in suspects}
        odd = self._odd({n: s.odd.format(self.mark(n)) for n, s in asked.items()}, within)
        if self._dialect != "sqlite":
            self._altered |= {n: Altered(_text_of(self._dialect, n), self.columns[n]) for n in odd}
        elif odd or every or self._generated.keys() & {*chosen}:
            self._altered |= {name: _sqlite_text(name, kind) for name, kind in self.columns.items()}
            whole = [name for name, kind in self.columns.items() if kind == "BIGINT"]
            mixed = self._counted(
                {n: f"typeof({self.mark(n)}) not in ('integer', 'null')" for n in whole}, within
            )
            for name in set(whole) - set(mixed):
                altered = self._altered[name]
                self._altered[name] = replace(altered, plain=f"cast({quoted(name)} as bigint)")
        return bool(self._altered if self._dialect == "sqlite" else odd)

    def suspects(self, chosen: Sequence[str]) -> dict[str, str]:
        """Conditions for values that may have been altered on the way, by column of raw."""
        found = {
            (raw := self._table.raw_name(n)): s.arrived.format(quoted(raw))
            for n, s in self._suspects.items()
            if s.arrived and n in chosen and n not in self._altered
        }
        if self._dialect == "sqlite" and not self._altered:
            found |= {self._table.raw_name(n): "" for n in chosen if self.columns[n] == "VARCHAR"}
        return found

    def undecodable(self, chosen: Sequence[str], within: str) -> str | None:
        """A SELECT of rows with texts that are not valid UTF-8, for the quarantine; None where there cannot be any."""
        if not any(a.plain for n, a in self._altered.items() if n in chosen):
            return None
        shown = ", ".join(
            f"{quoted(n)} := coalesce({self._altered[n].plain}, {quoted(n)})"
            if self.columns[n] == "VARCHAR"
            else f"{quoted(n)} := {quoted(n)}"
            for n in chosen
        )
        return (
            "select 'a text has bytes that are not valid UTF-8, shown in hexadecimal' as _reason,"
            f" cast(to_json(struct_pack({shown})) as varchar) as _record"
            f" from ({self._of_server(within)}) where {self._unread()}"
        )

    def mark(self, name: str) -> str:
        """A name as the server's SQL has it."""
        return quoted(name) if self._dialect == "postgres" else f"`{name}`"

    def _bytewise(self, name: str) -> str:
        """A column of texts, in the server's SQL, ordered as raw orders texts."""
        if self._dialect == "postgres":
            return f'{self.mark(name)}::text collate "C"'
        if self._dialect == "sqlite":
            return f"{self.mark(name)} collate binary"
        return f"convert({self.mark(name)} using utf8mb4) collate utf8mb4_bin"

    def _generated_in_sqlite(self, name: str) -> dict[str, str]:
        """Columns that SQLite computes, which DuckDB's scanner does not see; types by SQLite's rules of affinity."""
        asked = f"select name, type from pragma_table_xinfo({literal(name)}) where hidden in (2, 3)"
        found = self._context.con.execute(self._asked(asked)).fetchall()
        return {column: _affine(str(kind).upper()) for column, kind in found}

    def _unread(self) -> str:
        """Rows with a value that cannot be converted."""
        plain = {n: a.plain for n, a in self._altered.items() if a.plain}
        return " or ".join(
            f"({quoted(n)} is not null and {expression} is null)" for n, expression in plain.items()
        )

    def _of_server(self, since: str) -> str:
        """All columns as the server itself gives them."""
        inner = ", ".join(f"{self._in_server(name)} as {self.mark(name)}" for name in self.columns)
        asked = self._asked(f"select {inner} from {self._there} where {since}")
        if not self._narrowed():
            return asked
        typed = ", ".join(f"cast({quoted(n)} as {self.columns[n]}) as {quoted(n)}" for n in self._narrowed())
        return f"select * replace ({typed}) from ({asked})"

    def _narrowed(self) -> list[str]:
        """MySQL's decimals of no scale: its query function takes them for one digit shorter than they are."""
        if self._dialect != "mysql":
            return []
        scales = {n: DECIMAL.match(kind) for n, kind in self.columns.items() if n not in self._altered}
        return [n for n, match in scales.items() if match and match[2] == "0"]

    def _in_server(self, name: str) -> str:
        if name in self._altered:
            return self._altered[name].text
        if name in self._narrowed():
            return _text_of(self._dialect, name)
        if (
            self._dialect == "mysql" and self.columns[name] == "VARCHAR"
        ):  # of a binary collation it would be a blob
            return f"convert(`{name}` using utf8mb4) collate utf8mb4_general_ci"
        return self.mark(name)

    def _odd(self, conditions: dict[str, str], within: str) -> list[str]:
        """Columns that have a value for which their condition, in the server's dialect, is true."""
        if not conditions:
            return []
        either = " or ".join(conditions.values())
        if self._dialect == "sqlite":  # ends with the first one: which column it is does not matter
            asked = f"select exists(select 1 from {self._there} where ({within}) and ({either}))"
            row = self._context.con.execute(self._asked(asked)).fetchone() or (0,)
            return list(conditions) if int(row[0]) else []
        # usually there is none, which is faster to find than the count per column
        some = self._counted({"": "true"}, f"({within}) and ({either})")
        return self._counted(conditions, within) if some else []

    def _counted(self, conditions: dict[str, str], within: str) -> list[str]:
        if not conditions:
            return []
        counts = [f"count(case when {c} then 1 end) as c{i}" for i, c in enumerate(conditions.values())]
        asked = f"select {', '.join(counts)} from {self._there} where {within}"
        row = self._context.con.execute(self._asked(asked)).fetchone() or ()
        return [name for name, count in zip(conditions, row, strict=True) if int(count)]

    def _asked(self, query: str) -> str:
        return f"select * from {self._dialect}_query({literal(self._catalog)}, {literal(query)})"


@dataclass(frozen=True)
class Altered:
    """A column whose values DuckDB's scanner cannot carry as they are."""

    text: str
    """Expression in the server's dialect: the value as the server itself writes it."""
    type: str
    """Raw type, where nothing else is declared."""
    plain: str | None = None
    """DuckDB's expression of the value, where the server's text has to be decoded first."""


@dataclass(frozen=True)
class _Suspect:
    """A column in which single values may arrive altered, or stop the scanner."""

    odd: str
    """The server's condition for such a value, of the column `{}`."""
    arrived: str | None = None
    """DuckDB's condition for a column in which some may be, seen from its bounds; None: nothing shows it."""


def _text_of(dialect: str, name: str) -> str:
    return f"cast({quoted(name)} as text)" if dialect == "postgres" else f"cast(`{name}` as char)"


def _sqlite_text(name: str, kind: str) -> Altered:
    """Bytes and texts come in hexadecimal: only so do bytes that are not valid UTF-8 get through."""
    mark, place = f"`{name}`", quoted(name)
    if kind == "BLOB":
        return Altered(f"hex({mark})", kind, f"unhex({place})")
    if kind == "VARCHAR":
        as_hex = f"hex(case typeof({mark}) when 'real' then {SQLITE_TEXT.format(mark)} else {mark} end)"
        return Altered(
            f"case when {mark} is not null then {as_hex} end", kind, f"try(decode(unhex({place})))"
        )
    return Altered(SQLITE_TEXT.format(mark), kind)


def _affine(declared: str) -> str:
    """DuckDB's type for a SQLite column with this declared type."""
    for spelled, kind in SQLITE_TYPES.items():
        if spelled in declared:
            return kind
    return "VARCHAR" if not declared else "DOUBLE"


def _altered_by_scanner(
    table: Table[Any],
    catalog: str,
    dialect: str,
    parts: Sequence[str],
    columns: dict[str, str],
    context: ExtractContext,
) -> tuple[dict[str, Altered], dict[str, _Suspect], dict[str, str]]:
    """Columns that DuckDB's scanners alter, those in which they alter single values, and the server's types by column.

    Unlimited numerics, and those with more than 38 digits, come as doubles (12345678901234567890.12 would
    be rounded), also in arrays, whose dimensions need not be those declared; JSON comes as text.
    """
    if dialect == "sqlite":
        return {}, _suspects_in_sqlite(columns), {}
    declared = declared_types(table)
    suspects: dict[str, _Suspect] = {}
    texts = dict.fromkeys(DATES, ("VARCHAR",)) if dialect == "mysql" else {}
    rows = _server_columns(table, catalog, dialect, parts, context)
    altered = {}
    for name, own, kind in rows:
        match = DECIMAL.match(columns.get(name, ""))
        as_text = _text_of(dialect, name)
        wanted = declared.get(table.raw_name(name))
        if own in ("numeric", "decimal") and (match is None or int(match[2]) > int(match[1])):
            altered[name] = Altered(as_text, "DECIMAL(38,10)")
        elif dialect == "postgres" and (own.startswith("_") or kind == "c"):
            altered[name] = Altered(f"cast(to_json({quoted(name)}) as text)", "JSON")
        elif own in ("json", "jsonb"):
            altered[name] = Altered(as_text, "JSON")
        elif wanted in {"numeric": ("VARCHAR", "DOUBLE"), **texts}.get(own, ()):
            altered[name] = Altered(as_text, str(wanted))
        elif own == "numeric":
            suspects[name] = _Suspect("{0} = 'NaN'", "min({0}) <= 0 and max({0}) >= 0")  # arrives as zero
        elif dialect == "postgres" and own in ("timestamp", "timestamptz"):
            # PostgreSQL's calendar ends 30 years after DuckDB's, which then starts again at its first year
            suspects[name] = _Suspect(
                "{0} >= '294247-01-10' and {0} < 'infinity'",
                "min({0}) < '4714-11-24 (BC)'",
            )
        elif dialect == "mysql" and own in DATES:
            suspects[name] = _Suspect("dayofmonth({0}) = 0 or month({0}) = 0", "count({0}) < count(*)")
    return altered, suspects, {name: own for name, own, _ in rows}


def _server_columns(
    table: Table[Any], catalog: str, dialect: str, parts: Sequence[str], context: ExtractContext
) -> list[tuple[str, str, str]]:
    """Name, the server's type, and PostgreSQL's kind of that type (b: base, c: composite) of each column."""
    if dialect == "postgres":
        query = (
            "select a.attname, coalesce(b.typname, t.typname) as own, coalesce(b.typtype, t.typtype)::text as kind"
            " from pg_attribute a join pg_type t on t.oid = a.atttypid left join pg_type b on b.oid = t.typbasetype"
            f" where a.attrelid = to_regclass({literal('.'.join(map(quoted, parts)))})"
            " and a.attnum > 0 and not a.attisdropped"
        )
    else:
        schema = literal(parts[0]) if len(parts) > 1 else "database()"
        query = (
            "select column_name, data_type, 'b' as kind from information_schema.columns"
            f" where table_schema = {schema} and table_name = {literal(parts[-1])}"
        )
    rows = context.con.execute(
        f"select * from {dialect}_query({literal(catalog)}, {literal(query)})"
    ).fetchall()
    if not rows:  # DuckDB finds a table by a name in another case, too
        raise LoadError(_missing(table, parts))
    refuse_twins(table, [name for name, *_ in rows])
    return rows


def _missing(table: Table[Any], parts: Sequence[str]) -> str:
    return (
        f"{table.qualified}: the source has no table {'.'.join(parts)!r}; "
        "fix `table:` or the table's name, or grant the user the right to see it"
    )


def refuse_twins(table: Table[Any], names: Sequence[str]) -> None:
    """Refuse names that differ in case only: DuckDB treats them as one, and invents a name for the second."""
    first: dict[str, str] = {}
    for name in names:
        if (twin := first.setdefault(name.lower(), name)) != name:
            raise LoadError(
                f"{table.qualified}: the source's columns {twin!r} and {name!r} differ in case only. Let the source "
                "give one of them another name, by a view"
            )


def _suspects_in_sqlite(columns: dict[str, str]) -> dict[str, _Suspect]:
    """SQLite's columns hold values of any type. Most that do not fit stop the scanner; these are read altered."""
    odd = {
        "DATE": f"{{0}} not glob '{SQLITE_DAY}'",
        "TIMESTAMP": "not (" + " or ".join(f"{{0}} glob '{form}'" for form in SQLITE_TIMES) + ")",
        # SQLite keeps larger integers in a numeric column, which the scanner reads as doubles
        "DOUBLE": f"({{0}} > {EXACT_IN_DOUBLE} or {{0}} < -{EXACT_IN_DOUBLE}) and typeof({{0}}) = 'integer'",
    }
    return {name: _Suspect(odd[kind]) for name, kind in columns.items() if kind in odd}
