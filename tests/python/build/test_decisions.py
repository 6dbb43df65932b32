"""Whatever happens between builds, what is left as it is equals what a full build would make."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from sluice.build.decisions import Decisions, Node
from sluice.dbt.build_state import BuildState, NodeState

NAMES = [f"model.p.m{number}" for number in range(8)]


@dataclass
class World:
    """A warehouse in miniature: a source's rows, and tables and views whose rows come from those of others."""

    rng: random.Random
    sources: dict[str, int] = field(default_factory=lambda: {"source.p.s.a": 0, "source.p.s.b": 0})
    sql: dict[str, int] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)
    """Models that are declared as views."""
    tables: dict[str, int] = field(default_factory=dict)
    """Rows of the tables that are there."""
    definitions: dict[str, int] = field(default_factory=dict)
    """SQL of the views that are there."""
    is_touched: bool = False
    state: BuildState = field(default_factory=BuildState)
    reasons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, name in enumerate(NAMES):
            self.sql[name] = self.rng.randrange(3)
            others = [*self.sources, *NAMES[:number]]
            self.parents[name] = tuple(self.rng.sample(others, self.rng.randint(1, min(3, len(others)))))
            if self.rng.random() < 0.3:
                self.views.add(name)

    def rows(self, name: str) -> int:
        """What a reader sees; few values, so that a table often comes out as it was. KeyError where nothing is."""
        if name in self.sources:
            return self.sources[name]
        return self.tables[name] if name in self.tables else self._made(self.definitions[name], name)

    def true(self, name: str) -> int:
        """As a full build would make it."""
        if name in self.sources:
            return self.sources[name]
        return hash((self.sql[name], *map(self.true, self.parents[name]))) % 4

    def _made(self, sql: int, name: str) -> int:
        return hash((sql, *map(self.rows, self.parents[name]))) % 4

    def happens(self) -> None:
        """Something between two builds: rows arrive, SQL or a materialization is edited, a table is edited or dropped."""
        what = self.rng.randrange(5)
        if what == 0:
            self.sources[self.rng.choice(list(self.sources))] = self.rng.randrange(3)
        elif what == 1:
            self.sql[self.rng.choice(NAMES)] = self.rng.randrange(3)
        elif what == 2:
            self.views ^= {self.rng.choice(NAMES)}
        elif self.tables:
            self.is_touched = True
            name = self.rng.choice(list(self.tables))
            if what == 3:
                self.tables[name] = self.rng.randrange(4)
            else:
                self.tables.pop(name)

    def build(self, ends: str = "well", selected: Sequence[str] = NAMES) -> None:
        """One build; it may be killed, which loses what it noted, or fail at a node, below which nothing is built."""
        state = BuildState(self.state.warehouse, dict(self.state.nodes))
        decisions = Decisions(
            state,
            not self.is_touched,
            lambda a, b: a == b,
            lambda node: "",
            lambda name: self._outside(state, name),
        )
        self.reasons = decisions.reasons
        broken: set[str] = set()
        last = self.rng.choice(NAMES)
        for name in NAMES:
            if broken & set(self.parents[name]):
                broken.add(name)
            elif name in selected:
                is_view = name in self.views
                node = Node(
                    name,
                    "model",
                    str(self.sql[name]),
                    "",
                    "view" if is_view else "table",
                    self.parents[name],
                    is_view,
                )
                reason = decisions.decide(node, partial(self._look, name, is_view))
                if reason and ((name == last and ends == "fails") or not self._can_be_built(name)):
                    decisions.failed(node)
                    broken.add(name)
                elif reason:
                    self._make(name, is_view)
                    seen = self._look(name, is_view)
                    decisions.built(node, seen, seen if is_view else "")
            if name == last and ends == "killed":
                self.is_touched = True
                return
        decisions.forget_unseen()
        self.state, self.is_touched = state, False

    def _can_be_built(self, name: str) -> bool:
        try:
            self._made(self.sql[name], name)
        except KeyError:
            return False
        return True

    def _make(self, name: str, is_view: bool) -> None:
        rows = self._made(self.sql[name], name)
        self.tables.pop(name, None)
        self.definitions.pop(name, None)
        if is_view:
            self.definitions[name] = self.sql[name]
        else:
            self.tables[name] = rows

    def _look(self, name: str, is_view: bool) -> str:
        return str((self.definitions if is_view else self.tables).get(name, ""))

    def _outside(self, state: BuildState, name: str) -> str | None:
        if name in self.sources:
            return str(self.sources[name])
        known = state.nodes.get(name)
        if known is None:
            return None
        is_view = known.config == "view"
        is_same = not self.is_touched or self._look(name, is_view) == (
            known.definition if is_view else known.output
        )
        return known.output if is_same else None


