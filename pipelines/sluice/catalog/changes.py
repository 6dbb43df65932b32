"""What changed: in the warehouse since the last published version, and between the last two versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sluice.catalog.facts import CatalogFacts
from sluice.config.settings import Settings
from sluice.dbt.manifest import Table
from sluice.dbt.run_results import FAILED
from sluice.publish.versions import PublishedTable, Version, Versions
from sluice.system import git


def current_version(settings: Settings) -> Version | None:
    """The version readers get; None if nothing is published, or its manifest cannot be read."""
    try:
        return Versions(settings.published).read_current()
    except (OSError, ValidationError):
        return None


def changes_since_published(settings: Settings, facts: CatalogFacts) -> dict[str, Any] | None:
    """{version, at, commit, tables, last: {version, before, at, tables}}; None if nothing is published.

    A table is {table, what: added | removed | changed, rowsBefore, rowsNow, notes}.
    """
    current = facts.version
    if current is None:
        return None
    return {
        "version": current.version,
        "at": current.created_at.isoformat(),
        "commit": current.git_commit or "",
        "tables": _since(settings, facts, current),
        "last": _last(Versions(settings.published), facts, current),
    }


def _tables(version: Version) -> dict[str, PublishedTable]:
    """Every model of a version, as seen by the audience that gets the most of its columns."""
    found: dict[str, PublishedTable] = {}
    for audience in version.audiences.values():
        for table in audience.tables.values():
            if table.model not in found or len(table.columns) > len(found[table.model].columns):
                found[table.model] = table
    return found


def _since(settings: Settings, facts: CatalogFacts, version: Version) -> list[dict[str, Any]]:
    manifest = facts.manifest
    published = _tables(version)
    uncommitted = _uncommitted(settings)
    changes = []
    for key, table in manifest.tables.items():
        before = published.get(key)
        sql = _sql_note(table, version.models)
        if sql and table.file in uncommitted:
            sql += ", not committed"
        if before is None:
            if table.audiences and table.layer == "marts":
                notes = ["not published yet", *([sql] if sql else [])]
                changes.append(_change(table.name, "added", None, facts.row_counts.get(key), notes))
            elif sql:
                changes.append(
                    _change(table.name, "changed" if key in version.models else "added", None, None, [sql])
                )
            continue
        notes = _column_notes(before.columns, dict(facts.columns[key]))
        notes += [sql] if sql else []
        notes += _test_notes(facts, key, version.tests)
        rows = facts.row_counts.get(key)
        if notes or (rows is not None and rows != before.rows_in_warehouse):
            changes.append(_change(table.name, "changed", before.rows_in_warehouse, rows, notes))
    gone = [key for key in published if key not in manifest.tables]
    changes += [
        _change(key.split(".")[-1], "removed", published[key].rows_in_warehouse, None, []) for key in gone
    ]
    return changes


def _last(versions: Versions, facts: CatalogFacts, current: Version) -> dict[str, Any] | None:
    older = [name for name in versions.names if name < current.version]
    if not older:
        return None
    try:
        before = versions.read(older[-1])
    except (OSError, ValidationError):
        return None
    was, now = _tables(before), _tables(current)
    names = {key: table.name for key, table in facts.manifest.tables.items()}
    changes = []
    for key in dict.fromkeys([*now, *was]):
        name = names.get(key, key.split(".")[-1])
        if key not in was:
            changes.append(_change(name, "added", None, now[key].rows_in_warehouse, []))
        elif key not in now:
            changes.append(_change(name, "removed", was[key].rows_in_warehouse, None, []))
        elif was[key].fingerprint != now[key].fingerprint:
            notes = _column_notes(was[key].columns, now[key].columns) or ["its content changed"]
            changes.append(
                _change(name, "changed", was[key].rows_in_warehouse, now[key].rows_in_warehouse, notes)
            )
    return {
        "version": current.version,
        "before": before.version,
        "at": current.created_at.isoformat(),
        "tables": changes,
    }


def _change(name: str, what: str, before: int | None, now: int | None, notes: list[str]) -> dict[str, Any]:
    found = {"table": name, "what": what, "rowsBefore": before, "rowsNow": now, "notes": notes}
    return {k: v for k, v in found.items() if v not in (None, [])}


def _column_notes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Columns that are new, gone, or of another type. Masked columns are published as text, so text is not compared."""
    notes = []
    if new := [name for name in now if name not in before]:
        notes.append(f"new: {', '.join(new)}")
    if gone := [name for name in before if name not in now]:
        notes.append(f"gone: {', '.join(gone)}")
    for name, was in before.items():
        if name in now and was.lower() != now[name].lower() and was.lower() != "varchar":
            notes.append(f"{name} was {was.lower()}, is {now[name].lower()}")
    return notes


def _test_notes(facts: CatalogFacts, key: str, before: Mapping[str, str]) -> list[str]:
    tests = [t for t in facts.tests.get(key, []) if t.table == key]
    failing = [t for t in tests if facts.state(t.id) == "fail" and before.get(t.id) not in FAILED]
    return [f"fails now: {t.claim}" for t in failing]


def _sql_note(table: Table, before: Mapping[str, str]) -> str:
    """How a model differs from the one the version was built from; versions before 0.3 do not say."""
    if table.kind != "model" or not before:
        return ""
    if table.id not in before:
        return "a new model"
    return "its SQL was edited" if before[table.id] != table.checksum else ""


def _uncommitted(settings: Settings) -> set[str]:
    """Files that differ from the last commit or are in none, relative to the project; none without git."""
    new = git(settings.root, "ls-files", "--others", "--exclude-standard") or ""
    changed = git(settings.root, "diff", "--name-only", "--relative", "HEAD") or ""
    return {*new.splitlines(), *changed.splitlines()}
