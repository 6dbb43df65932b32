"""Precision and recall of what is inferred from rows, against schemas whose truth is known.

`schemas/<name>.yml` makes the rows, deterministically, from names of tables and columns and SQL expressions over the row's
number `i`; `schemas/<name>.truth.yml` says what is true of them, and was written from the schema, not from results. A
proposal counts at any confidence. A relationship that follows from two true ones (a line's order's customer) counts neither
for nor against.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from sluice.discover import cursors, data_classes, keys, soft_deletes
from sluice.discover.contract import DiscoveredColumn, DiscoveredSource, DiscoveredTable, Relationship
from sluice.discover.fields import read_fields
from sluice.discover.relationships import ReadSource, find_in
from sluice.sql import quoted

SCHEMAS = Path(__file__).parent / "schemas"
PARTS = ("keys", "relationships", "cursors", "soft deletes", "classes")
MACROS = """
create or replace macro r(i, salt, n) as (1 + hash(i * 1000003 + salt) % n)::bigint;
create or replace macro pick(i, salt, words) as words[r(i, salt, len(words))];
create or replace macro sometimes(i, salt, one_in, v) as case when r(i, salt, one_in) = 1 then v end;
create or replace macro given(i, salt) as pick(i, salt, ['Anna', 'Bela', 'Carla', 'David', 'Elif', 'Farid', 'Greta',
    'Hugo', 'Ines', 'Jonas', 'Klara', 'Luis', 'Marta', 'Nils', 'Olga', 'Piotr', 'Rosa', 'Sven', 'Tara', 'Uwe']);
create or replace macro family(i, salt) as pick(i, salt, ['Abel', 'Becker', 'Costa', 'Dubois', 'Eriksen', 'Fischer',
    'Garcia', 'Horvat', 'Ivanov', 'Jansen', 'Kowalski', 'Lopez', 'Moreau', 'Novak', 'Olsen', 'Peters', 'Rossi',
    'Silva', 'Toth', 'Weber']);
create or replace macro person(i, salt) as given(i, salt) || ' ' || family(i, salt + 1);
create or replace macro email(i, salt) as lower(given(i, salt) || '.' || family(i, salt + 1)) || i || '@mail'
    || r(i, salt + 2, 9) || '.example';
create or replace macro phone(i, salt) as '+49 ' || (100 + r(i, salt, 899)) || ' ' || (1000000 + r(i, salt + 1, 8999999));
create or replace macro town(i, salt) as pick(i, salt, ['Aachen', 'Bonn', 'Celle', 'Dresden', 'Emden', 'Fulda', 'Gera',
    'Halle', 'Ilmenau', 'Jena', 'Kiel', 'Leer']);
create or replace macro country(i, salt) as pick(i, salt, ['Germany', 'France', 'Spain', 'Poland', 'Italy', 'Norway']);
create or replace macro street(i, salt) as pick(i, salt, ['Lindenweg', 'Hauptstr.', 'Am Markt', 'Ringallee']) || ' '
    || r(i, salt + 1, 180);
create or replace macro postcode(i, salt) as lpad((1000 + r(i, salt, 98000))::varchar, 5, '0');
create or replace macro firm(i, salt) as family(i, salt) || ' ' || pick(i, salt + 1, ['Trading', 'Foods', 'Works',
    'Logistics']) || ' ' || pick(i, salt + 2, ['Ltd', 'GmbH', 'SA', 'Inc']);
create or replace macro thing(i, salt) as pick(i, salt, ['Amber', 'Blue', 'Coarse', 'Dark', 'Even', 'Fine']) || ' '
    || pick(i, salt + 1, ['Lamp', 'Table', 'Kettle', 'Rope', 'Bolt', 'Grinder', 'Scale']) || ' ' || i;
create or replace macro words(i, salt) as array_to_string([pick(i, salt + k, ['delay', 'late', 'good', 'broken', 'please',
    'return', 'soon', 'the', 'of', 'with', 'colour']) for k in range(9)], ' ') || ' ' || r(i, salt, 500);
