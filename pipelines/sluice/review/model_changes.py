"""Which models changed in meaning, and which in text only."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from sluice.dbt.manifest import bare
from sluice.review.clauses import Clause, changed_clauses
from sluice.review.contracts import changed_storage
from sluice.review.macro_changes import HIDDEN, changed_macros, code, macros_of
from sluice.review.query_equivalence import Columns, same_meaning
from sluice.review.revision import Revision
from sluice.sql import quoted

Renamed = dict[str, str]
SEED_SETTINGS = ("column_types", "delimiter", "quote_columns")
"""Configuration that says what dbt makes of a seed's file."""
ALIKE = 0.6
"""Share of equal lines from which a new model counts as a renamed one; git's own limit for files is a half."""


@dataclass
class Change:
    """A model, seed or snapshot that changed.

    `how`: added, removed, renamed, meaning, config, seed, text; unknown without a base. `columns`: output columns
    whose values can differ; `rows`: true if other rows can exist. `old`: its id in the base.
    """

    id: str
    name: str
    how: str
    old: str | None = None
    clauses: list[Clause] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    rows: bool = False
    why: str = ""
    proven: bool = False
    """The columns that were there before are the same, each read by name."""
    file: str = ""
    is_measurable: bool = True
    """False for what a build of the compiled query does not show."""

    @property
    def rebuilds(self) -> bool:
        """False for what cannot change any data."""
        return self.how not in ("text", "renamed") or bool(self.clauses)


def renames(old: Revision, new: Revision) -> Renamed:
    """New id to old id of renamed models: first those with the same meaning, then the most similar ones."""
    before, after = old.nodes("model"), new.nodes("model")
    gone = {k: n for k, n in before.items() if k not in after}
    fresh = {k: n for k, n in after.items() if k not in before}
    found: Renamed = {}
    for key, node in fresh.items():
        for former, was in gone.items():
            if former not in found.values() and same_meaning(
                was["compiled_code"], node["compiled_code"], old.columns, new.columns
            ):
                found[key] = former
                break
    alike = sorted(
        ((_likeness(was, node), key, former) for key, node in fresh.items() for former, was in gone.items()),
        reverse=True,
    )
    for likeness, key, former in alike:
        if likeness >= ALIKE and key not in found and former not in found.values():
            found[key] = former
    return found


def _likeness(before: Any, after: Any) -> float:
    """Share of lines that two models have in common, 0 to 1."""
    texts = [[line.strip() for line in node["raw_code"].splitlines()] for node in (before, after)]
    return SequenceMatcher(None, texts[0], texts[1], autojunk=False).ratio()


def renamed_relations(old: Revision, new: Revision, renamed: Renamed) -> dict[str, str]:
    """New relation to old relation of nodes with another name or schema than before."""
    found = {}
    for key, node in new.tables.items():
        former = old.tables.get(renamed.get(key, key))
        if (
            former is not None
            and node.get("relation_name")
            and former["relation_name"] != node["relation_name"]
        ):
            found[node["relation_name"]] = former["relation_name"]
    return found


def columns_by_old_names(new: Revision, relations: Mapping[str, str]) -> Columns:
    """The columns of the new side's tables, each by its old name."""
    tables = {bare(n): bare(o) for n, o in relations.items()}
    return {tables.get(table, table): types for table, types in new.columns.items()}


def with_old_relations(sql: str, relations: Mapping[str, str]) -> str:
    """Compiled SQL that reads the relations by their old names."""
    for new, old in relations.items():
        sql = sql.replace(new, old)
    return sql


def changes(old: Revision, new: Revision, renamed: Renamed) -> list[Change]:
    """Every model, seed and snapshot that changed, in the order of the project."""
    before, after = old.tables, new.tables
    relations = renamed_relations(old, new, renamed)
    columns = columns_by_old_names(new, relations)
    macros = changed_macros(old, new)
    found = []
    for key, node in after.items():
        former = renamed.get(key, key)
        if former not in before:
            found.append(Change(key, node["name"], "added", rows=True, columns=list(_outputs(new, key))))
            continue
        change = _change(old, new, key, former, relations, columns)
        if change is not None:
            change.file = _cause(before[former], node, new.manifest.get("macros", {}), macros)
            found.append(change)
    for key, node in before.items():
        if key not in after and key not in renamed.values():
            found.append(
                Change(key, node["name"], "removed", key, rows=True, dropped=list(_outputs(old, key)))
            )
    return found


def _cause(before: Any, after: Any, macros: Any, changed: Mapping[str, str]) -> str:
    """The file that made a model differ: its own, that of a macro it uses, or "" for what it reads or a setting."""
    if after["resource_type"] == "seed" or code(before["raw_code"]) != code(after["raw_code"]):
        return str(after["original_file_path"])
    used = sorted(changed[key] for key in macros_of(macros, after) if key in changed)
    return used[0] if used else ""


def changed_by_file(new: Revision, files: Collection[str]) -> list[Change]:
    """Models, seeds and snapshots whose own file, or a macro they use, is among `files`."""
    macros = new.manifest.get("macros", {})
    found = []
    for key, node in new.tables.items():
        used = (macros[k]["original_file_path"] for k in macros_of(macros, node))
        if node["original_file_path"] in files or any(file in files for file in used):
            found.append(Change(key, node["name"], "unknown", rows=True, columns=list(_outputs(new, key))))
    return found


