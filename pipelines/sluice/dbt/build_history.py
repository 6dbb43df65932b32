"""What every build found: test results, row counts and failing rows, kept in the ledger's file.

dbt forgets all but its last run. Failing rows are masked before they are kept.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from sluice.config.settings import Settings
from sluice.dbt.manifest import Project, read_project
from sluice.dbt.warehouse import catalog_of, count_rows, open_warehouse
from sluice.errors import LockedError
from sluice.lineage import load_graph
from sluice.privacy.personal_columns import maskable_columns, names_of, personal_columns, scrub

SCHEMA = """
create table if not exists builds (
    invocation_id text primary key,
    command text not null,
    started_at text not null,
    ended_at text not null
);
create table if not exists build_results (
    invocation_id text not null,
    node text not null,
    status text not null,
    failures integer,
    seconds real not null,
    row_count integer,
    message text,
    primary key (invocation_id, node)
);
create table if not exists build_failing_rows (
    invocation_id text not null,
    node text not null,
    columns text not null,
    rows text not null,
    primary key (invocation_id, node)
);
"""
COMMANDS = ("build", "run", "test", "seed", "snapshot")
KEPT_BUILDS = 200
"""Older builds are forgotten: at 2,000 nodes a build, this is about 50 MB."""
KEPT_ROWS = 20
"""Failing rows kept a test: enough to see the pattern."""
BRIEFLY = 5.0
"""Seconds a build waits for another process to look at what it built; without it, there are no counts."""
CACHE = "lineage.sqlite"


@dataclass(frozen=True)
class Result:
    """What one build said of one node; `at` is when the build began, in UTC."""

    at: str
    status: str
    failures: int | None
    seconds: float
    row_count: int | None
    message: str


@dataclass(frozen=True)
class FailingRows:
    """Rows a failed test returned. `masked` gives for each column the class that hides it, or None."""

    at: str
    columns: list[str]
    masked: list[str | None]
    rows: list[list[Any]]


@contextmanager
def _ledger(file: Path) -> Iterator[sqlite3.Connection]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
        connection.row_factory = sqlite3.Row
        connection.executescript(SCHEMA)
        yield connection


def compiled_project(settings: Settings) -> Project:
    """The project with the SQL of every model compiled.

    After a build of a part of it, dbt's manifest has compiled only that part; the whole is then compiled aside, so
    that the results of the build stay where they are.
    """
    project = read_project(settings.target)
    if not project.uncompiled:
        return project
    from sluice.dbt.runner import dbt

    aside = settings.target / "catalog"
    aside.mkdir(exist_ok=True)
    if (parsed := settings.target / "partial_parse.msgpack").is_file():
        shutil.copy(parsed, aside)  # dbt then reads only the files that changed since
    if dbt(settings, ["compile", "--no-populate-cache", "--target-path", str(aside)], quiet=True):
        return project  # what is not compiled is of unknown lineage, and hidden where it could be personal
    return read_project(aside)


def record_build(settings: Settings) -> bool:
    """Keep what dbt's last run found; False where it was no build, or is kept already.

    Called after every build and before every catalog, so that a plain `dbt build` counts as well, unless another
    dbt command has overwritten its results.
    """
    file = settings.target / "run_results.json"
    manifest = settings.target / "manifest.json"
    if not file.is_file() or not manifest.is_file():
        return False
    run = json.loads(file.read_text(encoding="utf-8"))
    invocation = run["metadata"]["invocation_id"]
    if run.get("args", {}).get("which") not in COMMANDS:
        return False
    with _ledger(settings.ledger) as ledger:
        if ledger.execute("select 1 from builds where invocation_id = ?", [invocation]).fetchone():
            return False
    project = read_project(settings.target)
    failed = [
        r
        for r in run["results"]
        if r["unique_id"].startswith("test.") and r["status"] in ("fail", "warn") and r.get("compiled_code")
    ]
    if failed:
        with suppress(LockedError):  # lineage is unknown then, and all that is unknown is hidden
            project = compiled_project(settings)
    counts, failing = _look(settings, project, run["results"], failed)
    known = names_of(project)
    with _ledger(settings.ledger) as ledger:
        started = run["metadata"].get("invocation_started_at") or run["metadata"]["generated_at"]
        ledger.execute(
            "insert or ignore into builds values (?, ?, ?, ?)",
            [invocation, run["args"]["which"], started, run["metadata"]["generated_at"]],
        )
        ledger.executemany(
            "insert or ignore into build_results values (?, ?, ?, ?, ?, ?, ?)",
            [
                [
                    invocation,
                    result["unique_id"],
                    result["status"],
                    result.get("failures"),
                    result.get("execution_time") or 0.0,
                    counts.get(result["unique_id"]),
                    scrub(result.get("message"), known),
                ]
                for result in run["results"]
            ]
            + [
                [invocation, key, "there", None, 0.0, n, ""]
                for key, n in counts.items()
                if key.startswith("source.")
            ],
        )
        ledger.executemany(
            "insert or ignore into build_failing_rows values (?, ?, ?, ?)",
            [
                [
                    invocation,
                    test,
                    json.dumps([rows.columns, rows.masked]),
                    json.dumps(rows.rows, ensure_ascii=False),
                ]
                for test, rows in failing.items()
            ],
        )
        _forget(ledger)
    return True


def _forget(ledger: sqlite3.Connection) -> None:
    kept = f"(select invocation_id from builds order by started_at desc limit {KEPT_BUILDS})"
    for table in ("build_results", "build_failing_rows", "builds"):
        ledger.execute(f"delete from {table} where invocation_id not in {kept}")


def _look(
    settings: Settings, project: Project, results: list[Mapping[str, Any]], failed: list[Mapping[str, Any]]
) -> tuple[dict[str, int], dict[str, FailingRows]]:
    """Row counts of the sources and of the tables that were built, and the rows of the tests that failed."""
    try:
        with open_warehouse(settings, BRIEFLY) as connection:
            if connection is None:
                return {}, {}
            wanted = [table for table in project.tables.values() if table.kind == "source"]
            for result in results:
                table = project.tables.get(result["unique_id"])
                if (
                    table
                    and result["status"] == "success"
                    and table.materialized not in ("view", "ephemeral")
                ):
                    wanted.append(table)
            found = {table.id: count_rows(connection, table.relation) for table in wanted}
            counts = {key: rows for key, rows in found.items() if rows is not None}
            return counts, _failing_rows(settings, project, connection, failed) if failed else {}
    except LockedError:
        return {}, {}


def _failing_rows(
    settings: Settings,
    project: Project,
    connection: duckdb.DuckDBPyConnection,
    failed: list[Mapping[str, Any]],
) -> dict[str, FailingRows]:
    graph = load_graph(
        project.manifest,
        catalog_of(connection, project),
        cache_file=settings.home / CACHE,
        root=settings.root,
    )
    personal = personal_columns(project, graph)
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
        found[result["unique_id"]] = FailingRows(
            at="",
            columns=names,
            masked=masked,
            rows=[
                [
                    None if why or value is None else _shown(value)
                    for value, why in zip(row, masked, strict=True)
                ]
                for row in rows
            ],
        )
    return found


def _shown(value: Any) -> Any:
    """A value as it is kept: numbers and booleans as they are, all else as short text."""
    if isinstance(value, bool | int | float):
        return value
    text = scrub_value(str(value))
    return text if len(text) <= 80 else text[:79] + "…"


def scrub_value(text: str) -> str:
    """A value of an unclassed column; an address in it was forgotten to be classed and is not kept."""
    return scrub(text) if "@" in text else text


class History:
    """What the ledger remembers of builds and loads; empty where there is no ledger."""

    def __init__(self, file: Path) -> None:
        self.results: dict[str, list[Result]] = {}
        self.failing: dict[str, FailingRows] = {}
        self.builds: list[dict[str, str]] = []
        self.loads: dict[tuple[str, str], list[dict[str, Any]]] = {}
        if not file.is_file():
            return
        with _ledger(file) as ledger:
            self._read(ledger)

    def _read(self, ledger: sqlite3.Connection) -> None:
        started = {}
        for row in ledger.execute("select * from builds order by started_at"):
            started[row["invocation_id"]] = row["started_at"]
            self.builds.append({"command": row["command"], "at": row["started_at"], "ended": row["ended_at"]})
        for row in ledger.execute(
            "select r.* from build_results r join builds b using (invocation_id) order by b.started_at"
        ):
            self.results.setdefault(row["node"], []).append(
                Result(
                    started[row["invocation_id"]],
                    row["status"],
                    row["failures"],
                    row["seconds"],
                    row["row_count"],
                    row["message"] or "",
                )
            )
        for row in ledger.execute(
            "select r.* from build_failing_rows r join builds b using (invocation_id) order by b.started_at"
        ):
            columns, masked = json.loads(row["columns"])
            self.failing[row["node"]] = FailingRows(
                started[row["invocation_id"]], columns, masked, json.loads(row["rows"])
            )
        tables = {r["name"] for r in ledger.execute("select name from sqlite_master where type = 'table'")}
        if "loads" in tables:
            for row in ledger.execute("select * from loads order by started_at"):
                self.loads.setdefault((row["source"], row["table_name"]), []).append(dict(row))
