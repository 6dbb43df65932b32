"""Which nodes of a build are built, and which are left as they are: decided one by one, when their turn has come.

By then everything they read has been built or left, so that a table that was built again with the same rows changes
nothing below it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from sluice.dbt.build_state import BuildState, NodeState

Look = Callable[[], str]
"""Looks into the warehouse: the fingerprint of a table, or the SQL of a view; empty where there is none."""


@dataclass(frozen=True)
class Node:
    """A model, seed, snapshot or test whose SQL is compiled, as a decision needs it."""

    id: str
    kind: str
    """model, seed, snapshot, test or unit_test"""
    sql: str
    """What is compared with that of the last build."""
    query: str
    """The compiled SQL; empty for seeds and unit tests."""
    config: str
    """Digest of all else that decides what is built."""
    parents: tuple[str, ...]
    is_view: bool = False
    is_always: str = ""
    """Why it is built every time."""
    build_after: timedelta | None = None
    """How long a result that may be another at each build is good enough."""

    @property
    def is_test(self) -> bool:
        return self.kind in ("test", "unit_test")


@dataclass
class Decisions:
    """The decisions of one build; called from several threads."""

    state: BuildState
    is_trusted: bool
    """Whether the warehouse is as the last build left it."""
    same_sql: Callable[[str, str], bool]
    """Whether two queries mean the same."""
    differs: Callable[[Node], str]
    """Why two builds of a node may differ."""
    outside: Callable[[str], str | None]
    """The fingerprint of what this build does not come to: a source, or a node that was not selected."""
    is_forced: bool = False
    outputs: dict[str, str | None] = field(default_factory=dict)
    """Fingerprints of what can be read, by unique id, as far as they are known; None: it cannot be known."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why each node is built; empty: it is not."""
    _lock: Lock = field(default_factory=Lock)

    def decide(self, node: Node, look: Look) -> str:
        """Why the node is to be built; empty if it is left as it is."""
        reason = "everything is built" if self.is_forced else self._reason(node, look)
        with self._lock:
            self.reasons[node.id] = reason
            if not reason:
                self.outputs[node.id] = self._output(node, self.state.nodes[node.id].output)
        return reason

    def built(self, node: Node, fingerprint: str, definition: str = "") -> None:
        """Note what a build has made, or that a test has passed."""
        now = datetime.now(UTC)
        differs = node.is_always or self.differs(node)
        until = (now + node.build_after).isoformat() if differs and node.build_after else ""
        inputs = {parent: self._known(parent) or "" for parent in node.parents}
        output = "" if node.is_test else self._of_view(node, inputs) if node.is_view else fingerprint
        made = NodeState(
            node.sql, node.config, inputs, output, now.isoformat(), definition, differs, until, node.is_test
        )
        with self._lock:
            self.state.nodes[node.id] = made
            self.outputs[node.id] = self._output(node, output)

    def failed(self, node: Node) -> None:
        """Forget what is known: it is built or tested again the next time."""
        with self._lock:
            self.state.nodes.pop(node.id, None)
            self.outputs[node.id] = None

    def pass_on(self, unique_id: str, parents: Sequence[str]) -> None:
        """A node that is written into the SQL of what reads it: it has what its parents have."""
        known = [self._known(parent) for parent in parents]
        self.outputs[unique_id] = digest(known) if all(known) else None

    def forget_unseen(self) -> None:
        """At the end, forget tables and views that nobody looked at, if something else has changed the warehouse."""
        if not self.is_trusted:
            kept = {
                key: node for key, node in self.state.nodes.items() if node.is_test or self.outputs.get(key)
            }
            self.state.nodes.clear()
            self.state.nodes.update(kept)

    def _reason(self, node: Node, look: Look) -> str:
        known = self.state.nodes.get(node.id)
        if node.is_always:
            return node.is_always
        if known is None:
            return "it has not passed yet" if node.is_test else "it has not been built yet"
        if known.config != node.config:
            return "its configuration has changed"
        if known.sql != node.sql and not self.same_sql(known.sql, node.sql):
            return "its SQL has changed"
        for parent in node.parents:
            output = self._known(parent)
            if output is None:
                return f"it is not known whether {_name(parent)} has changed"
            if known.inputs.get(parent) != output:
                return f"{_name(parent)} has changed"
        if len(known.inputs) != len(set(node.parents)):
            return "it reads other tables"
        if known.differs and not node.is_view and not known.is_recent:
            return known.differs
        if (
            not node.is_test
            and not self.is_trusted
            and look() != (known.definition if node.is_view else known.output)
        ):
            return "something else has changed it in the warehouse"
        if known.sql != node.sql:
            self.state.nodes[node.id] = replace(known, sql=node.sql)
        return ""

    def _known(self, unique_id: str) -> str | None:
        if unique_id not in self.outputs:
            self.outputs[unique_id] = self.outside(unique_id)
        return self.outputs[unique_id]

    def _output(self, node: Node, output: str) -> str | None:
        """What readers of the node compare; None if that is not known, or another at each reading."""
        return None if node.is_view and self.state.nodes[node.id].differs else output or None

    def _of_view(self, node: Node, inputs: Mapping[str, str]) -> str:
        """A view has no rows of its own: it is what its SQL makes of its inputs."""
        before = self.state.nodes.get(node.id)
        is_same = (
            before
            and before.config == node.config
            and (before.sql == node.sql or self.same_sql(before.sql, node.sql))
        )
        sql = before.output.split()[0] if before and is_same else digest(node.sql, node.config)
        return f"{sql} {digest(inputs)}"


def digest(*what: object) -> str:
    """SHA-256 of values as JSON, those that JSON does not know as text."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def _name(unique_id: str) -> str:
    return ".".join(unique_id.split(".")[2:])
