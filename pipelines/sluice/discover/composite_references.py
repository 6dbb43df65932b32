"""References beyond one column to one key: declared, of several columns, and to a table that another column names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import duckdb

from sluice.discover.column_words import column_stem, is_identifier, same_word, singular, table_stem, words
from sluice.discover.contract import DiscoveredSource, Relationship
from sluice.discover.fields import Field, TableFields
from sluice.discover.value_overlap import tuple_share
from sluice.sql import literal, quoted

NEEDED = 0.9
"""Share of the combinations that the other table has to have."""
TYPE_WORDS = ("type", "kind", "table", "class", "model", "entity")
MOST_TYPES = 20


class Read(Protocol):
    """A source with the facts of its fields."""

    @property
    def source(self) -> DiscoveredSource: ...
    @property
    def fields(self) -> Mapping[str, TableFields]: ...


def declared(con: duckdb.DuckDBPyConnection, read: Read) -> Iterator[Relationship]:
    """Foreign keys of the system; their coverage is counted where both tables are there whole."""
    name = read.source.name
    for table in read.source.tables:
        for columns, target, there in table.foreign_keys:
            child, key = read.fields.get(table.name), read.fields.get(target)
            coverage, reason = 1.0, "foreign key of the system"
            if child and key and child.table.is_whole and key.table.is_whole:
                distinct, found = tuple_share(
                    con,
                    (child.relation, [quoted(column) for column in columns]),
                    (key.relation, [quoted(column) for column in there]),
                )
                coverage = found / distinct if distinct else 1.0
                reason += f"; {found:,} of {distinct:,} distinct values are there"
            yield Relationship((name, table.name), tuple(columns), (name, target), tuple(there), coverage, reason,
                               declared=True)  # fmt: skip


def composite(
    con: duckdb.DuckDBPyConnection, read: Read, known: Sequence[Relationship]
) -> Iterator[Relationship]:
    """Columns with the names of another table's composite key, and its combinations of values."""
    source = read.source.name
    done = {(r.table[1], r.to_table[1], frozenset(r.columns)) for r in known if r.table[0] == source}
    for key in read.fields.values():
        proposal = key.table.primary_key
        if proposal is None or len(proposal.value) < 2 or proposal.confidence < 0.6:
            continue
        for child in read.fields.values():
            columns = _same_columns(child, key, proposal.value)
            if (
                child is key
                or columns is None
                or (child.table.name, key.table.name, frozenset(columns)) in done
            ):
                continue
            own = child.table.primary_key
            if own and set(own.value) == set(columns) and not _is_part(child, key):
                continue
            distinct, found = tuple_share(con, _side(child, columns), _side(key, proposal.value))
            if distinct >= 5 and found >= NEEDED * distinct:
                yield Relationship(
                    (source, child.table.name),
                    columns,
                    (source, key.table.name),
                    proposal.value,
                    found / distinct,
                    f"{found:,} of {distinct:,} distinct combinations are in {key.table.name}; the names are the same",
                    min(0.95 if found == distinct else 0.9, proposal.confidence),
                )


def _same_columns(child: TableFields, key: TableFields, names: Sequence[str]) -> tuple[str, ...] | None:
    """The child's columns that are called like those of the key, in the key's order."""
    found = []
    for name in names:
        wanted = key.column(name)
        match = next((f for f in child.columns if words(f.name) == words(name)), None)
        if wanted is None or match is None or not match.values:
            return None
        found.append(match.name)
    return tuple(found)


def _is_part(child: TableFields, key: TableFields) -> bool:
    """Whether a row of the child adds to one of the key: order_line_notes to order_lines."""
    one, other = table_stem(child.table.name), table_stem(key.table.name)
    return one.startswith(other) and one != other


def _side(table: TableFields, columns: Sequence[str]) -> tuple[str, list[str]]:
    return table.relation, [field.expression for name in columns if (field := table.column(name))]


def by_type(con: duckdb.DuckDBPyConnection, read: Read) -> Iterator[Relationship]:
    """A column that refers to several tables, where another column says to which: owner_id with owner_type."""
    for table in read.fields.values():
        for column in table.columns:
            kind = _type_column(table, column)
            if kind is None:
                continue
            values = con.execute(f"select distinct v from ({kind.select})").fetchall()
            for (value,) in values:
                key = _table_called(read.fields, str(value))
                if key and (found := _where_type(con, (table, column, kind), str(value), key)):
                    yield found


def _type_column(table: TableFields, column: Field) -> Field | None:
    stem = column_stem(column.name)
    if not stem or not is_identifier(column.name):
        return None
    for other in table.columns:
        found = words(other.name)
        if (
            found[-1] in TYPE_WORDS
            and "".join(map(singular, found[:-1])) == stem
            and other.kind == "text"
            and 0 < other.distinct <= MOST_TYPES
        ):
            return other
    return None


def _table_called(fields: Mapping[str, TableFields], value: str) -> TableFields | None:
    """The table that a value names; its key has one column."""
    found = words(value)
    for table in fields.values():
        proposal = table.table.primary_key
        names = {"".join(map(singular, found)), singular(found[-1])} if found else set()
        if (
            proposal
            and len(proposal.value) == 1
            and any(same_word(n, table_stem(table.table.name)) for n in names)
        ):
            return table
    return None


def _where_type(
    con: duckdb.DuckDBPyConnection, child: tuple[TableFields, Field, Field], value: str, key: TableFields
) -> Relationship | None:
    table, column, kind = child
    assert key.table.primary_key
    (name,) = key.table.primary_key.value
    distinct, found = tuple_share(
        con,
        (table.relation, [column.expression]),
        _side(key, [name]),
        f"{kind.expression} = {literal(value)}",
    )
    if not distinct or found < NEEDED * distinct:
        return None
    reason = f"where {kind.name} names {key.table.name}: {found:,} of {distinct:,} distinct values are there"
    source = column.source
    return Relationship((source, table.table.name), (column.name,), (source, key.table.name), (name,), found / distinct,
                        reason, 0.9)  # fmt: skip