@pytest.mark.parametrize("seed", range(300))
def test_every_sequence_ends_as_a_full_build(seed: int) -> None:
    world = World(random.Random(seed))
    for _ in range(12):
        for _ in range(world.rng.randrange(3)):
            world.happens()
        for _ in range(world.rng.randrange(3)):
            ends = world.rng.choice(["well", "killed", "fails"])
            world.build(ends, NAMES if world.rng.random() < 0.5 else world.rng.sample(NAMES, 4))
        world.build()
        assert {name: world.rows(name) for name in NAMES} == {name: world.true(name) for name in NAMES}
        world.build()
        assert set(world.reasons.values()) == {""}, "an unchanged build has nothing to do"


def test_what_may_differ_is_built_when_it_is_due() -> None:
    node = Node("model.p.m", "model", "select now()", "select now()", "", (), build_after=timedelta(hours=1))
    decisions = Decisions(
        BuildState(), True, lambda a, b: a == b, lambda node: "now() is another", lambda name: None
    )
    assert decisions.decide(node, lambda: "")
    decisions.built(node, "1")
    assert decisions.decide(node, lambda: "1") == ""
    known = decisions.state.nodes["model.p.m"]
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    decisions.state.nodes["model.p.m"] = replace(known, until=past)
    assert decisions.decide(node, lambda: "1") == "now() is another"


def test_what_cannot_be_looked_at_is_unknown_to_its_readers() -> None:
    above = Node("model.p.a", "model", "select 1", "", "", ())
    below = Node("model.p.b", "model", "select 2", "", "", ("model.p.a",))
    state = BuildState()
    for _ in range(2):
        decisions = Decisions(state, True, lambda a, b: a == b, lambda node: "", lambda name: None)
        decisions.decide(above, lambda: "")
        decisions.built(above, "")
        assert decisions.decide(below, lambda: "1")
        decisions.built(below, "1")


def test_why_each_node_is_built() -> None:
    def reason(node: Node, output: str = "1", *, is_trusted: bool = True, seen: str = "7") -> str:
        decisions = Decisions(
            BuildState(nodes=dict(nodes)), is_trusted, lambda a, b: a == b, lambda node: "", lambda _: output
        )
        return decisions.decide(node, lambda: seen)

    nodes: dict[str, NodeState] = {}
    node = Node("model.p.m", "model", "select 1", "", "c", ("source.p.s.t",))
    assert reason(node) == "it has not been built yet"
    nodes["model.p.m"] = NodeState("select 1", "c", {"source.p.s.t": "1"}, "7", "")
    assert reason(node) == ""
    assert reason(replace(node, config="d")) == "its configuration has changed"
    assert reason(replace(node, sql="select 2")) == "its SQL has changed"
    assert reason(node, "2") == "s.t has changed"
    assert reason(replace(node, parents=())) == "it reads other tables"
    assert reason(replace(node, is_always="it is written in Python")) == "it is written in Python"
    assert reason(node, is_trusted=False) == ""
    assert reason(node, is_trusted=False, seen="8") == "something else has changed it in the warehouse"
    nodes["model.p.m"] = replace(nodes["model.p.m"], differs="now() is another")
    assert reason(node) == "now() is another"
