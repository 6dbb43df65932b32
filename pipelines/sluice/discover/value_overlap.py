"""How many distinct values of one field are among those of another: hashed once per field, counted in one join.

Values are compared without case, spaces and punctuation, numbers without leading zeros, so that two systems that write
the same thing differently still meet. Ids with a prefix that most values share (`C-000123`) are compared without it as
well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from sluice.discover.fields import Field
from sluice.sql import literal, one_row

SAMPLE = 4_000
"""Distinct values of a field that are looked for in keys, at most about twice as many; the keys have all of theirs."""
PREFIX_SHARE, PREFIX_VALUES = 0.5, 10
"""A prefix is that of at least this share of the values, and of a field with that many."""
LAST_DIGITS = "nullif(right(regexp_replace(v, '\\D', '', 'g'), 9), '')"
PREFIX = (
    "case when regexp_full_match(v, '[A-Za-z]{1,6}\\d+') then regexp_extract(v, '^[A-Za-z]+')"
    " else regexp_extract(v, '^[A-Za-z]{1,6}[-_:/.#]') end"
)


@dataclass(frozen=True)
class HashedField:
    """A field whose values are hashed, as they are or without a prefix."""

    number: int
    field: Field
    value: str
    """What is compared, as SQL over `v`."""
    prefix: str
    """What is left out before; empty where nothing is."""
    is_digits: bool
    """Whether only digits are left without the prefix."""
    is_key: bool

    @property
    def difference(self) -> str:
        """How values that count as the same may differ."""
        if self.value == LAST_DIGITS:
            return "by their last nine digits"
        return "without a prefix" if self.prefix else "without case and punctuation"


@dataclass(frozen=True)
class Overlap:
    """Distinct values of `child` that are among those of `key`, estimated from a sample."""

    child: HashedField
    key: HashedField
    share: float


def hash_fields(
    con: duckdb.DuckDBPyConnection, fields: Sequence[Field], keys: Iterable[Field], phones: Iterable[Field]
) -> dict[int, HashedField]:
    """Hash the distinct values of the fields into temporary tables; those of `keys` all, of others a sample."""
    key_fields, phone_fields = set(keys), set(phones)
    hashed: dict[int, HashedField] = {}
    con.execute("create or replace temp table key_values(number integer, value ubigint)")
    con.execute("create or replace temp table sampled_values(number integer, value ubigint)")
    for field in fields:
        for value, prefix, is_digits in _forms(con, field, field in phone_fields):
            entry = HashedField(len(hashed), field, value, prefix, is_digits, field in key_fields)
            hashed[entry.number] = entry
            _insert(con, entry)
    return hashed


def _forms(con: duckdb.DuckDBPyConnection, field: Field, is_phone: bool) -> list[tuple[str, str, bool]]:
    """What to compare (see HashedField): the value, and the value without the prefix that most values have."""
    if is_phone:  # the same number with and without the code of its country
        return [(LAST_DIGITS, "", False)]
    if field.kind == "integer" and not field.is_text:
        return [("v::varchar", "", True)]
    forms = [(_canonical("v"), "", field.kind == "integer")]
    if field.kind == "text" and field.distinct >= PREFIX_VALUES:
        some = f"select distinct v from ({field.select}) limit {SAMPLE}"
        found = con.execute(
            "select p, count(*) / sum(count(*)) over () as share"
            f" from (select {PREFIX} as p from ({some})) group by p order by share desc, p"
        ).fetchall()
        prefix, share = found[0] if found else ("", 0.0)
        if prefix and share >= PREFIX_SHARE:
            rest = f"case when starts_with(v, {literal(prefix)}) then substr(v, {len(prefix) + 1}) else v end"
            digits = one_row(con, f"select bool_and(regexp_full_match({rest}, '\\d+')) from ({some})")[0]
            forms.append((_canonical(rest), prefix, digits))
    return forms


def _canonical(value: str) -> str:
    plain = f"translate(lower({value}::varchar), ' ._/-', '')"
    padded = f"starts_with({plain}, '0') and regexp_full_match({plain}, '0\\d+')"
    return f"case when {padded} then ltrim({plain}, '0') else {plain} end"


def _insert(con: duckdb.DuckDBPyConnection, entry: HashedField) -> None:
    values = (
        f"select hash({entry.value}) as value from ({entry.field.select}) where {entry.value} is not null"
    )
    every = max(1, entry.field.distinct // SAMPLE)
    if entry.is_key:
        con.execute(f"insert into key_values select distinct {entry.number}, value from ({values})")
        values = f"select value from key_values where number = {entry.number}"
    con.execute(
        f"insert into sampled_values select distinct {entry.number}, value from ({values}) where value % {every} = 0"
    )


def overlaps(con: duckdb.DuckDBPyConnection, hashed: Mapping[int, HashedField]) -> list[Overlap]:
    """All pairs of a field and another field's key that share a value."""
    found = con.execute(
        "with sizes as (select number, count(*) as size from sampled_values group by number)"
        " select child.number, key.number, count(*) / any_value(sizes.size)"
        " from sampled_values as child join key_values as key using (value) join sizes on sizes.number = child.number"
        " where child.number <> key.number group by all order by 1, 2"
    ).fetchall()
    return [
        Overlap(hashed[child], hashed[key], share)
        for child, key, share in found
        if hashed[child].field != hashed[key].field
    ]


@dataclass(frozen=True)
class Inclusion:
    """Counts of distinct values of a field, and of those that another field has."""

    distinct: int
    equal: int
    """As they are, as text."""
    alike: int
    """As they are compared."""


def inclusion(con: duckdb.DuckDBPyConnection, child: HashedField, key: HashedField) -> Inclusion:
    """Count exactly."""
    distinct, equal, alike = one_row(
        con,
        f"with child as (select distinct v::varchar as text, {child.value} as plain from ({child.field.select})),"
        f" key as (select v::varchar as text, {key.value} as plain from ({key.field.select}))"
        " select count(*), count(*) filter (text in (select text from key)),"
        " count(*) filter (plain in (select plain from key where plain is not null)) from child",
    )
    return Inclusion(distinct, equal, alike)


def tuple_share(
    con: duckdb.DuckDBPyConnection,
    child: tuple[str, Sequence[str]],
    key: tuple[str, Sequence[str]],
    where: str = "true",
) -> tuple[int, int]:
    """Distinct combinations of columns (relation, SQL of the columns) without a null, and how many the key has."""
    columns, keys = [
        ", ".join(f"{name}::varchar as c{i}" for i, name in enumerate(side[1])) for side in (child, key)
    ]
    names = ", ".join(f"c{i}" for i in range(len(child[1])))
    complete = " and ".join(f"{name} is not null" for name in child[1])
    distinct, found = one_row(
        con,
        f"with child as (select distinct {columns} from {child[0]} where {complete} and {where}),"
        f" key as (select distinct {keys} from {key[0]})"
        f" select (select count(*) from child), (select count(*) from child semi join key using ({names}))",
    )
    return distinct, found