create or replace macro code(i, n) as upper(left(md5('code' || i), n));
create or replace macro at_time(i, salt, days) as timestamp '2024-01-01 06:00:00'
    + to_seconds((r(i, salt, days * 86400))::bigint);
create or replace macro rising(i, n) as timestamp '2024-01-01 06:00:00' + to_seconds((i * 40000000 / n)::bigint);
create or replace macro money(i, salt, most) as (r(i, salt, most * 100) / 100)::decimal(12, 2);
create or replace macro check_iban(i) as 'DE' || lpad((98 - (('37040044' || lpad((532013000 + i)::varchar, 10, '0')
    || '131400')::hugeint % 97))::varchar, 2, '0') || '37040044' || lpad((532013000 + i)::varchar, 10, '0');
"""


@dataclass
class Score:
    """Counts of one part: right proposals, all of them, and all that is true."""

    right: int = 0
    proposed: int = 0
    true: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.proposed + other.proposed, self.true + other.true)

    def __str__(self) -> str:
        """Precision / recall (how many are true); a dash where there is nothing to divide by."""
        precision = f"{self.right / self.proposed:.2f}" if self.proposed else "-"
        recall = f"{self.right / self.true:.2f}" if self.true else "-"
        return f"{precision} / {recall} ({self.true})"


@dataclass
class Measured:
    """A schema's scores by part, and what was wrong and missed."""

    scores: dict[str, Score]
    wrong: list[str]
    missed: list[str]


def make_sources(
    con: duckdb.DuckDBPyConnection, name: str, *, declared: bool = False
) -> list[DiscoveredSource]:
    """The sources of a schema with their rows in `con`; `declared`: with the truth's keys and references as constraints."""
    con.execute(MACROS)
    content = yaml.safe_load((SCHEMAS / f"{name}.yml").read_text(encoding="utf-8"))
    sources: dict[str, DiscoveredSource] = {}
    for full, entry in content["tables"].items():
        source, _, table = full.rpartition(".")
        source = source or name
        relation = quoted(f"{source} {table}")
        columns = ", ".join(
            f"{expression} as {quoted(column)}" for column, expression in entry["columns"].items()
        )
        rows = entry.get("from") or f"select i from range(1, {entry['rows'] + 1}) t(i)"
        if "from" in entry:
            rows = f"select *, row_number() over () as i from (from ({rows}) order by all)"
        con.execute(f"create or replace table {relation} as select {columns} from ({rows})")
        found = [(str(c), str(t)) for c, t, *_ in con.execute(f"describe from {relation}").fetchall()]
        kind = content.get("kinds", {}).get(source, "database")
        known = sources.setdefault(source, DiscoveredSource(source, {"kind": kind}, []))
        known.tables.append(
            DiscoveredTable(table, [DiscoveredColumn(c, t.lower()) for c, t in found], relation)
        )
    if declared:
        _declare(sources, truth_of(name))
    return list(sources.values())


def truth_of(name: str) -> dict[str, Any]:
    """What is true of a schema."""
    content: dict[str, Any] = yaml.safe_load((SCHEMAS / f"{name}.truth.yml").read_text(encoding="utf-8"))
    return content


def _declare(sources: Mapping[str, DiscoveredSource], truth: Mapping[str, Any]) -> None:
    (source,) = sources.values()
    for table in source.tables:
        if key := truth["keys"].get(table.name):
            table.unique, table.has_primary_key = [tuple(key)], True
        for one in truth["relationships"]:
            (_, child, columns), (_, target, there) = map(_parse_columns, one.split(" > "))
            if child == table.name:
                table.foreign_keys.append((columns, target, there))


def _parse_columns(text: str) -> tuple[str, str, tuple[str, ...]]:
    """Source (may be empty), table and columns of `table.column`, `source:table.column` or `table.(a, b)`."""
    source, separator, rest = text.rpartition(":")
    table, _, columns = rest.partition(".")
    return source if separator else "", table, tuple(c.strip() for c in columns.strip("()").split(","))


