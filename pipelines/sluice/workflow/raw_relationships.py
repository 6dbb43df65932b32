"""Which columns of raw refer to which, by the `relationships` tests of sources and of models that read a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from sluice.dbt.manifest import Manifest
from sluice.lineage.graph import EdgeType, Graph
from sluice.sql import first_value, quoted

COVERED = 0.95
"""Share of a column's values that must be found in raw, where a model changes them before the test compares them."""
SOURCE = "source."


@dataclass(frozen=True, order=True)
class RawColumn:
    """A column of a table in raw."""

    schema: str
    table: str
    column: str

    @property
    def address(self) -> str:
        """The table in SQL."""
        return f"raw.{quoted(self.schema)}.{quoted(self.table)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}.{self.column}"


@dataclass(frozen=True, order=True)
class RawRelationship:
    """Every value of `child` should be a value of `parent`."""

    child: RawColumn
    parent: RawColumn

    def __str__(self) -> str:
        return f"{self.child} → {self.parent}"


def raw_relationships(
    con: duckdb.DuckDBPyConnection, manifest: Manifest, graph: Graph
) -> tuple[list[RawRelationship], list[str]]:
    """The relationships between tables that raw holds, and those that cannot be followed there, with the reason.

    `con` reads raw under that name.
    """
    followed: set[RawRelationship] = set()
    left: set[str] = set()
    for test in manifest.tests.values():
        if test.type != "relationships" or test.to is None or not test.column:
            continue
        ends = [(test.table, test.column), test.to]
        if not all(_reads_raw(manifest, table) for table, _ in ends):
            continue
        found = [list(_origins(manifest, graph, table, column)) for table, column in ends]
        name = " → ".join(f"{manifest.tables[table].name}.{column}" for table, column in ends)
        if any(len(origins) != 1 for origins in found):
            left.add(f"{name}: a column is not made from one column of raw")
            continue
        (child, is_child_same), (parent, is_parent_same) = found[0][0], found[1][0]
        relationship = RawRelationship(child, parent)
        if not all(_exists(con, end) for end in (child, parent)):
            left.add(f"{name}: raw has no columns {relationship}")
        elif not (is_child_same and is_parent_same) and _coverage(con, relationship) < COVERED:
            left.add(f"{name}: {relationship} does not hold in raw, where the values are written otherwise")
        else:
            followed.add(relationship)
    return sorted(followed), sorted(left)


def key_sql(relationship: RawRelationship, child: str, parent: str) -> str:
    """The condition that a row of `parent` is the one that a row of `child` refers to; both are names in SQL."""
    return (
        f"cast({child}.{quoted(relationship.child.column)} as varchar)"
        f" = cast({parent}.{quoted(relationship.parent.column)} as varchar)"
    )


def _reads_raw(manifest: Manifest, table: str) -> bool:
    known = manifest.tables.get(table)
    return known is not None and (
        known.kind == "source" or any(parent.startswith(SOURCE) for parent in known.parents)
    )


def _origins(manifest: Manifest, graph: Graph, table: str, column: str) -> Iterator[tuple[RawColumn, bool]]:
    """The columns of raw that a column's values come from, and whether they are passed on as they are."""
    if table.startswith(SOURCE):
        yield _raw_column(manifest, table, column), True
        return
    for reached in graph.upstream(table, column):
        if reached.ref.node.startswith(SOURCE) and reached.type is EdgeType.VALUE:
            yield (
                _raw_column(manifest, reached.ref.node, reached.field),
                reached.kinds == frozenset({"identity"}),
            )


def _raw_column(manifest: Manifest, source: str, column: str) -> RawColumn:
    entry = manifest.tables[source].entry
    return RawColumn(str(entry["schema"]), str(entry.get("identifier") or entry["name"]), column)


def _coverage(con: duckdb.DuckDBPyConnection, relationship: RawRelationship) -> float:
    """The share of a child's values that are values of the parent."""
    child, parent = relationship.child, relationship.parent
    return float(
        first_value(
            con,
            f"select coalesce(avg(cast(exists (from {parent.address} p where {key_sql(relationship, 'c', 'p')})"
            f" as integer)), 0) from {child.address} c where c.{quoted(child.column)} is not null",
        )
    )


def _exists(con: duckdb.DuckDBPyConnection, column: RawColumn) -> bool:
    found = con.execute(
        "select 1 from duckdb_columns() where database_name = 'raw' and schema_name = $1 and table_name = $2"
        " and lower(column_name) = lower($3)",
        [column.schema, column.table, column.column],
    )
    return found.fetchone() is not None
