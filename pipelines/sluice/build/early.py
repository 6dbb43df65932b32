"""Leaves out what cannot have changed before dbt begins, for dbt needs its time to compile and to schedule each node.

These are the nodes that are compiled from what they were, and that read nothing which this build may change. All others
are decided when dbt comes to them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

from dbt.artifacts.schemas.results import RunStatus, TimingInfo
from dbt.artifacts.schemas.run import RunResult
from dbt.graph.queue import GraphQueue


def leave_out(task: Any, is_left: Callable[[str], bool]) -> None:
    """Take what is left out of the queue of dbt's build task, with a result for each.

    is_left: whether a node is left, by its unique id; it is asked only when all that the node reads has been left. It
    takes unit tests, too.
    """
    selected = task.job_queue.get_selected_nodes()
    tests, graph = task.model_to_unit_test_map, task.graph.graph
    manifest = task.manifest
    open_, left = set(), []
    order = TopologicalSorter({key: list(graph.predecessors(key)) for key in graph})
    for key in order.static_order():  # tests come before what is built after they have passed
        node = manifest.nodes.get(key)
        if any(parent in open_ for parent in graph.predecessors(key)):
            open_.add(key)
        elif key in selected and not (node and node.is_ephemeral_model):
            own = [*tests.get(key, ()), key]
            if all(map(is_left, own)):
                left += own
            else:
                open_.add(key)
    if not left:
        return
    remaining = selected.difference(left)
    task.selected_unit_tests = {key for key in task.selected_unit_tests if key not in left}
    now = datetime.now(UTC).replace(tzinfo=None)  # as dbt has it; what runs from here on is later
    for key in left:
        tests.pop(key, None)
        node = manifest.unit_tests.get(key) or manifest.nodes[key]
        result = RunResult.from_node(node, RunStatus.Reused, "unchanged")
        result.timing = [TimingInfo("execute", now, now)]
        task.node_results.append(result)
    task.job_queue = GraphQueue(task.graph.get_subset_graph(remaining).graph, manifest, remaining)
    task.num_nodes -= sum(key in selected for key in left)
