"""Lineage for people (a text tree) and for programs (JSON)."""

from __future__ import annotations

import json
from typing import Any

from sluice.dbt.nodes import CONSUMERS
from sluice.lineage.graph import Edge, EdgeType, Graph, Node, Reached, Ref
from sluice.lineage.query_lineage import ROWS, Kind, Path, field_path, paths_overlap


def describe(graph: Graph, column: str, up: bool = True, as_json: bool = False) -> str:
    """What `sluice lineage <column>` prints: the tree, or JSON. Raises SluiceError for an unknown column."""
    if as_json:
        return json.dumps(closure_json(graph, column, up), ensure_ascii=False, indent=2)
    return text_tree(graph, column, up)


def closure_json(graph: Graph, column: str, up: bool = True) -> dict[str, Any]:
    """The closure as plain data; the shape is documented in docs/lineage.md."""
    ref, path = graph.find(column)
    found = _closure(graph, column, up)
    nodes = {reached.ref.node for reached in found} | {ref.node}
    return {
        "column": _label(graph, ref, field_path(ref.column, path)),
        "direction": "up" if up else "down",
        "reached": [_reached_json(graph, reached) for reached in found],
        "unknowns": [
            {"node": graph.nodes[key].name, "reason": unknown.reason, "sql": unknown.sql}
            for key in sorted(nodes)
            for unknown in graph.nodes[key].unknowns
        ],
    }


def _reached_json(graph: Graph, reached: Reached) -> dict[str, Any]:
    node = graph.nodes[reached.ref.node]
    return {
        "node": node.id,
        "name": node.name,
        "node_kind": node.kind,
        "column": reached.ref.column,
        "field": reached.field,
        "source_field": _source_field(node, reached.ref.column, reached.field),
        "type": reached.type.value,
        "kinds": sorted(reached.kinds),
        "owner": node.owner,
        "path": [_label(graph, ref) for ref in reached.path],
    }


def text_tree(graph: Graph, column: str, up: bool = True) -> str:
    """The values as a tree; below it, per node, what influences (up) or is influenced (down)."""
    ref, path = graph.find(column)
    lines = [_label(graph, ref, field_path(ref.column, path)) + _note(graph, ref)]
    _branches(graph, ref, path, up, "", lines, {ref})
    found = _closure(graph, column, up)
    lines += _influences(graph, [r for r in found if r.type is EdgeType.INFLUENCE], up)
    lines += _unknowns(graph, found, ref)
    return "\n".join(lines)


def _closure(graph: Graph, column: str, up: bool) -> list[Reached]:
    ref, path = graph.find(column)
    walk = graph.upstream if up else graph.downstream
    return walk(ref.node, ref.column, path)


def _branches(
    graph: Graph, ref: Ref, suffix: Path, up: bool, indent: str, lines: list[str], shown: set[Ref]
) -> None:
    edges = _value_edges(graph, ref, suffix, up)
    for position, edge in enumerate(edges):
        is_last = position == len(edges) - 1
        other, inner = _next_stop(edge, suffix, up)
        label = _label(graph, other, field_path(other.column, inner))
        seen = other in shown and bool(_value_edges(graph, other, inner, up))
        note = _note(graph, other, inner) + (" (shown above)" if seen else "")
        lines.append(f"{indent}{'└─' if is_last else '├─'} {edge.kind}: {label}{note}")
        if not seen:
            shown.add(other)
            _branches(graph, other, inner, up, indent + ("   " if is_last else "│  "), lines, shown)


def _next_stop(edge: Edge, suffix: Path, up: bool) -> tuple[Ref, Path]:
    """Where the edge leads, and which field of that column is meant."""
    if up:
        return edge.source, (*edge.path, *suffix) if edge.navigable else edge.path
    return edge.target, suffix[len(edge.path) :] if edge.navigable else ()


def _value_edges(graph: Graph, ref: Ref, suffix: Path, up: bool) -> list[Edge]:
    edges = graph.edges_into(ref) if up else graph.edges_out_of(ref)
    found = {
        (e.source, e.target, e.kind, e.path): e
        for e in edges
        if e.type is EdgeType.VALUE and (up or paths_overlap(e.path, suffix))
    }
    return sorted(found.values(), key=lambda e: (_order(e, up), e.path))


def _order(edge: Edge, up: bool) -> tuple[str, str]:
    other = edge.source if up else edge.target
    return other.node.split(".")[-1], other.column


def _influences(graph: Graph, found: list[Reached], up: bool) -> list[str]:
    by_node: dict[str, list[Reached]] = {}
    for reached in found:
        by_node.setdefault(reached.ref.node, []).append(reached)
    if not by_node:
        return []
    lines = ["", "Influenced by:" if up else "Influences:"]
    for key, group in by_node.items():
        parts = _influence_texts(graph.nodes[key], group, up)
        if parts:
            lines.append(f"  {graph.nodes[key].name}{_owner(graph.nodes[key])}: {', '.join(parts)}")
    return lines if len(lines) > 2 else []


def _influence_texts(node: Node, group: list[Reached], up: bool) -> list[str]:
    """`status (filter), order_id (join, group)`. Downwards, rows that change are named as such."""
    if not up and any(reached.ref.column == ROWS for reached in group):
        kinds = sorted({kind for reached in group for kind in reached.kinds if kind != Kind.ROWS})
        return [f"its rows, so every column ({', '.join(kinds) or 'rows'})"]
    kinds_of: dict[str, set[str]] = {}
    for reached in group:
        if reached.ref.column != ROWS:
            kinds_of.setdefault(reached.field, set()).update(reached.kinds)
    if not kinds_of:
        return ["its rows"] if node.kind in ("source", "seed", "snapshot", "table") else []
    return [f"{field} ({', '.join(sorted(kinds))})" for field, kinds in kinds_of.items()]


def _unknowns(graph: Graph, found: list[Reached], ref: Ref) -> list[str]:
    nodes = {reached.ref.node for reached in found} | {ref.node}
    lines = [
        f"  {graph.nodes[key].name}: {unknown.reason}: {unknown.sql}"
        for key in sorted(nodes)
        for unknown in graph.nodes[key].unknowns
    ]
    return ["", "Not known:", *lines] if lines else []


def _label(graph: Graph, ref: Ref, field: str | None = None) -> str:
    node = graph.nodes[ref.node]
    if ref.column == ROWS:
        return node.name if node.kind in CONSUMERS else f"rows of {node.name}"
    return f"{node.name}.{field or ref.column}"


def _note(graph: Graph, ref: Ref, path: Path = ()) -> str:
    node = graph.nodes[ref.node]
    if node.kind == "source" and ref.column != ROWS:
        return f"  [{node.origin}, field {_source_field(node, ref.column, field_path(ref.column, path))}]"
    if node.kind not in (*CONSUMERS, "seed", "snapshot", "table"):
        return ""
    return f"  [{node.kind.replace('_', ' ')}{_owner(node)}]"


def _owner(node: Node) -> str:
    return f" of {node.owner}" if node.owner and node.kind in CONSUMERS else ""


def _source_field(node: Node, column: str, field: str) -> str:
    """The field in the source system: the declared one, with the nested steps appended."""
    known = node.columns.get(column)
    if known is None or not known.field:
        return field
    return known.field + field[len(column) :]
