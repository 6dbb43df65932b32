"""Which columns a metric or saved query of dbt's semantic layer needs: what it measures, and what decides about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from sluice.dbt.manifest import Table
from sluice.lineage.graph import Edge, EdgeType, Node, Ref
from sluice.lineage.query_lineage import ROWS, How, Kind

Json = Mapping[str, Any]
DIMENSION = re.compile(r"(?:Dimension|Entity)\(\s*['\"]([^'\"]+)")
"""`{{ Dimension('order__town') }}` and its like, in filters and groupings."""


def semantic_edges(table: Table, manifest: Json, nodes: Mapping[str, Node]) -> Iterator[Edge]:
    """The edges into a metric or saved query, whose target is its rows; `nodes` are those it may come from."""
    target = Ref(table.id, ROWS)
    for parent in table.parents:
        if parent in nodes and nodes[parent].kind in ("metric", "saved_query"):
            yield Edge(Ref(parent, ROWS), target, EdgeType.VALUE, How.IDENTITY.value)
        elif parent in nodes:
            yield Edge(Ref(parent, ROWS), target, EdgeType.INFLUENCE, Kind.ROWS.value)
    for semantic in _semantic_models(table.entry, manifest):
        for model in (semantic.get("depends_on") or {}).get("nodes") or ():
            if (node := nodes.get(model)) is not None:
                for expression in _measured(table.entry, semantic):
                    for column in _columns(expression, node):
                        yield Edge(Ref(model, column), target, EdgeType.VALUE, How.AGGREGATION.value)
                for expression in _deciding(table.entry, semantic):
                    for column in _columns(expression, node):
                        yield Edge(Ref(model, column), target, EdgeType.INFLUENCE, Kind.FILTER.value)


def _semantic_models(entry: Json, manifest: Json) -> list[Json]:
    """The semantic models of a metric; those of all metrics below a saved query, for its groups and filters."""
    known = manifest.get("semantic_models", {})
    waiting, seen = list((entry.get("depends_on") or {}).get("nodes") or ()), set()
    while waiting:
        key = waiting.pop()
        if key not in seen:
            seen.add(key)
            if entry.get("resource_type") == "saved_query":
                inner = manifest.get("metrics", {}).get(key) or {}
                waiting += (inner.get("depends_on") or {}).get("nodes") or ()
    return [known[key] for key in sorted(seen) if key in known]


def _measured(entry: Json, semantic: Json) -> Iterator[str]:
    """The expressions that a metric aggregates."""
    parameters = entry.get("type_params") or {}
    names = set(_names(parameters))
    for measure in semantic.get("measures") or ():
        if measure["name"] in names:
            yield str(measure.get("expr") or measure["name"])
    if parameters.get("metric_aggregation_params"):
        yield str(parameters.get("expr") or entry["name"])


def _names(value: Any) -> Iterator[str]:
    """Every `name` inside the parameters of a metric."""
    if isinstance(value, dict):
        if isinstance(value.get("name"), str):
            yield value["name"]
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _deciding(entry: Json, semantic: Json) -> Iterator[str]:
    """The expressions by which rows are filtered and grouped: dimensions, entities and the time of measures."""
    named = {
        name.split("__")[-1]
        for name in DIMENSION.findall(str([entry.get("filter"), entry.get("query_params")]))
    }
    parameters = entry.get("query_params") or {}
    named |= {str(name).split("__")[-1] for name in parameters.get("group_by") or ()}
    wanted = set(_names(entry.get("type_params") or {}))
    for measure in semantic.get("measures") or ():
        if measure["name"] in wanted:
            time = measure.get("agg_time_dimension") or (semantic.get("defaults") or {}).get(
                "agg_time_dimension"
            )
            named.add(str(time))
    for part in (*(semantic.get("dimensions") or ()), *(semantic.get("entities") or ())):
        if part["name"] in named:
            yield str(part.get("expr") or part["name"])


def _columns(expression: str, node: Node) -> list[str]:
    """The columns of a model that an expression names; all of them if it cannot be read."""
    try:
        tree = sqlglot.parse_one(expression, dialect="duckdb")
    except SqlglotError:
        return list(node.columns)
    named = {column.name.lower() for column in tree.find_all(exp.Column)}
    return sorted(name for name in named if name in node.columns or node.is_open)
