"""What the catalog shows on the page of one table only, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sluice.catalog.facts import CatalogFacts
from sluice.catalog.readers import openings, row_filters
from sluice.catalog.sample_queries import sample_queries
from sluice.dbt.manifest import Table, Test
from sluice.lineage import Ref
from sluice.privacy.redaction import scrub
from sluice.runs.store import NodeResult

KEPT_RESULTS = 40
"""Builds shown of a test's history."""
KEPT_LOADS = 15
SHOWN_COUNTS = 120


def table_details(facts: CatalogFacts, key: str) -> dict[str, Any]:
    """Details of a table, without empty entries; nothing for one outside of the project."""
    table = facts.manifest.tables.get(key)
    node = facts.graph.nodes.get(key)
    if table is None:
        return {}
    shown = {
        name: found
        for name, found in facts.profiles.get(key, {}).items()
        if Ref(key, name.lower()) not in facts.personal  # checked a second time: no personal value may leave
    }
    found: dict[str, Any] = {
        "description": table.description,
        "file": table.file,
        "mail": table.owner_mail,
        "relation": table.relation.replace('"', ""),
        "sql": table.raw_sql,
        "compiled": table.compiled_sql,
        "profile": shown,
        "constraints": {c.name: list(c.constraints) for c in table.columns.values() if c.constraints},
        "tests": [_test(facts, test) for test in facts.tests.get(key, [])],
        "loads": _loads(facts, table),
        "counts": _counts(facts, key),
        "queries": [list(q) for q in sample_queries(facts, key)],
        "openings": [list(o) for o in openings(facts, table)],
        "filters": row_filters(facts, table),
        "published": facts.content.get(key),
        "unknowns": [[u.reason, u.sql[:200]] for u in (node.unknowns if node else ())][:20],
    }
    return {k: v for k, v in found.items() if v}


def _test(facts: CatalogFacts, test: Test) -> dict[str, Any]:
    results = facts.history.results.get(test.id, [])[-KEPT_RESULTS:]
    state = facts.state(test.id)
    found: dict[str, Any] = {
        "name": test.name,
        "kind": test.kind,
        "type": test.type,
        "claim": test.claim,
        "column": test.column,
        "severity": test.severity,
        "state": state,
        "history": [[r.at, r.status, r.failures] for r in results],
        "sql": test.sql if state in ("fail", "warn", "error") or test.kind == "singular" else "",
    }
    if test.table in facts.index:
        found["table"] = facts.index[test.table]
    if results and state != "pass":
        found["message"] = results[-1].message
        found["failures"] = results[-1].failures
        found["since"] = _failing_since(results)
    failing = facts.history.failing.get(test.id)
    if failing:
        found["rows"] = {
            "at": failing.at,
            "columns": failing.columns,
            "masked": failing.masked,
            "rows": failing.rows,
        }
    return {k: v for k, v in found.items() if v not in (None, "", [])}


def _loads(facts: CatalogFacts, table: Table) -> list[dict[str, Any]]:
    if table.source is None:
        return []
    rows = facts.history.loads.get(table.source, [])[-KEPT_LOADS:]
    return [
        {
            "at": row["ended_at"],
            "status": row["status"],
            "rows": row["rows_loaded"],
            "deleted": row["rows_deleted"],
            "quarantined": row.get("rows_quarantined") or 0,
            "bytes": row["bytes"],
            "error": scrub(row["error"], facts.known_names),
        }
        for row in reversed(rows)
    ]


def _counts(facts: CatalogFacts, key: str) -> list[list[Any]]:
    """[time, rows] by build."""
    results = facts.history.results.get(key, [])[-SHOWN_COUNTS:]
    return [[r.at, r.row_count] for r in results if r.row_count is not None]


def _failing_since(results: Sequence[NodeResult]) -> str:
    """When it first failed after it last passed; builds that skipped it do not count."""
    since = ""
    for result in reversed(results):
        if result.status in ("pass", "success"):
            break
        if result.status != "skipped":
            since = result.at
    return since
