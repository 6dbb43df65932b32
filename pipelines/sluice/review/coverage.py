"""How much of the models is tested, and by which key."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.review.revision import Revision

KEY_TESTS = ("primary_key", "unique", "unique_combination_of_columns")


@dataclass(frozen=True)
class Coverage:
    """How much is tested, of models and of their columns."""

    models: int
    keyed: int
    columns: int
    tested: int


def coverage(revision: Revision) -> Coverage:
    """Models with a key that is tested, and columns with any test."""
    models = revision.nodes("model")
    keyed: set[str] = set()
    tested: set[tuple[str, str]] = set()
    for node in revision.nodes("test").values():
        attached, generic = node.get("attached_node"), node.get("test_metadata")
        if not generic or attached not in models:
            continue
        if generic["name"] in KEY_TESTS:
            keyed.add(attached)
        named = [node["column_name"]] if node.get("column_name") else generic["kwargs"].get("columns") or []
        tested.update((attached, str(c).lower()) for c in named)
    return Coverage(len(models), len(keyed), sum(len(m["columns"]) for m in models.values()), len(tested))


def keys_of(revision: Revision, unique_id: str) -> list[str]:
    """Columns of the tested key of a model, else those by which dbt merges its rows; [] if neither is declared."""
    found: list[str] = []
    for node in revision.nodes("test").values():
        generic = node.get("test_metadata")
        if not generic or node.get("attached_node") != unique_id or generic["name"] not in KEY_TESTS:
            continue
        columns = generic["kwargs"].get("columns") or generic["kwargs"].get("combination_of_columns")
        columns = columns or [node.get("column_name") or generic["kwargs"].get("column_name")]
        if not found or generic["name"] == "primary_key":
            found = [str(c) for c in columns]
    if found:
        return found
    key = (revision.tables.get(unique_id) or {}).get("config", {}).get("unique_key") or []
    return [str(c) for c in ([key] if isinstance(key, str) else key)]
