"""Exports a graph as OpenLineage: one static JobEvent per model, as files; nothing is sent anywhere.

The events follow OpenLineage 2-0-2 with the column lineage facet 1-2-0, whose `dataset` part carries the influences
on the rows once instead of once per column.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sluice.lineage.graph import Edge, EdgeType, Graph, Node, Ref
from sluice.lineage.query_lineage import ROWS, Kind, field_path

EVENT_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent"
COLUMN_LINEAGE_SCHEMA = (
    "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet"
)
SCHEMA_SCHEMA = "https://openlineage.io/spec/facets/1-1-1/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet"
PRODUCER = "urn:sluice:lineage"

SUBTYPES = {
    Kind.JOIN: "JOIN",
    Kind.GROUP: "GROUP_BY",
    Kind.DISTINCT: "GROUP_BY",
    Kind.PIVOT: "GROUP_BY",
    Kind.WINDOW_PARTITION: "WINDOW",
    Kind.WINDOW_ORDER: "WINDOW",
    Kind.WINDOW_FRAME: "WINDOW",
    Kind.ORDER_LIMIT: "SORT",
    Kind.AGGREGATE_ORDER: "SORT",
    Kind.CONDITION: "CONDITIONAL",
}
"""The specification's words for our clauses; all that only choose rows are FILTER. The exact word is kept as text."""


def export_openlineage(
    graph: Graph, folder: Path, namespace: str = "sluice", time: dt.datetime | None = None
) -> list[Path]:
    """Writes `<folder>/<model>.json` for each model and snapshot; returns the files.

    namespace: of jobs and of the warehouse's datasets; source tables are in `<namespace>`, too, by their full name.
    time: `eventTime`, default now (UTC).
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = (time or dt.datetime.now(dt.UTC)).isoformat()
    files = []
    for node in graph.nodes.values():
        if node.kind in ("model", "snapshot"):
            file = folder / f"{node.name}.json"
            text = json.dumps(job_event(graph, node, namespace, stamp), ensure_ascii=False, indent=2)
            file.write_text(text + "\n", encoding="utf-8")
            files.append(file)
    return files


def job_event(graph: Graph, node: Node, namespace: str, time: str) -> dict[str, Any]:
    """The JobEvent of one model: its inputs, and its output with schema and column lineage."""
    parents = [graph.nodes[key] for key in dict.fromkeys(node.parents) if key in graph.nodes]
    return {
        "eventTime": time,
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA,
        "job": {"namespace": namespace, "name": node.id},
        "inputs": [_dataset(parent, namespace) for parent in parents],
        "outputs": [
            {
                **_dataset(node, namespace),
                "facets": {
                    "schema": _schema_facet(node),
                    "columnLineage": _lineage_facet(graph, node, namespace),
                },
            }
        ],
    }


def _dataset(node: Node, namespace: str) -> dict[str, str]:
    name = node.relation.replace('"', "").replace("`", "") or node.name
    return {"namespace": namespace, "name": name}


def _schema_facet(node: Node) -> dict[str, Any]:
    fields = [{"name": c.name, **({"type": c.type} if c.type else {})} for c in node.columns.values()]
    return {"_producer": PRODUCER, "_schemaURL": SCHEMA_SCHEMA, "fields": fields}


def _lineage_facet(graph: Graph, node: Node, namespace: str) -> dict[str, Any]:
    fields = {}
    for key, column in node.columns.items():
        inputs = _input_fields(graph, graph.edges_into(Ref(node.id, key)), namespace)
        if inputs:
            fields[column.name] = {"inputFields": inputs}
    return {
        "_producer": PRODUCER,
        "_schemaURL": COLUMN_LINEAGE_SCHEMA,
        "fields": fields,
        "dataset": _input_fields(graph, graph.edges_into(Ref(node.id, ROWS)), namespace),
    }


def _input_fields(graph: Graph, edges: Iterable[Edge], namespace: str) -> list[dict[str, Any]]:
    """Edges by source column. The rows of a table are not a field; the table itself is among the job's inputs."""
    by_source: dict[Ref, list[Edge]] = {}
    for edge in edges:
        if edge.source.column != ROWS:
            by_source.setdefault(edge.source, []).append(edge)
    found = []
    for ref, group in by_source.items():
        source = graph.nodes[ref.node]
        name = source.columns[ref.column].name if ref.column in source.columns else ref.column
        transformations = {
            json.dumps(_transformation(edge), sort_keys=True): _transformation(edge) for edge in group
        }
        found.append(
            {**_dataset(source, namespace), "field": name, "transformations": list(transformations.values())}
        )
    return found


def _transformation(edge: Edge) -> dict[str, Any]:
    where = f"field {field_path(edge.source.column, edge.path)}" if edge.path else ""
    if edge.type is EdgeType.VALUE:
        return {"type": "DIRECT", "subtype": edge.kind.upper(), "description": where, "masking": False}
    if edge.type is EdgeType.UNKNOWN:
        text = "not known: the SQL could not be resolved"
        return {"type": "INDIRECT", "description": text, "masking": False}
    subtype = SUBTYPES.get(Kind(edge.kind), "FILTER")
    description = " ".join(part for part in (edge.kind, where) if part)
    return {"type": "INDIRECT", "subtype": subtype, "description": description, "masking": False}
