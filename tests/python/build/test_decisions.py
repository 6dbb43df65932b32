"""Whatever happens between builds, what is left as it is equals what a full build would make."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from sluice.build.decisions import Decisions, Node, Production
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
    production: World | None = None
    """Where nodes that are the same are read."""
    reads: set[str] = field(default_factory=set)
    """Names that are read from there."""
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
        if self.production and name not in (*self.tables, *self.definitions):
            return self.production.rows(name)
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
            lambda name: self._outside(decisions, name),
            production=self.production.as_production() if self.production else None,
        )
        self.reasons = decisions.reasons
        broken: set[str] = set()
        last = self.rng.choice(NAMES)
        early = self._leave_early(decisions, selected)
        for name in NAMES:
            if broken & set(self.parents[name]):
                broken.add(name)
            elif name in selected and name not in early:
                node, look = self._node(name), partial(self._look, name)
                reason = decisions.decide(node, look)
                self._read_if_new(decisions, name)
                if reason and ((name == last and ends == "fails") or not self._can_be_built(name)):
                    decisions.failed(node)
                    broken.add(name)
                elif reason:
                    self._make(name, node.is_view)
                    decisions.built(node, look)
            if name == last and ends == "killed":
                self.is_touched = True
                return
            if name in selected and name not in broken:
                assert self.rows(name) == self._made(self.sql[name], name), self.reasons[name]
        decisions.forget_unseen()
        self.state, self.is_touched = state, False

    def _leave_early(self, decisions: Decisions, selected: Sequence[str]) -> set[str]:
        """Names that are left before the build begins, as nothing above them is built."""
        left: set[str] = set()
        open_: set[str] = set()
        for name in NAMES if self.rng.random() < 0.5 else ():
            if open_ & set(self.parents[name]):
                open_.add(name)
            elif name in selected:
                is_left = decisions.leaves(replace(self._node(name), sql=""), partial(self._look, name))
                self._read_if_new(decisions, name)
                (left if is_left else open_).add(name)
        return left

    def _node(self, name: str) -> Node:
        """Its template is its SQL; a layout of it is another template with the same SQL."""
        is_view = name in self.views
        sql = str(self.sql[name])
        target = "dev" if self.production else "prod"
        kind = "view" if is_view else "table"
        parents, relations = self.parents[name], (f"{target}.{name}",)
        return Node(
            name, "model", sql, "", kind, parents, relations, template=f"template {sql}", is_view=is_view
        )

    def _read_if_new(self, decisions: Decisions, name: str) -> None:
        if decisions.to_read.pop(name, None):
            self._read(name)
            decisions.reads(self._node(name), self._look(name, True))

    def as_production(self) -> Production:
        return Production(
            self.state, not self.is_touched, lambda name, view: self._look(name.split(".", 1)[1], view), True
        )

    def _can_be_built(self, name: str) -> bool:
        try:
            self._made(self.sql[name], name)
        except KeyError:
            return False
        return True

    def _make(self, name: str, is_view: bool) -> None:
        rows = self._made(self.sql[name], name)
        self._drop(name)
        if is_view:
            self.definitions[name] = self.sql[name]
        else:
            self.tables[name] = rows

    def _read(self, name: str) -> None:
        self._drop(name)
        self.reads.add(name)

    def _drop(self, name: str) -> None:
        self.tables.pop(name, None)
        self.definitions.pop(name, None)
        self.reads.discard(name)

    def _look(self, name: str, is_view: bool) -> str:
        if is_view:
            return f"from {name}" if name in self.reads else str(self.definitions.get(name, ""))
        is_there = name in self.tables or name in self.reads
        return str(self.rows(name)) if is_there else ""

    def _outside(self, decisions: Decisions, name: str) -> str | None:
        if name in self.sources:
            return str(self.sources[name])
        return decisions.not_selected(name, partial(self._look, name))


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


@pytest.mark.parametrize("seed", range(100))
def test_a_target_that_reads_from_production_ends_as_a_full_build(seed: int) -> None:
    """Both have the same sources; each is edited, built, damaged and killed by itself."""
    rng = random.Random(seed)
    production = World(rng)
    dev = World(
        rng,
        production.sources,
        dict(production.sql),
        production.parents,
        set(production.views),
        production=production,
    )
    dev.sql, dev.views = dict(production.sql), set(production.views)
    dev.parents = production.parents
    for _ in range(12):
        for world in rng.choices([production, dev, dev], k=rng.randrange(4)):
            world.happens()
        if rng.random() < 0.5:
            production.build(rng.choice(["well", "killed", "fails"]))
        if rng.random() < 0.5:
            dev.build(rng.choice(["well", "killed", "fails"]), rng.sample(NAMES, 4))
        dev.build()
        assert {name: dev.rows(name) for name in NAMES} == {name: dev.true(name) for name in NAMES}


def test_a_new_target_builds_what_differs_from_production_and_what_is_below_it() -> None:
    production = World(random.Random(1))
    production.build()
    dev = World(random.Random(1), production=production)
    dev.sources = production.sources
    dev.sql[NAMES[3]] += 10
    dev.build()
    below = {NAMES[3]}
    for name in NAMES[4:]:
        if below & {parent for parent in dev.parents[name] if dev.rows(parent) != production.rows(parent)}:
            below.add(name)
    assert {name for name, reason in dev.reasons.items() if reason} == below
    assert dev.reads == {*NAMES} - below


def test_what_may_differ_is_built_when_it_is_due() -> None:
    node = Node("model.p.m", "model", "select now()", "select now()", "", (), build_after=timedelta(hours=1))
    decisions = Decisions(
        BuildState(), True, lambda a, b: a == b, lambda node: "now() is another", lambda name: None
    )
    assert decisions.decide(node, lambda _: "")
    decisions.built(node, lambda _: "1")
    assert decisions.decide(node, lambda _: "1") == ""
    known = decisions.state.nodes["model.p.m"]
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    decisions.state.nodes["model.p.m"] = replace(known, until=past)
    assert decisions.decide(node, lambda _: "1") == "now() is another"


def test_what_cannot_be_looked_at_is_unknown_to_its_readers() -> None:
    above = Node("model.p.a", "model", "select 1", "", "", ())
    below = Node("model.p.b", "model", "select 2", "", "", ("model.p.a",))
    state = BuildState()
    for _ in range(2):
        decisions = Decisions(state, True, lambda a, b: a == b, lambda node: "", lambda name: None)
        decisions.decide(above, lambda _: "")
        decisions.built(above, lambda _: "")
        assert decisions.decide(below, lambda _: "1")
        decisions.built(below, lambda _: "1")


def test_why_each_node_is_built() -> None:
    def reason(node: Node, output: str = "1", *, is_trusted: bool = True, seen: str = "7") -> str:
        decisions = Decisions(
            BuildState(nodes=dict(nodes)), is_trusted, lambda a, b: a == b, lambda node: "", lambda _: output
        )
        return decisions.decide(node, lambda _: seen)

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
