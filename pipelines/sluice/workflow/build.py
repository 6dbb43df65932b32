"""Builds with dbt, and records what each found: test results, row counts and the rows of failed tests.

dbt keeps its last run only. Failing rows are masked before they are recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import duckdb

from sluice.build.unchanged import unchanged
from sluice.config.settings import Settings
from sluice.dbt import run_results
from sluice.dbt.build_state import BUILDING, DECISIONS, FORCE, ONLY_CHANGED, BuildState, read_decisions
from sluice.dbt.deferral import keep_state, with_state
from sluice.dbt.manifest import Manifest, read_manifest
from sluice.dbt.run_results import BuildResult
from sluice.dbt.runner import Dbt, compiled_manifest, dbt_session
from sluice.engine.warehouse import count_rows, open_warehouse
from sluice.errors import LockedError
from sluice.runs.store import Build, FailingRows, NodeResult, RunStore, refuse_other_store

KEPT_ROWS = 20
"""Failing rows recorded per test: enough to see the pattern."""
WAIT_SECONDS = 5.0
"""How long a build waits for another process to close what it built; without it, there are no counts."""
LONGEST_TEXT = 80


def build(
    settings: Settings,
    arguments: Sequence[str],
    run: Dbt | None = None,
    *,
    is_forced: bool = False,
) -> tuple[int, BuildResult]:
    """Run `dbt build` with `arguments`, of all that has changed, and record what it found.

    Returns dbt's exit code, and what this build made. run: a session's dbt, of the module BUILDING. is_forced: build
    all that is selected. Raises LockedError as `dbt` does, UsageError as `with_state` does, and VersionError before
    anything is built.
    """
    refuse_other_store(settings.ledger)
    (settings.home / DECISIONS).unlink(missing_ok=True)
    if not arguments and not is_forced and (left := unchanged(settings)):
        return 0, left_as_it_is(left)
    if run is None:
        with dbt_session(settings, BUILDING, is_quiet=False) as session:
            return build(settings, arguments, session, is_forced=is_forced)
    own: list[run_results.Json | None] = []

    def keep() -> None:
        own.append(run_results.read_own(settings))

    command = [ONLY_CHANGED, *[FORCE] * is_forced, "build", *with_state(settings, arguments)]
    run_results.merge(settings)  # of a plain dbt command, whose results this one overwrites
    code = run(command, keep)
    if own[0]:
        run_results.merge(settings, own[0])
        record_build(settings, own[0], read_decisions(settings))
        keep_state(settings)
    return code, run_results.build_result(code, own[0])


def left_as_it_is(state: BuildState) -> BuildResult:
    """What a build found that had nothing to do."""
    kinds = [node.is_test for node in state.nodes.values()]
    return BuildResult(
        Counter({run_results.REUSED: kinds.count(False)}),
        Counter({run_results.REUSED: kinds.count(True)}),
        [],
    )


def record_build(
    settings: Settings, run: run_results.Json | None = None, decisions: Mapping[str, str] | None = None
) -> bool:
    """Record what a dbt run (default: the last) found; False if it was no build, or is recorded already.

    Called after every build and before every catalog, so that a plain `dbt build` counts as well, unless another
    dbt command has overwritten its results. decisions: why each node was built, if that was decided.
    """
    from sluice.privacy.redaction import (
        names_of,
        scrub,
    )  # brings lineage's parser, which dbt need not wait for

    run = run or run_results.read(settings)
    if run is None or not (settings.target / "manifest.json").is_file():
        return False
    command, metadata = run.get("args", {}).get("which"), run["metadata"]
    store = RunStore(settings.ledger)
    if command not in run_results.BUILDING or store.has_build(metadata["invocation_id"]):
        return False
    started = metadata.get("invocation_started_at") or metadata["generated_at"]
    manifest = read_manifest(settings.target)
    made = [result for result in run["results"] if result["status"] != run_results.REUSED]
    if not made:
        return False
    failed = [r for r in made if _has_failing_rows(r)]
    if failed:
        with suppress(LockedError):  # lineage is unknown then, and all that is unknown is hidden
            manifest = compiled_manifest(settings)
    counts, failing = _look(settings, manifest, started, made, failed)
    known = names_of(manifest)
    results = {
        result["unique_id"]: NodeResult(
            started,
            result["status"],
            result.get("failures"),
            result.get("execution_time") or 0.0,
            counts.get(result["unique_id"]),
            scrub(result.get("message"), known),
        )
        for result in made
    }
    sources = {key: count for key, count in counts.items() if key.startswith("source.")}
    results |= {key: NodeResult(started, "there", None, 0.0, count, "") for key, count in sources.items()}
    build = Build(metadata["invocation_id"], command, started, metadata["generated_at"])
    store.record_build(build, results, failing, decisions or {})
    return True


def _has_failing_rows(result: Mapping[str, Any]) -> bool:
    is_test = result["unique_id"].startswith("test.")
    return is_test and result["status"] in ("fail", "warn") and bool(result.get("compiled_code"))


def _look(
    settings: Settings,
    manifest: Manifest,
    started: str,
    results: Sequence[Mapping[str, Any]],
    failed: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, int], dict[str, FailingRows]]:
    """Row counts of the sources and of the tables that were built, and the rows of the tests that failed."""
    try:
        with open_warehouse(settings, WAIT_SECONDS) as connection:
            if connection is None:
                return {}, {}
            wanted = [table for table in manifest.tables.values() if table.kind == "source"]
            for result in results:
                table = manifest.tables.get(result["unique_id"])
                is_built = result["status"] == "success"
                if table and is_built and table.materialized not in ("view", "ephemeral"):
                    wanted.append(table)
            found = {table.id: count_rows(connection, table.relation) for table in wanted}
            counts = {key: rows for key, rows in found.items() if rows is not None}
            if not failed:
                return counts, {}
            return counts, _failing_rows(settings, manifest, started, connection, failed)
    except LockedError:
        return {}, {}


def _failing_rows(
    settings: Settings,
    manifest: Manifest,
    started: str,
    connection: duckdb.DuckDBPyConnection,
    failed: Sequence[Mapping[str, Any]],
) -> dict[str, FailingRows]:
    from sluice.lineage.warehouse_graph import warehouse_graph
    from sluice.privacy.propagation import declared_classes, personal_columns
    from sluice.privacy.redaction import maskable_columns

    graph = warehouse_graph(settings, connection, manifest)
    personal = personal_columns(graph, declared_classes(manifest))
    found = {}
    for result in failed:
        sql = result["compiled_code"].strip().rstrip(";")
        try:
            cursor = connection.execute(f"select * from ({sql}\n) limit {KEPT_ROWS}")
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall()
        except duckdb.Error:
            continue
        masked = maskable_columns(sql, names, graph, personal)
        shown = [
            [None if why else _shown(value) for value, why in zip(row, masked, strict=True)] for row in rows
        ]
        found[result["unique_id"]] = FailingRows(started, names, masked, shown)
    return found


def _shown(value: Any) -> Any:
    """A value as it is recorded: numbers and booleans as they are, all else as short text."""
    from sluice.privacy.redaction import scrub

    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    text = scrub(text) if "@" in text else text  # an address in a column that was not given a class
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
