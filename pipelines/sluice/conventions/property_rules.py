"""Conventions of what YAML says: descriptions, keys, sources, exposures, selectors, names of files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sluice.config.yaml_file import dig
from sluice.conventions.project import Finding, Project
from sluice.dbt.manifest import meta

PARTS = ("Assumptions", "Nuance", "Primary key")
"""Of a model's description, after the sentence with the grain."""


def first_sentence(project: Project) -> Iterator[Finding]:
    """The first sentence of a column's description fits a catalog table."""
    for node in project.nodes("model", "seed", "snapshot", "source"):
        for column in node["columns"].values():
            name = f"{node['name']}.{column['name']}"
            first = re.split(r"(?<=[.])\s", column["description"].strip())[0]
            if not first:
                yield project.at(node, f"{name} has no description.", column["name"])
            elif not first.endswith("."):
                message = f"{name}: {first!r} is not a sentence: end it with a full stop."
                yield project.at(node, message, column["name"])
            if len(first) >= 60:
                yield project.at(
                    node,
                    f"{name}: {first!r} has {len(first)} characters. Catalog tables show 60: say the essence in a "
                    "short first sentence and the rest in a second one.",
                    column["name"],
                )


def shared_texts(project: Project) -> Iterator[Finding]:
    """A description that three models share is written once."""
    users = defaultdict(list)
    for node, entry in _declared(project):
        for column in entry.get("columns") or []:
            text = column.get("description") or ""
            if text and "doc(" not in text:
                users[column["name"], text].append(node)
    for (column, text), nodes in users.items():
        if len(nodes) >= 3:
            yield project.at(
                nodes[-1],
                f"{column}: {text!r} is written in {', '.join(n['name'] for n in nodes)}. Three copies drift apart: "
                f"put it into a docs block and write '{{{{ doc(\"{column}\") }}}}'.",
                column,
            )


def grain_and_key(project: Project) -> Iterator[Finding]:
    """A model's description has its parts in one order, and names the key that is tested."""
    for node, entry in _declared(project):
        description = entry.get("description") or ""
        parts = re.findall(r"\*\*(.+?)\*\*:", description)
        if parts != [p for p in PARTS if p in parts]:
            yield project.at(
                node,
                f"{node['name']} has the parts {parts}. A reader looks for them in one order: grain, "
                f"{', '.join(PARTS)}.",
            )
        key = re.findall(r"`(\w+)`", description.partition("**Primary key**:")[2])
        tested = list(_tested_keys(entry))
        if not key:
            message = (
                "names no key. Readers join by it: write **Primary key**: `column` into its description."
            )
            yield project.at(node, f"{node['name']} {message}")
        elif key not in tested:
            message = f"{node['name']} names the key {key}, but tested are {tested}. Test the key you name."
            yield project.at(node, message)


def _declared(project: Project) -> Iterator[tuple[Any, Any]]:
    """Models with their entries in YAML, as written: `doc()` is not resolved."""
    for node in project.models:
        lines = project.yaml(str(node["patch_path"] or "").split("://")[-1])
        for entry in dig(lines and lines.value, "models") or []:
            if entry.get("name") == node["name"]:
                yield node, entry


def _tested_keys(entry: Any) -> Iterator[list[str]]:
    """Columns that a test shows to be a key: `primary_key`, or `unique` and `not_null` of one column."""
    for test in entry.get("data_tests") or []:
        if columns := dig(test, "primary_key", "arguments", "columns"):
            yield columns
    for column in entry.get("columns") or []:
        tests = {
            test if isinstance(test, str) else next(iter(test)) for test in column.get("data_tests") or []
        }
        if "primary_key" in tests or {"unique", "not_null"} <= tests:
            yield [column["name"]]


def property_files(project: Project) -> Iterator[Finding]:
    """Files of properties are called after their folder."""
    for file in project.files("models/*/**/*.yml"):
        folder = file.parent.name
        allowed = [f"_{folder}__models.yml", f"_{folder}__unit_tests.yml"]
        if file.name not in allowed:
            message = f"is called {file.name}; call it {' or '.join(allowed)}, so that a search finds it."
            yield Finding(project.name(file), 1, message)


def source_columns(project: Project) -> Iterator[Finding]:
    """Columns of sources are typed and described."""
    for node in project.nodes("source"):
        for column in node["columns"].values():
            name = f"{node['source_name']}.{node['name']}.{column['name']}"
            if not column["data_type"]:
                message = f"{name} has no data_type: the loader would guess it."
                yield project.at(node, message, column["name"])
            if not column["description"]:
                message = f"{name} has no description: a reader would guess what it means."
                yield project.at(node, message, column["name"])


def complete_exposures(project: Project) -> Iterator[Finding]:
    """Exposures have what catalogs ask for."""
    for node in project.nodes("exposure"):
        for key in ("label", "url", "maturity", "description"):
            if not node[key]:
                message = f"exposure {node['name']} has no {key}: catalogs leave it out or fail on it."
                yield project.at(node, message)


def described_selectors(project: Project) -> Iterator[Finding]:
    """Selectors say what they select."""
    lines = project.yaml("selectors.yml")
    for i, selector in enumerate(dig(lines and lines.value, "selectors") or []):
        if not selector.get("description"):
            message = f"{selector['name']} has no description: say what it selects and for whom."
            yield Finding("selectors.yml", project.line("selectors.yml", "selectors", i), message)


def disabled_for_a_reason(project: Project) -> Iterator[Finding]:
    """What is disabled says why."""
    for nodes in project.manifest.entries.get("disabled", {}).values():
        for node in nodes:
            if not meta(node).get("reason"):
                yield Finding(
                    node["original_file_path"],
                    1,
                    f"{node['name']} is disabled. Write the reason into config.meta.reason, or delete it: what is "
                    "muted for no reason stays muted.",
                )
