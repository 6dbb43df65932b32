"""What lies below a change, by lineage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from sluice.dbt.manifest import Table
from sluice.lineage import ROWS, EdgeType, Ref
from sluice.review.model_changes import Change
from sluice.review.revision import Revision


@dataclass(frozen=True)
class Reach:
    """A model, metric or exposure below a change: columns whose values follow, and whether its rows do."""

    id: str
    name: str
    kind: str
    columns: tuple[str, ...]
    rows: bool
    owner: str
    differs: bool | None = None
    """Whether its data differ, once that was measured."""


def reached(old: Revision, new: Revision, changed: Iterable[Change]) -> list[Reach]:
    """All models and consumers below the changes, by lineage; removed columns are followed in the base."""
    columns: dict[str, set[str]] = {}
    rows: set[str] = set()
    for change in changed:
        if not change.rebuilds:
            continue
        starts = [(new, change.id, c) for c in change.columns if change.how != "removed"]
        starts += [(old, change.old or change.id, c) for c in change.dropped]
        if change.rows:
            starts.append((old if change.how == "removed" else new, change.id, ROWS))
        for revision, key, column in starts:
            if key not in revision.graph.nodes:
                continue
            for found in revision.graph.downstream(key, column):
                below = found.ref.node
                if below == key:
                    continue
                if found.ref.column == ROWS and found.type is not EdgeType.VALUE:
                    rows.add(below)
                elif found.ref.column != ROWS:
                    columns.setdefault(below, set()).add(found.ref.column)
                else:
                    columns.setdefault(below, set())
    result = []
    for key in sorted({*columns, *rows}):
        graph = new.graph if key in new.graph.nodes else old.graph
        consumer = {**old.consumers, **new.consumers}.get(key)
        node = graph.nodes[key]
        who = consumer.contact if consumer else node.owner
        result.append(Reach(key, node.name, node.kind, tuple(sorted(columns.get(key, ()))), key in rows, who))
    return result


def measured(
    reach: Iterable[Reach], new: Revision, columns: Mapping[str, Collection[str]], skipped: Collection[str]
) -> list[Reach]:
    """The same, with what was measured.

    columns: by id, the columns of each table that was built that differ (with `*` for its rows). skipped: names of
    models that were not built, since all they are made from is equal.
    """
    found = []
    below = [*reach]
    reached_ids = {item.id for item in below}
    for item in below:
        differs: bool | None = bool(columns[item.id]) if item.id in columns else None
        if item.name in skipped:
            differs = False
        if item.id in new.consumers:
            parents = _tables_of(new, item.id)
            differs = any(
                c.id == item.id for p in parents & set(columns) for c in consumers_below(new, p, columns[p])
            )
            if not differs and any(
                p in reached_ids and p not in columns and new.graph.nodes[p].name not in skipped
                for p in parents
            ):
                differs = None  # a table it reads was not built here
        found.append(replace(item, differs=differs))
    return found


def _tables_of(revision: Revision, key: str) -> set[str]:
    """The tables that a consumer reads, itself or through metrics."""
    found: set[str] = set()
    waiting = [key]
    while waiting:
        for parent in revision.consumers[waiting.pop()].parents:
            if parent in revision.consumers:
                waiting.append(parent)
            elif parent in revision.graph.nodes:
                found.add(parent)
    return found


def consumers_below(revision: Revision, key: str, columns: Iterable[str]) -> list[Table]:
    """Metrics, saved queries and exposures that use any of the columns (or the rows, `*`) of a node."""
    found: set[str] = set()
    for column in columns:
        if key in revision.graph.nodes:
            found |= {r.ref.node for r in revision.graph.downstream(*Ref(key, column))}
    return [revision.consumers[k] for k in sorted(found) if k in revision.consumers]


def must_rebuild(new: Revision, changed: Iterable[Change]) -> list[str]:
    """Ids (of the head) of what changed in meaning and of all below it, parents first."""
    nodes = new.tables
    dirty = {c.id for c in changed if c.rebuilds and c.id in nodes}
    parents = {k: [p for p in (n["depends_on"].get("nodes") or []) if p in nodes] for k, n in nodes.items()}
    order: list[str] = []

    def visit(key: str) -> None:
        if key not in order:
            for parent in parents[key]:
                visit(parent)
            order.append(key)

    for key in sorted(nodes):
        visit(key)
    for key in order:
        if any(p in dirty for p in parents[key]):
            dirty.add(key)
    return [k for k in order if k in dirty]
