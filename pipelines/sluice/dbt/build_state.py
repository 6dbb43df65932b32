"""What the last builds made of each model, seed, snapshot and test, beside the warehouse."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.config.settings import Settings
from sluice.engine.file_state import file_state

KEPT = "build_state.json"
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
    """The compiled SQL; of a seed the digest of its file, of a unit test that of its definition."""
    config: str
    """Digest of all else that decides what is built."""
    inputs: dict[str, str]
    """Fingerprints of what it read, by unique id."""
    output: str
    """Fingerprint of what was built; empty for tests."""
    at: str
    """When it was built, ISO in UTC."""
    definition: str = ""
    """Of a view: its SQL as the warehouse keeps it."""
    differs: str = ""
    """Why two builds of the same may differ; empty if they cannot."""
    until: str = ""
    """If they may: how long this one is good enough, ISO in UTC; empty if the next build makes another."""
    is_test: bool = False

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
    unseen_writes_at: str = ""
    """When a build last ran what may write into any table (hooks, queries of Jinja, Python), ISO in UTC: a table may
    differ from what was built since."""

    def is_of(self, warehouse: Path) -> bool:
        """Whether the warehouse is as the last build left it."""
        return bool(self.warehouse) and self.warehouse == file_state(warehouse)


def read_state(settings: Settings) -> BuildState:
    """What is known; nothing where there is no state, or one that cannot be read."""
    try:
        kept = json.loads((settings.home / KEPT).read_text(encoding="utf-8"))
        nodes = {key: NodeState(**value) for key, value in kept["nodes"].items()}
        return BuildState(**{**kept, "nodes": nodes})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return BuildState()  # everything is built


def keep_state(settings: Settings, state: BuildState) -> None:
    """Keep it, with the warehouse as it is now; to be called when that is closed."""
    state.warehouse = file_state(settings.warehouse)
    kept = asdict(state)
    new = settings.home / f".{KEPT}.new"
    new.write_text(json.dumps(kept), encoding="utf-8")
    new.replace(settings.home / KEPT)


def read_decisions(settings: Settings) -> dict[str, str]:
    """Why the last build made each node; empty reasons for those that it left. Empty without a build."""
    file = settings.home / DECISIONS
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
