"""What conventions look at: dbt's manifest of the compiled project, its files, and the lines of what they declare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from sqlglot import exp
from sqlglot.errors import SqlglotError

from sluice.config.yaml_file import Lines, read_yaml
from sluice.dbt.manifest import Manifest
from sluice.lineage.parser_gaps import parse_one

Node = Mapping[str, Any]


class Finding(NamedTuple):
    """A place that breaks a rule; the message says the rule, why it is one, and the fix."""

    file: str
    line: int
    message: str


class Project:
    """A compiled project: `manifest` is dbt's, `root` the folder of `dbt_project.yml`."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self._lines: dict[str, Lines | None] = {}

    def nodes(self, *kinds: str) -> list[Node]:
        """The project's own nodes of these resource types, by path; none of an installed package."""
        parts = ("nodes", "sources", "unit_tests", "exposures")
        found = [node for part in parts for node in self.manifest.entries.get(part, {}).values()]
        own = [n for n in found if n["resource_type"] in kinds and n["package_name"] == self.manifest.name]
        return sorted(own, key=lambda node: (str(node["original_file_path"]), str(node["name"])))

    @cached_property
    def models(self) -> list[Node]:
        """The models in SQL, by path."""
        return [node for node in self.nodes("model") if node["language"] == "sql"]

    def layer(self, *names: str) -> list[Node]:
        """The models in these folders of `models/`."""
        return [n for n in self.models if n["path"].startswith(tuple(f"{name}/" for name in names))]

    @cached_property
    def trees(self) -> dict[str, exp.Expression]:
        """The parsed SQL of models by unique id, without those that sqlglot cannot read."""
        found = {}
        for node in self.models:
            with suppress(SqlglotError):
                found[node["unique_id"]] = parse_one(node["compiled_code"])
        return found

    @cached_property
    def tests(self) -> Mapping[str, set[str]]:
        """Data tests by the unique id of what they read: the name of a generic test, or "singular"."""
        found = defaultdict(set)
        for test in self.nodes("test"):
            for key in test["depends_on"]["nodes"]:
                found[key].add((test.get("test_metadata") or {}).get("name", "singular"))
        return found

    def files(self, *patterns: str) -> list[Path]:
        """Files below the project's folder by glob patterns."""
        return sorted(file for pattern in patterns for file in self.root.glob(pattern))

    def name(self, file: Path) -> str:
        """A file as it is called in the project."""
        return file.relative_to(self.root).as_posix()

    def yaml(self, file: str) -> Lines | None:
        """A YAML file with its lines; None if there is none that can be read."""
        if file not in self._lines:
            read = read_yaml(self.root / file) if (self.root / file).is_file() else None
            self._lines[file] = read if isinstance(read, Lines) else None
        return self._lines[file]

    def line(self, file: str, *path: str | int) -> int:
        """The line of a place in a YAML file."""
        lines = self.yaml(file)
        return lines.line(path) if lines else 1

    def at(self, node: Node, message: str, column: str = "") -> Finding:
        """A finding about what YAML says of a node, or of one of its columns; else about the node's own file."""
        file = str(node.get("patch_path") or node["original_file_path"]).split("://")[-1]
        lines = self.yaml(file) if file.endswith((".yml", ".yaml")) else None
        found = _entry(lines.value, node["name"]) if lines and lines.value else None
        if lines is None or found is None:
            return Finding(file, 1, message)
        path, entry = found
        for i, described in enumerate(entry.get("columns") or []):
            if column and described.get("name") == column:
                path = [*path, "columns", i]
        return Finding(file, lines.line(path), message)


def _entry(value: Any, name: str) -> tuple[list[str | int], Any] | None:
    """The entry of a node in a properties file, and the path to it."""
    for key in ("models", "seeds", "snapshots", "unit_tests", "exposures"):
        for i, entry in enumerate(value.get(key) or []):
            if entry.get("name") == name:
                return [key, i], entry
    for i, source in enumerate(value.get("sources") or []):
        for j, entry in enumerate(source.get("tables") or []):
            if entry.get("name") == name:
                return ["sources", i, "tables", j], entry
    return None


Rule = Callable[[Project], Iterator[Finding]]
