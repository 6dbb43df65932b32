"""Macros that changed, and what uses them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sluice.review.findings import Finding, look
from sluice.review.revision import Revision

HIDDEN = re.compile(
    r"\{[{%][^}]*\b(target|env_var|execute|run_query|adapter|flags|load_relation|statement)\b"
)
"""Jinja whose result depends on the target, the environment or the warehouse, none of which a review has."""


def code(text: str) -> str:
    """SQL or Jinja without comments and layout."""
    text = re.sub(r"\{#.*?#\}|/\*.*?\*/", " ", text, flags=re.S)
    return " ".join(re.sub(r"--[^\n]*", " ", text).split())


def macros_of(macros: Mapping[str, Any], node: Mapping[str, Any]) -> set[str]:
    """Ids of all macros that a node uses, also by other macros."""
    found: set[str] = set()
    waiting = list(node["depends_on"].get("macros") or [])
    while waiting:
        key = waiting.pop()
        if key not in found and key in macros:
            found.add(key)
            waiting += macros[key]["depends_on"]["macros"]
    return found


def changed_macros(old: Revision, new: Revision) -> dict[str, str]:
    """Id to file of macros whose code differs, new and removed ones too."""
    sides = [revision.manifest.get("macros", {}) for revision in (old, new)]
    codes = [{key: code(m["macro_sql"]) for key, m in side.items()} for side in sides]
    every = {**sides[0], **sides[1]}
    return {key: every[key]["original_file_path"] for key in every if codes[0].get(key) != codes[1].get(key)}


def macro_findings(
    old: Revision, new: Revision, changed: Mapping[str, str], compared: Collection[str]
) -> Iterator[Finding]:
    """Changed macros that compiled SQL does not show: dbt calls them itself, or their result depends on the target.

    compared: ids of macros whose effect on a model or a test is reported.
    """
    for key, file in sorted(changed.items()):
        if key in compared:
            continue
        name = key.split(".")[-1]
        sides = [r.manifest.get("macros", {}) for r in (old, new)]
        users = [
            node["name"]
            for revision, macros in zip((old, new), sides, strict=True)
            for node in revision.manifest.get("nodes", {}).values()
            if key in macros_of(macros, node)
        ]
        texts = [side[key]["macro_sql"] for side in sides if key in side]
        if not users and key not in sides[0] and not _is_called_by_dbt(name):
            continue  # a new macro that nothing uses yet
        if not users:
            text = (
                f"the macro `{name}` changed; no model or test names it, so what it changes was not compared"
            )
            yield look("macro", name, text, file)
        elif any(HIDDEN.search(text) for text in texts):
            text = (
                f"the macro `{name}` changed; it asks for the target, the environment or the warehouse, so "
                f"its result for {', '.join(f'`{u}`' for u in sorted(set(users))[:3])} was not compared"
            )
            yield look("macro", name, text, file)


def _is_called_by_dbt(name: str) -> bool:
    return name.startswith(("materialization_", "default__", "duckdb__", "generate_", "get_", "create_"))
