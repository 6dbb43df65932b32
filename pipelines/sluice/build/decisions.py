"""Which nodes of a build are built, and which are left as they are: decided one by one, when their turn has come.

By then everything they read has been built or left, so that a table that was built again with the same rows changes
nothing below it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from sluice.dbt.build_state import BuildState, NodeState, digest, of_view

Look = Callable[[bool], str]
"""Looks into the warehouse: the SQL of a view if it is given true, else the fingerprint of rows; empty without them."""


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
    relations: tuple[str, ...] = ()
    """Names in SQL on this target: its own, then those of what it reads."""
    template: str = ""
    """Digest of what the SQL is compiled from."""
    is_view: bool = False
    keeps_rows: bool = False
    """Whether the table has rows of earlier builds, which its SQL does not give again."""
    is_always: str = ""
    """Why it is built every time."""
    build_after: timedelta | None = None
    """How long a result that may be another at each build is good enough."""

    @property
    def is_test(self) -> bool:
        return self.kind in ("test", "unit_test")


@dataclass(frozen=True)
class Production:
    """What production has built, for a target that reads from it."""

    state: BuildState
    is_trusted: bool
    """Whether its warehouse is as its last build left it."""
    look: Callable[[str, bool], str]
    """As `Look`, of a relation of production."""
    is_read: bool
    """Whether this build reads from there what is the same."""


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
    production: Production | None = None
    """Where nodes that are the same need not be built here."""
    outputs: dict[str, str | None] = field(default_factory=dict)
    """Fingerprints of what can be read, by unique id, as far as they are known; None: it cannot be known."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why each node is built; empty: it is not."""
    to_read: dict[str, str] = field(default_factory=dict)
    """Relations of production by the unique ids of what reads them from now on, instead of being built."""
    _seen_there: dict[str, bool] = field(default_factory=dict)
    """Whether nodes of production still have the rows that its last build made."""
    _lock: Lock = field(default_factory=Lock)

    def decide(self, node: Node, look: Look) -> str:
        """Why the node is to be built; empty if it is left as it is, or read from production: then see `to_read`."""
        known = self.state.nodes.get(node.id)
        reason = "everything is built" if self.is_forced else self._reason(node, known, look)
        if reason and not self.is_forced and (there := self._in_production(node, known, look)):
            self._read_there(node, known, there, look)
            reason = ""
        with self._lock:
            self.reasons[node.id] = reason
            if not reason:
                self.outputs[node.id] = self._output(node, self.state.nodes[node.id].output)
        return reason

    def leaves(self, node: Node, look: Look) -> bool:
        """Whether a node is left without its SQL being compiled, since it is compiled from what it was; as `decide`.

        To be asked when all that it reads has been left, or is not built.
        """
        states = [self.state, *([self.production.state] if self.production else [])]
        for one in [state.nodes[node.id] for state in states if node.id in state.nodes]:
            is_same = node.sql or node.template == one.template != ""
            if is_same and self.decide(node if node.sql else replace(node, sql=one.sql), look) == "":
                return True
        self.reasons.pop(node.id, None)
        return False

    def built(self, node: Node, look: Look) -> None:
        """Note what a build has made, or that a test has passed."""
        now = datetime.now(UTC)
        differs = node.is_always or self.differs(node)
        until = (now + node.build_after).isoformat() if differs and node.build_after else ""
        inputs = {parent: self._known(parent) or "" for parent in node.parents}
        seen = "" if node.is_test else look(node.is_view)
        made = NodeState(
            node.sql,
            node.config,
            inputs,
            self._of_view(node, inputs) if node.is_view else seen,
            now.isoformat(),
            seen if node.is_view else "",
            differs,
            until,
            node.is_test,
            node.is_view,
            [*node.relations],
            template=node.template,
        )
        with self._lock:
            self.state.nodes[node.id] = made
            self.outputs[node.id] = self._output(node, made.output)

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

    def not_selected(self, unique_id: str, look: Look) -> str | None:
        """The fingerprint of a node that this build does not come to; None if it cannot be known."""
        known = self._there_now(unique_id, look)
        if known is None or (known.is_view and known.differs):
            return None
        if not known.is_view:
            return known.output
        inputs = {parent: self._known(parent) for parent in known.inputs}
        return None if None in inputs.values() else of_view(known, inputs)

    def _there_now(self, unique_id: str, look: Look) -> NodeState | None:
        """What is known of a relation, here or where it is read, if it is as it was built."""
        known, there = self.state.nodes.get(unique_id), self.production
        if known is None and there and there.is_read and not look(False):  # dbt reads it from there
            known = there.state.nodes.get(unique_id)
            return known if known and self._has(unique_id, known.output) else None
        if known is None or (known.production and not self._has(unique_id, known.output)):
            return None
        is_same = self.is_trusted or look(bool(known.definition)) == known.seen
        return known if is_same else None

    def _reason(self, node: Node, known: NodeState | None, look: Look) -> str:
        if node.is_always:
            return node.is_always
        if known is None:
            return "it has not passed yet" if node.is_test else "it has not been built yet"
        if known.production:
            return "it is no longer as in production"  # unless production says otherwise
        if known.config != node.config:
            return "its configuration has changed"
        if known.relations != [*node.relations]:
            return "it is called otherwise, or what it reads"
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
        if not node.is_test and not self.is_trusted and look(node.is_view) != known.seen:
            return "something else has changed it in the warehouse"
        if (known.sql, known.template) != (node.sql, node.template):
            self.state.nodes[node.id] = replace(known, sql=node.sql, template=node.template)
        return ""

    def _in_production(self, node: Node, known: NodeState | None, look: Look) -> NodeState | None:
        """What production knows of the node, if it is the same there and can be read; else None."""
        if self.production is None or not self.production.is_read or node.is_always:
            return None
        there = self.production.state.nodes.get(node.id)
        if there is None or there.production or there.config != node.config:
            return None
        if {parent: self._known(parent) for parent in node.parents} != there.inputs:
            return None
        if there.differs and not node.is_view and not there.is_recent:
            return None
        if there.sql != node.sql and not self.same_sql(there.sql, node.sql):
            return None
        if node.is_test:
            return there
        is_own = node.keeps_rows and not (known and known.production) and look(False)
        return there if not is_own and self._has(node.id, there.output) else None

    def _has(self, unique_id: str, output: str) -> bool:
        """Whether production has these rows now; those of a view come from what it reads there."""
        there = self.production and self.production.state.nodes.get(unique_id)
        if self.production is None or not there or there.production or there.output != output:
            return False
        if unique_id not in self._seen_there:
            is_same = self.production.is_trusted or (
                self.production.look(there.relations[0], there.is_view) == there.seen
            )
            inputs = there.inputs.items() if there.is_view else ()
            self._seen_there[unique_id] = is_same and all(
                self._known(key) == value if key.startswith("source.") else self._has(key, value)
                for key, value in inputs
            )
        return self._seen_there[unique_id]

    def _read_there(self, node: Node, known: NodeState | None, there: NodeState, look: Look) -> None:
        relation = "" if node.is_test else there.relations[0]
        definition = known.definition if known and known.production == relation else ""
        if relation and (not definition or (not self.is_trusted and look(True) != definition)):
            self.to_read[node.id] = relation
        self.state.nodes[node.id] = replace(
            there,
            relations=[*node.relations],
            template=node.template,
            production=relation,
            definition=definition,
        )

    def reads(self, node: Node, definition: str) -> None:
        """Note the view that reads a node from production, when it is made."""
        self.state.nodes[node.id] = replace(self.state.nodes[node.id], definition=definition)

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
            and before.is_view
            and before.config == node.config
            and (before.sql == node.sql or self.same_sql(before.sql, node.sql))
        )
        if before and is_same:
            return of_view(before, inputs)
        return f"{digest(node.sql, node.config)} {digest(inputs)}"


def _name(unique_id: str) -> str:
    return ".".join(unique_id.split(".")[2:])
