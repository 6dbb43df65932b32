"""Follows data classes along column lineage: what carries personal data, and where it comes from.

The walk is one, and its users differ in where it ends. For the catalog and for rows that are shown, nothing ends it:
`data_class: none` speaks for the audiences of a table, not for a page that anybody may open. For publishing and the
review, a column's own class ends it, `none` too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sluice.config.audiences import UNCLASSED
from sluice.dbt.manifest import Manifest
from sluice.lineage import ROWS, EdgeType, Graph, Ref, Unknown

UNRESOLVED = "unknown"
"""The class of a column that nobody classed and lineage cannot follow to a source: it may be any."""


@dataclass(frozen=True)
class Personal:
    """Why no value of a column is shown: the classes it carries, and the classed columns they come from."""

    classes: frozenset[str]
    origins: frozenset[Ref]
    declared: bool
    """The column itself has a class; otherwise it is made from columns that have one."""
    maybe: bool = False
    """Lineage could not tell, so the column counts as personal."""


def declared_classes(manifest: Manifest) -> dict[Ref, str]:
    """The data classes that columns declare, `none` among them."""
    return {
        Ref(table.id, name): column.data_class
        for table in manifest.tables.values()
        for name, column in table.columns.items()
        if column.data_class
    }


def personal_columns(
    graph: Graph, declared: Mapping[Ref, str], ends: Collection[Ref] = ()
) -> dict[Ref, Personal]:
    """Every column that has a class other than `none`, or may get its value from one that has.

    What lineage cannot follow to sources or seeds has the class `unknown`.
    ends: columns whose value is what they declare, whatever they are made from.
    """
    reached: dict[Ref, tuple[set[str], set[Ref], set[bool]]] = {}
    hidden = dict.fromkeys(_hidden(graph), UNRESOLVED)
    starts = [*((ref, c) for ref, c in hidden.items() if ref not in ends), *declared.items()]
    for origin, data_class in starts:
        if data_class == UNCLASSED:
            continue
        for ref, certain in _walk(graph, origin, ends):
            if ref == origin or ref not in ends:
                classes, origins, certainties = reached.setdefault(ref, (set(), set(), set()))
                classes.add(data_class)
                origins.add(origin)
                certainties.add(certain and data_class != UNRESOLVED)
    return {
        ref: Personal(
            frozenset(classes),
            frozenset(origins),
            declared=declared.get(ref, UNCLASSED) != UNCLASSED,
            maybe=True not in certainties,
        )
        for ref, (classes, origins, certainties) in reached.items()
    }


def nearest_class(graph: Graph, declared: Mapping[Ref, str], column: Ref) -> tuple[Ref, str, bool] | None:
    """The nearest classed column that a column without a class gets its value from, its class, and whether for certain.

    None where each path ends at the class `none` or at no class at all.
    """
    for ref, certain in _walk(graph, column, declared, upstream=True):
        if ref != column and (data_class := declared.get(ref, UNCLASSED)) != UNCLASSED:
            return ref, data_class, certain
    return None


def unresolved_origin(graph: Graph, declared: Mapping[Ref, str], column: Ref) -> tuple[Ref, Unknown] | None:
    """The nearest column behind a column without a class at which lineage loses its value, and why.

    None where each path ends at a declared class, or at a column of a source or a seed.
    """
    for ref, _ in _walk(graph, column, declared, upstream=True):
        if ref not in declared and ref.column != ROWS:
            node = graph.nodes[ref.node]
            if unknowns := node.column_unknowns.get(ref.column):
                return ref, unknowns[0]
            if ref.column not in node.columns and node.kind not in ("source", "seed"):
                return ref, next(
                    iter(node.unknowns), Unknown("its SQL does not show such a column", ref.column)
                )
    return None


def _hidden(graph: Graph) -> Iterator[Ref]:
    """Columns whose values lineage cannot follow."""
    for node in graph.nodes.values():
        yield from (Ref(node.id, name) for name, unknowns in node.column_unknowns.items() if unknowns)


def _walk(
    graph: Graph, start: Ref, ends: Collection[Ref], *, upstream: bool = False
) -> Iterator[tuple[Ref, bool]]:
    """Columns a value reaches, or comes from, nearest first, and whether lineage is certain of it.

    Influences carry no values. Rows as such hold none either, but SQL that is not understood may take its values from
    all of a table's columns, for which its rows stand.
    """
    waiting, seen = deque([(start, True)]), {start}
    while waiting:
        ref, certain = waiting.popleft()
        yield ref, certain
        if ref != start and ref in ends:
            continue
        for edge in graph.edges_into(ref) if upstream else graph.edges_out_of(ref):
            other = edge.source if upstream else edge.target
            skipped = edge.type is EdgeType.INFLUENCE or (other.column == ROWS and not upstream)
            if not skipped and other not in seen:
                seen.add(other)
                waiting.append((other, certain and edge.type is EdgeType.VALUE))
