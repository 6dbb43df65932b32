"""What the last builds made of each model, seed, snapshot and test, beside the warehouse."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.config.environments import RAW, Environment
from sluice.config.settings import Settings
from sluice.engine.file_state import file_state
from sluice.engine.raw_versions import RawVersions
from sluice.sql import quoted

KEPT = "build_state.json"
FORMAT = 2
"""Of that file; another one says nothing."""
DECISIONS = "build_decisions.json"
"""Why the last build made each node, by unique id; empty where it left it."""
BUILDING = "sluice.build.session"
"""The module that serves a dbt which builds what has changed."""
ONLY_CHANGED, FORCE = "--only-changed", "--force"
"""What a command for it begins with: leave out what is as it was; build all of it all the same."""


@dataclass(frozen=True)
class NodeState:
    """One node as it was last built, or passed."""

    sql: str
    """The compiled SQL, with the unique ids of the models it reads in place of their relations; of a seed the digest
    of its file, of a unit test that of its definition."""
    config: str
    """Digest of all else that decides what is built, the same on every target."""
    inputs: dict[str, str]
    """Fingerprints of what it read, by unique id."""
    output: str
    """Fingerprint of what was built; empty for tests."""
    at: str
    """When it was built, ISO in UTC."""
    definition: str = ""
    """Of what is a view in this warehouse: its SQL as the warehouse keeps it."""
    differs: str = ""
    """Why two builds of the same may differ; empty if they cannot."""
    until: str = ""
    """If they may: how long this one is good enough, ISO in UTC; empty if the next build makes another."""
    is_test: bool = False
    is_view: bool = False
    """Whether the project makes a view of it."""
    relations: list[str] = field(default_factory=list)
    """Names in SQL: its own, then those of what it reads."""
    template: str = ""
    """Digest of what the SQL was compiled from; empty of a seed and of a unit test."""
    production: str = ""
    """The relation of production that a view of this target reads in its place; empty if it was built here."""

    @property
    def seen(self) -> str:
        """What a look into the warehouse finds where nothing has changed it."""
        return self.definition or self.output

    @property
    def is_recent(self) -> bool:
        """Whether a result that may be another one at each build is still good enough."""
        return bool(self.until) and datetime.now(UTC) < datetime.fromisoformat(self.until)


@dataclass
class BuildState:
    """All nodes, and the state of the warehouse in which they are."""

    warehouse: str = ""
    """`file_state` of the warehouse, as the last build left it."""
    nodes: dict[str, NodeState] = field(default_factory=dict)
    project: str = ""
    """Digest of the project of which all is built and passed; empty if something failed, or is built every time."""
    files: dict[str, list[Any]] = field(default_factory=dict)
    """The project's files, as `project_files` knows them."""
    sources: dict[str, list[str]] = field(default_factory=dict)
    """Schema and name in raw of the sources that are read, by unique id."""
    production: list[str] = field(default_factory=list)
    """Path and `file_state` of production's warehouse, if nodes are read from there."""
    unseen_writes_at: str = ""
    """When a build last ran what may write into any table (hooks, queries of Jinja, Python), ISO in UTC: a table may
    differ from what was built since."""

    def contents(self, sources: Mapping[str, str]) -> dict[str, str]:
        """Fingerprints of what can be read now, by unique id, where they are known: tables as they were built, views
        as they are over what they read.

        sources: those of the source tables.
        """
        found: dict[str, str | None] = {}

        def known(key: str) -> str | None:
            if key not in found:
                node, found[key] = self.nodes.get(key), None
                if node is None:
                    found[key] = sources.get(key)
                elif node.output:
                    found[key] = f"{node.output} {self.unseen_writes_at}"
                if node and node.is_view:
                    inputs = {parent: known(parent) for parent in node.inputs}
                    found[key] = None if node.differs or None in inputs.values() else of_view(node, inputs)
            return found[key]

        return {key: content for key in (*sources, *self.nodes) if (content := known(key))}

    def has_left(self, warehouse: Path) -> bool:
        """Whether the file of the warehouse is as the last build left it."""
        return bool(self.warehouse) and self.warehouse == file_state(warehouse)

    def is_of(self, warehouse: Path) -> bool:
        """Whether all tables have the rows that the last build left, also those that are read from production."""
        there = self.production
        return self.has_left(warehouse) and (not there or file_state(Path(there[0])) == there[1])


def digest(*what: object) -> str:
    """SHA-256 of values as JSON, those that JSON does not know as text."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def of_view(view: NodeState, inputs: Mapping[str, str | None]) -> str:
    """The fingerprint of a view that reads `inputs`: it has no rows of its own, only SQL."""
    return f"{view.output.split()[0]} {digest(inputs)}"


def with_ids(sql: str, unique_ids: Mapping[str, str]) -> str:
    """SQL with unique ids in place of the relations of models, given by relation: those differ between targets."""
    for relation, key in unique_ids.items():
        sql = sql.replace(relation, quoted(key))
    return sql


def read_state(home: Path) -> BuildState:
    """What is known of the warehouse in `home`; nothing where there is no state, or one that cannot be read."""
    try:
        kept = json.loads((home / KEPT).read_text(encoding="utf-8"))
        if kept.pop("format") != FORMAT:
            return BuildState()
        nodes = {key: NodeState(**value) for key, value in kept["nodes"].items()}
        return BuildState(**{**kept, "nodes": nodes})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return BuildState()  # everything is built


def known_content(settings: Settings) -> dict[str, str]:
    """By unique id another text for every other content, of tables and views whose content builds and loads know.

    Empty if anything else has changed the warehouse since the last build; without sources, and what views make of them,
    if that is so of raw.
    """
    state, raw = read_state(settings.home), RawVersions(settings.databases[RAW])
    if not state.is_of(settings.warehouse):
        return {}
    sources = state.sources.items() if raw.is_known else ()
    return state.contents({key: raw.version(schema, name) for key, (schema, name) in sources})


def keep_state(settings: Settings, state: BuildState, production: Environment | None = None) -> None:
    """Keep it, with the warehouse as it is now, and production's if nodes are read from there.

    To be called when both are closed.
    """
    state.warehouse = file_state(settings.warehouse)
    there = production and production.warehouse
    state.production = [str(there), file_state(there)] if there else []
    new = settings.home / f".{KEPT}.new"
    new.write_text(json.dumps({**asdict(state), "format": FORMAT}), encoding="utf-8")
    new.replace(settings.home / KEPT)
    if not there:
        settings.reads_production.unlink(missing_ok=True)


def read_decisions(settings: Settings) -> dict[str, str]:
    """Why the last build made each node; empty reasons for those that it left. Empty without a build."""
    file = settings.home / DECISIONS
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