def _change(
    old: Revision, new: Revision, key: str, former: str, relations: Mapping[str, str], columns: Any
) -> Change | None:
    before = old.tables[former]
    after = new.tables[key]
    name = after["name"]
    if after["resource_type"] == "seed":
        return _seed_change(old, new, key, before, after)
    sql = [before.get("compiled_code") or "", with_old_relations(after.get("compiled_code") or "", relations)]
    change = Change(key, name, "text", former)
    if key != former:
        change.how = "renamed"
    config = changed_storage(before, after)
    config.pop("alias", None)
    if key != former:
        config.pop("schema", None)
    shared: list[str] = []
    if not same_meaning(sql[0], sql[1], old.columns, columns):
        change.how = "meaning"
        change.clauses = changed_clauses(sql[0], sql[1])
        if not change.clauses:
            change.why = _reshaped_inputs(old, new, after) if sql[0] == sql[1] else "its query changed"
        change.rows = any(c.affects_rows for c in change.clauses)
        outputs = [list(_outputs(r, k)) for r, k in ((old, former), (new, key))]
        shared = [c for c in outputs[0] if c in outputs[1]]
        change.proven = bool(shared) and not _differ(shared, sql, old.columns, columns)
        if change.proven:
            change.rows = False
        else:
            change.columns = [
                c for c in sorted(shared) if change.rows or _differ([c], sql, old.columns, columns)
            ]
        change.columns += sorted(set(outputs[1]) - set(shared))
        change.dropped = sorted(set(outputs[0]) - set(shared))
    elif code(before["raw_code"]) != code(after["raw_code"]) and _is_hidden(before, after):
        change.how, change.rows, change.is_measurable = "meaning", True, False
        change.why = (
            "its Jinja asks for the target, the environment or the warehouse, which a review does not have"
        )
    increments = [r.incremental.get(k, "") for r, k in ((old, former), (new, key))]
    increments[1] = with_old_relations(increments[1], relations)
    is_same = all(increments) and (
        same_meaning(increments[0], increments[1], old.columns, columns)
        or (change.proven and not _differ(shared, increments, old.columns, columns))
    )
    if any(increments) and not is_same:
        base = increments[0] or sql[0]
        change.how = "meaning" if change.how in ("text", "renamed") else change.how
        change.rows, change.proven, change.is_measurable = True, False, False
        change.why = "its incremental query changed"
        change.clauses += [
            _incremental(c) for c in changed_clauses(base, increments[1] or sql[1]) if c not in change.clauses
        ]
    elif config and change.how in ("text", "renamed"):
        change.how, change.why = "config", ", ".join(config)
    if change.how == "text" and before["raw_code"] == after["raw_code"] and sql[0] == sql[1]:
        return None
    return change


def _incremental(clause: Clause) -> Clause:
    return Clause(
        f"incremental-{clause.kind}",
        clause.scope,
        f"in a run that adds: {clause.text}",
        clause.affects_rows,
        clause.column,
    )


def _reshaped_inputs(old: Revision, new: Revision, node: Any) -> str:
    names = [
        f"`{new.graph.nodes[key].name}`"
        for key in node["depends_on"].get("nodes") or []
        if key in new.graph.nodes and list(_outputs(old, key)) != list(_outputs(new, key))
    ]
    return f"it reads {', '.join(names) or 'a table'} without naming all columns, and there they changed"


def _is_hidden(before: Any, after: Any) -> bool:
    return any(HIDDEN.search(side["raw_code"]) for side in (before, after))


def _differ(columns: list[str], sql: list[str], before: Any, after: Any) -> bool:
    """True if these columns of two queries, read by name, are not certainly the same."""
    listed = ", ".join(map(quoted, columns))
    queries = [f"select {listed} from ({text}) as model" for text in sql]
    return not same_meaning(queries[0], queries[1], before, after)


def _outputs(revision: Revision, key: str) -> Iterable[str]:
    node = revision.graph.nodes.get(key)
    return node.columns if node is not None else ()


def _seed_change(old: Revision, new: Revision, key: str, before: Any, after: Any) -> Change | None:
    settings = [
        k for k in SEED_SETTINGS if (before["config"].get(k) or None) != (after["config"].get(k) or None)
    ]
    if before["checksum"] == after["checksum"] and not settings:
        return None
    rows = [_rows(r.root / n["original_file_path"], n) for r, n in ((old, before), (new, after))]
    added, removed = rows[1] - rows[0], rows[0] - rows[1]
    if not added and not removed and not settings:
        return Change(key, after["name"], "text", key)
    change = Change(key, after["name"], "seed", key, rows=True, columns=list(_outputs(new, key)))
    lines = (
        [f"lines added: {sum(added.values())}, removed: {sum(removed.values())}"] if added or removed else []
    )
    change.why = "; ".join([*lines, *(f"{name} changed" for name in settings)])
    return change


def _rows(file: Path, seed: Any) -> Counter[tuple[tuple[str, str], ...]]:
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=seed["config"].get("delimiter") or ",")
        return Counter(tuple(sorted((k, v or "") for k, v in row.items() if k)) for row in reader)