def infer_all(con: duckdb.DuckDBPyConnection, sources: Iterable[DiscoveredSource]) -> list[Relationship]:
    """Everything about all sources, as `inference.infer` does for one."""
    read = []
    for source in sources:
        fields = read_fields(con, source)
        keys.propose(con, source, fields)
        classes = data_classes.propose(con, source, fields)
        soft_deletes.propose(con, source, fields)
        cursors.propose(con, source, fields)
        read.append(ReadSource(source, fields, classes))
    return find_in(con, read)


def measure(
    sources: Sequence[DiscoveredSource], relationships: Sequence[Relationship], truth: Mapping[str, Any]
) -> Measured:
    """Compare proposals with the truth."""
    one = len(sources) == 1
    tables = {t.name if one else f"{s.name}.{t.name}": t for s in sources for t in s.tables}
    proposed: dict[str, set[str]] = {
        "keys": {f"{n}.{_shown(t.primary_key.value)}" for n, t in tables.items() if t.primary_key},
        "relationships": {_relationship(r, one) for r in relationships},
        "cursors": {f"{n}.{t.cursor.value}" for n, t in tables.items() if t.cursor},
        "soft deletes": {f"{n}.{t.soft_delete.value}" for n, t in tables.items() if t.soft_delete},
        "classes": {
            f"{n}.{c.name} {c.data_class.value}" for n, t in tables.items() for c in t.columns if c.data_class
        },
    }
    true = {
        "keys": {f"{table}.{_shown(key)}" for table, key in truth["keys"].items()},
        "relationships": set(truth["relationships"]),
        "cursors": {f"{table}.{column}" for table, column in truth.get("cursors", {}).items()},
        "soft deletes": {f"{table}.{column}" for table, column in truth.get("soft_deletes", {}).items()},
        "classes": {f"{column} {name}" for column, name in truth.get("classes", {}).items()},
    }
    proposed["relationships"] -= {*_that_follow(true["relationships"]), *truth.get("neither", ())}
    result = Measured({}, [], [])
    for part in PARTS:
        right = proposed[part] & true[part]
        result.scores[part] = Score(len(right), len(proposed[part]), len(true[part]))
        result.wrong += sorted(f"{part}: {found}" for found in proposed[part] - true[part])
        result.missed += sorted(f"{part}: {found}" for found in true[part] - proposed[part])
    return result


def _shown(columns: Sequence[str]) -> str:
    return columns[0] if len(columns) == 1 else f"({', '.join(columns)})"


def _relationship(found: Relationship, one_source: bool) -> str:
    sides = ((found.table, found.columns), (found.to_table, found.to_columns))
    return " > ".join(
        f"{'' if one_source else source + ':'}{table}.{_shown(columns)}" for (source, table), columns in sides
    )


def _that_follow(true: Iterable[str]) -> set[str]:
    """Relationships of two steps that are not among the true ones themselves."""
    steps = [tuple(one.split(" > ")) for one in true]
    more = {f"{child} > {target}" for child, key in steps for other, target in steps if key == other}
    for child, target in steps:
        if "(" in child:
            (start, table, columns), (_, _, there) = _parse_columns(child), _parse_columns(target)
            for column, key in zip(columns, there, strict=True):
                prefix = f"{start}:" if start else ""
                step = f"{target.partition('.')[0]}.{key}"
                more |= {f"{prefix}{table}.{column} > {end}" for other, end in steps if other == step}
    return more - set(true)


def measured(name: str, *, declared: bool = False) -> Measured:
    """The scores of one schema."""
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        sources = make_sources(con, name, declared=declared)
        return measure(sources, infer_all(con, sources), truth_of(name))


if __name__ == "__main__":  # python -m tests.python.discover.evaluation [SCHEMA…]
    import sys

    for schema in sys.argv[1:] or sorted(
        p.stem for p in SCHEMAS.glob("*.yml") if not p.stem.endswith(".truth")
    ):
        outcome = measured(schema)
        lines = [f"| `{schema}` | " + " | ".join(str(outcome.scores[part]) for part in PARTS) + " |"]
        lines += [f"  wrong: {found}" for found in outcome.wrong] + [
            f"  missed: {found}" for found in outcome.missed
        ]
        sys.stdout.write("\n".join(lines) + "\n")
