"""Lineage: for any column, where its value comes from and what influences it, up and down the project.

`column_lineage` answers for one query, `load_graph` for a dbt project, `describe` prints the answer of a project,
`export_openlineage` writes it for other tools. docs/lineage.md defines value and influence,
which OpenLineage calls direct and indirect.
"""

from sluice.lineage.graph import Edge, EdgeType, Graph, Node, Reached, Ref
from sluice.lineage.openlineage import export_openlineage
from sluice.lineage.project_graph import load_graph, read_project
from sluice.lineage.queries import column_lineage
from sluice.lineage.query_lineage import (
    ROWS,
    ColumnLineage,
    How,
    Influence,
    Kind,
    QueryLineage,
    Unknown,
    ValueSource,
    paths_overlap,
)
from sluice.lineage.render import describe, text_tree

__all__ = [
    "ROWS",
    "ColumnLineage",
    "Edge",
    "EdgeType",
    "Graph",
    "How",
    "Influence",
    "Kind",
    "Node",
    "QueryLineage",
    "Reached",
    "Ref",
    "Unknown",
    "ValueSource",
    "column_lineage",
    "describe",
    "export_openlineage",
    "load_graph",
    "paths_overlap",
    "read_project",
    "text_tree",
]
