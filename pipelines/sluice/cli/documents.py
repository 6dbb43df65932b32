"""What commands print with `--json`: one object each, whose keys docs/cli.md lists; other versions only add keys.

Times are ISO in UTC, spans are seconds, what is not known is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.output import out, shown
from sluice.config.settings import Settings

if TYPE_CHECKING:
    import sqlite3

    from sluice.dbt.preview import Preview
    from sluice.discover.contract import DiscoveredTable, Proposal, Relationship
    from sluice.discover.model_files import Saved
    from sluice.discover.project_files import Written
    from sluice.discover.run import Discovery
    from sluice.load.results import SourceResult, TableResult
    from sluice.publish.publication import Published, Rotated
    from sluice.publish.versions import Version
    from sluice.review import Finding, Review
    from sluice.runs.status import SourceStatus
    from sluice.scaffold.adopt import ProposedFile
    from sluice.scaffold.names import Names
    from sluice.upgrade.plan import UpgradePlan

Document = dict[str, Any]
AsJson = Annotated[
    bool, typer.Option("--json", help="For programs: one JSON object, whose keys docs/cli.md lists.")
]


def print_document(document: Document) -> None:
    """Print it as the only thing on standard output."""
    out.print(json.dumps(document, indent=2, ensure_ascii=False), markup=False)


def of_status(sources: Iterable[SourceStatus]) -> Document:
    """`sluice status`."""
    return {
        "sources": [
            {
                "source": source.source,
                "state": source.state,
                "last_load": source.last_load and source.last_load.isoformat(),
                "rows": source.rows_loaded,
                "quarantined": source.quarantined,
                "lag_seconds": source.lag and source.lag.total_seconds(),
                "limit_seconds": source.limit and source.limit.total_seconds(),
                "drift": list(source.drift),
                "warnings": list(source.warnings),
                "errors": list(source.errors),
            }
            for source in sources
        ]
    }


def of_runs(rows: Iterable[sqlite3.Row]) -> Document:
    """`sluice runs`, from the rows of the run store."""
    return {
        "runs": [
            {
                "run": row["run_id"],
                "command": row["command"],
                "status": row["status"],
                "started_at": row["started_at"],
                "ended_at": row["ended_at"],
                "seconds": run_seconds(row),
                "tables": row["tables"],
                "failed": row["failed"],
                "rows": row["rows_loaded"],
                "deleted": row["rows_deleted"],
                "quarantined": row["rows_quarantined"],
                "warnings": row["warnings"],
            }
            for row in rows
        ]
    }


def of_run(
    run: sqlite3.Row,
    loads: Iterable[sqlite3.Row],
    builds: Iterable[tuple[sqlite3.Row, Iterable[sqlite3.Row]]],
) -> Document:
    """`sluice runs show`, from the rows of the run store."""
    return {
        "run": run["run_id"],
        "command": run["command"],
        "status": run["status"],
        "started_at": run["started_at"],
        "ended_at": run["ended_at"],
        "loads": [
            {
                "source": load["source"],
                "table": load["table_name"],
                "status": load["status"],
                "rows": load["rows_loaded"],
                "deleted": load["rows_deleted"],
                "quarantined": load["rows_quarantined"],
                "error": load["error"],
            }
            for load in loads
        ],
        "builds": [
            {
                "command": build["command"],
                "started_at": build["started_at"],
                "ended_at": build["ended_at"],
                "nodes": [
                    {
                        "node": node["node"],
                        "status": node["status"] or (None if node["reason"] else "reused"),
                        "reason": node["reason"] or None,
                        "seconds": node["seconds"],
                        "rows": node["row_count"],
                    }
                    for node in nodes
                ],
            }
            for build, nodes in builds
        ],
    }


def run_seconds(row: sqlite3.Row) -> float | None:
    """How long a run of the run store took; None where it has no end."""
    if not row["ended_at"]:
        return None
    return (
        datetime.fromisoformat(row["ended_at"]) - datetime.fromisoformat(row["started_at"])
    ).total_seconds()


def of_loads(results: Sequence[SourceResult]) -> Document:
    """`sluice load`."""
    return {
        "status": "failed" if any(result.errors for result in results) else "ok",
        "sources": [
            {
                "source": result.source,
                "status": "failed" if result.errors else "ok",
                "seconds": round(result.seconds, 3),
                "error": result.error,
                "tables": [_loaded(table) for table in result.tables],
            }
            for result in results
        ],
    }


def _loaded(table: TableResult) -> Document:
    return {
        "table": table.table,
        "status": table.status,
        "read": table.read,
        "rows": table.rows,
        "deleted": table.deleted,
        "quarantined": table.quarantined,
        "retries": table.retries,
        "cursor_from": table.cursor[0],
        "cursor_to": table.cursor[1],
        "new_columns": list(table.new_columns),
        "lost_columns": list(table.lost_columns),
        "message": table.message,
        "warnings": table.warnings,
        "error": table.error,
    }


def of_published(settings: Settings, published: Published) -> Document:
    """`sluice publish`."""
    return {
        "version": published.version,
        "audiences": [
            {
                "audience": name,
                "path": str(settings.published_path(name, audience.format)),
                "format": audience.format,
                "encrypted": audience.is_encrypted,
                "rows": sum(table.rows for table in audience.tables.values()),
                "tables": sorted(audience.tables),
                "unread": sorted(published.unread[name]),
                "written": sorted(published.written[name]),
            }
            for name, audience in published.audiences.items()
        ],
        "held": [{"table": name, "reason": reason} for name, reason in published.held.items()],
    }


def of_rotated(audience: str, rotated: Rotated) -> Document:
    """`sluice publish --rotate-key`."""
    return {"audience": audience, "versions": rotated.versions, "left_to_do": rotated.left_to_do}


def of_versions(versions: Iterable[Version], current: str | None) -> Document:
    """`sluice publish --versions`, the newest first."""
    return {
        "versions": [
            {
                "version": version.version,
                "current": version.version == current,
                "created_at": version.created_at.isoformat(),
                "run": version.run_id,
                "commit": version.git_commit,
                "tables": sum(len(audience.tables) for audience in version.audiences.values()),
                "rows": sum(t.rows for a in version.audiences.values() for t in a.tables.values()),
            }
            for version in versions
        ]
    }


def of_review(review: Review) -> Document:
    """`sluice review`."""
    return {
        "verdict": review.verdict.word,
        "base": review.base,
        "commit": review.commit,
        "seconds": round(review.seconds, 3),
        "findings": [_finding(finding) for finding in review.findings],
        "lint": [_finding(finding) for finding in review.lint],
        "files": review.files,
        "files_not_judged": review.unjudged,
        "remarks": review.remarks,
    }


def _finding(finding: Finding) -> Document:
    return {
        "id": finding.id,
        "level": finding.level.word,
        "text": finding.text,
        "file": finding.file or None,
        "accepted": finding.accepted,
    }


def of_new_project(names: Names, files: Sequence[str]) -> Document:
    """`sluice new`."""
    return {
        "folder": str(names.folder),
        "project": names.project,
        "company": names.company,
        "files": list(files),
    }


def of_adopted(found: Sequence[str], files: Sequence[ProposedFile], *, written: bool) -> Document:
    """`sluice adopt`."""
    return {
        "found": list(found),
        "files": [
            {
                "file": file.path,
                "purpose": file.purpose,
                "is_new": file.before is None,
                "diff": file.diff,
                "written": written,
            }
            for file in files
        ],
    }


def of_upgrade(settings: Settings, plan: UpgradePlan, version: str, backup: Path | None) -> Document:
    """`sluice upgrade`; `backup` is the folder with the copies, None where nothing was changed."""
    return {
        "status": "current" if plan.is_empty else "upgraded" if backup else "outdated",
        "version": version,
        "files": [
            {
                "file": change.name,
                "reason": change.reason,
                "diff": change.diff(),
            }
            for change in plan.files
        ],
        "ledger": str(settings.ledger) if plan.store else None,
        "migrations": plan.store.migrations if plan.store else 0,
        "copies": [str(file) for file in plan.copies],
        "backup": backup and str(backup),
        "left_to_do": list(plan.left_to_do),
    }


def of_discovered(settings: Settings, found: Discovery, written: Written, *, write: bool) -> Document:
    """`sluice discover`; of the models that were proposed with it, `of_models` is added."""
    source = found.source
    changed = "changed" if write else "differs"
    return {
        "source": source.name,
        "file": shown(settings, written.file).as_posix(),
        "status": "new" if written.is_new else changed if written.patch else "unchanged",
        "tables": [_discovered(table) for table in source.tables],
        "relationships": [_relationship(one) for one in found.relationships],
        "questions": source.questions,
        "left_out": [{"table": name, "reason": reason} for name, reason in source.skipped.items()],
        "differences": [
            {"what": one.what, "place": one.place, "text": one.message, "breaks": one.breaks}
            for one in written.differences
        ],
        "patch": written.patch or None,
        "remarks": written.messages,
    }


def _discovered(table: DiscoveredTable) -> Document:
    return {
        "table": table.name,
        "rows": table.rows,
        "primary_key": _proposal(table.primary_key),
        "cursor": _proposal(table.cursor),
        "soft_delete": _proposal(table.soft_delete),
        "questions": table.questions,
        "columns": [
            {
                "column": column.name,
                "data_type": column.data_type,
                "nullable": column.nullable,
                "data_class": _proposal(column.data_class),
            }
            for column in table.columns
        ],
    }


def _proposal(proposed: Proposal[Any] | None) -> Document | None:
    if proposed is None:
        return None
    return {
        "value": list(proposed.value) if isinstance(proposed.value, tuple) else proposed.value,
        "confidence": proposed.confidence,
        "reason": proposed.reason,
    }


def _relationship(one: Relationship) -> Document:
    return {
        "table": ".".join(one.table),
        "columns": list(one.columns),
        "to_table": ".".join(one.to_table),
        "to_columns": list(one.to_columns),
        "coverage": one.coverage,
        "confidence": one.confidence,
        "declared": one.declared,
        "reason": one.reason,
    }


def of_models(settings: Settings, saved: Saved) -> Document:
    """`sluice discover --models`: what became of the proposed models."""
    return {
        "written": [shown(settings, file).as_posix() for file in saved.written],
        "kept": [shown(settings, file).as_posix() for file in saved.kept],
        "patches": saved.patches,
        "notes": list(saved.notes),
    }


def of_preview(found: Preview) -> Document:
    """`sluice show`."""
    return {
        "model": found.model,
        "file": found.file,
        "sql": found.sql,
        "compiled_with_dbt": found.reason or None,
        "columns": list(found.columns),
        "rows": found.values,
    }
