"""What happened: runs and their loads, builds and publications, in a SQLite file that survives kills.

dbt reads runs and loads as the source `sluice`; `sluice status` and the catalog read the file too.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.errors import DamagedError, RunStoreError
from sluice.runs.migrations import is_empty, migrate, refuse_interrupted, refuse_other_version

CLOCK_SECONDS = 2
"""How much later than its first line a process may seem to have begun."""
KEPT_BUILDS = 200
"""Older builds are forgotten: at 2,000 nodes per build, this is about 50 MB."""
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""What SQLite finds wrong with a file, as opposed to a disk that is full or a store that is in use."""
WAY_BACK = (
    "Restore it from a backup, or move it away together with the files beside it that end in -wal and -shm: the next "
    "load starts a new one with the runs and loads that raw has a copy of. Builds and publications are not in there"
)


@dataclass(frozen=True)
class LoadRecord:
    """The load of one table in one run; times are UTC, sizes bytes."""

    run_id: str
    source: str
    table_name: str
    started_at: datetime
    ended_at: datetime
    status: str
    """loaded, unchanged or failed."""
    rows_read: int = 0
    """Rows the source delivered."""
    rows_loaded: int = 0
    """New and changed rows merged into raw; deletions are among them."""
    rows_deleted: int = 0
    rows_quarantined: int = 0
    retries: int = 0
    """Requests that failed on the network and were repeated."""
    bytes: int = 0
    cursor_from: str | None = None
    cursor_to: str | None = None
    package: str | None = None
    """dlt's load id; also in the `_load_id` of the rows."""
    error: str | None = None
    message: str | None = None
    """What a table that was read from scratch lost, and how its columns changed."""
    warnings: str | None = None
    """What is doubtful about the load, one sentence per line."""
    new_columns: str | None = None
    """Columns of the source that were new to raw, separated by commas."""
    lost_columns: str | None = None
    """Columns of raw that the source no longer has, separated by commas."""


@dataclass(frozen=True)
class Build:
    """One dbt command that built or tested; times are ISO, UTC."""

    invocation_id: str
    command: str
    started_at: str
    ended_at: str


@dataclass(frozen=True)
class NodeResult:
    """The result of one node in one build; `at` is when the build began, in UTC."""

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


class RunStore:
    """The run store of one warehouse; every write is committed at once.

    Raises VersionError for a file of another version, which `sluice upgrade` moves to this one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        refuse_interrupted(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunStoreError(f"the run store {path} cannot be created: {error}") from None
        with self._open() as con:
            refuse_other_version(con, path)
            con.execute("pragma journal_mode = wal")
            if is_empty(con):
                con.execute("begin immediate")  # one process makes the tables, others wait and find it done
                migrate(con)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=30)) as con, con:
                con.row_factory = sqlite3.Row
                yield con
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in DAMAGE:
                raise DamagedError(self._path, str(error), WAY_BACK) from None
            if not isinstance(error, sqlite3.OperationalError):
                raise
            raise RunStoreError(
                f"the run store {self._path} cannot be written: {error}. Is the disk full, or read-only?"
            ) from error

    def begin(self, command: str) -> str:
        """Open a run; returns its id, which sorts by time."""
        now = datetime.now(UTC)
        run_id = now.strftime("%Y%m%dT%H%M%S.%fZ")
        with self._open() as con:
            _close_killed(con)
            con.execute(
                "insert into runs (run_id, command, started_at, status, process) values (?, ?, ?, 'running', ?)",
                [run_id, command, now.isoformat(), os.getpid()],
            )
        return run_id

    def end(self, run_id: str, status: str) -> None:
        """Close a run as `ok`, `failed` or `interrupted`."""
        with self._open() as con:
            con.execute(
                "update runs set ended_at = ?, status = ? where run_id = ?",
                [datetime.now(UTC).isoformat(), status, run_id],
            )

    def record(self, *rows: LoadRecord) -> None:
        """Record loads of tables."""
        with self._open() as con:
            for row in rows:
                values: dict[str, Any] = {
                    k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(row).items()
                }
                names = ", ".join(values)
                marks = ", ".join("?" * len(values))
                con.execute(f"insert or replace into loads ({names}) values ({marks})", list(values.values()))

    def restore(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take up rows of `runs` or `loads` from raw's copy, as `since` returns them."""
        with self._open() as con:
            for row in rows:
                marks = ", ".join("?" * len(row))
                con.execute(
                    f"insert or ignore into {table} ({', '.join(row)}) values ({marks})", list(row.values())
                )

    def runs(self, limit: int) -> list[sqlite3.Row]:
        """The newest runs with the sums of their loads, newest first."""
        with self._open() as con:
            _close_killed(con)
            return con.execute(
                "select r.*, count(l.run_id) as tables, coalesce(sum(l.rows_loaded), 0) as rows_loaded,"
                " coalesce(sum(l.rows_deleted), 0) as rows_deleted,"
                " coalesce(sum(l.rows_quarantined), 0) as rows_quarantined,"
                " count(l.warnings) as warnings,"
                " coalesce(sum(l.status = 'failed'), 0) as failed"
                " from runs r left join loads l using (run_id) group by r.run_id order by r.run_id desc limit ?",
                [limit],
            ).fetchall()

    def columns(self, table: str) -> dict[str, str]:
        """Columns of a table of the run store, with their SQLite types."""
        with self._open() as con:
            return {row["name"]: row["type"].lower() for row in con.execute(f"pragma table_info({table})")}

    def since(self, table: str, run_id: str, also: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of `runs` or `loads` of all runs after `run_id`, and of those in `also`."""
        marks = ", ".join("?" * len(also))
        with self._open() as con:
            rows = con.execute(
                f"select * from {table} where run_id > ? or run_id in ({marks}) order by run_id",
                [run_id, *also],
            )
            return [dict(row) for row in rows]

    def latest(self) -> list[sqlite3.Row]:
        """The last load of every table, and when it last succeeded (`succeeded_at`)."""
        with self._open() as con:
            return con.execute(
                "select l.*, (select max(ended_at) from loads s where s.source = l.source"
                " and s.table_name = l.table_name and s.status <> 'failed') as succeeded_at"
                " from loads l where run_id = (select max(run_id) from loads m where m.source = l.source"
                " and m.table_name = l.table_name) order by source, table_name"
            ).fetchall()

    def last_run(self) -> str | None:
        """Id of the newest run."""
        with self._open() as con:
            return con.execute("select max(run_id) from runs").fetchone()[0]  # type: ignore[no-any-return]

    def has_run(self, run_id: str) -> bool:
        """Whether a run is recorded."""
        with self._open() as con:
            return con.execute("select 1 from runs where run_id = ?", [run_id]).fetchone() is not None

    def packages(self) -> dict[str, str]:
        """The load package that last changed a table, by `source.table`."""
        with self._open() as con:
            rows = con.execute(
                "select source || '.' || table_name, package, max(run_id) from loads where package is not null"
                " group by source, table_name order by 1"
            )
            return {row[0]: row[1] for row in rows}

    def has_build(self, invocation_id: str) -> bool:
        """Whether a build is recorded."""
        with self._open() as con:
            found = con.execute("select 1 from builds where invocation_id = ?", [invocation_id])
            return found.fetchone() is not None

    def record_build(
        self,
        build: Build,
        results: Mapping[str, NodeResult],
        failing: Mapping[str, FailingRows],
        decisions: Mapping[str, str],
    ) -> None:
        """Record a build with the result of each node and the rows of failed tests; the oldest builds are forgotten.

        decisions: why each node was built, empty for those that were left as they were.
        """
        key = build.invocation_id
        with self._open() as con:
            con.execute("insert or ignore into builds values (?, ?, ?, ?)", astuple(build))
            con.executemany(
                "insert or ignore into build_results values (?, ?, ?, ?, ?, ?, ?)",
                [
                    [key, node, r.status, r.failures, r.seconds, r.row_count, r.message]
                    for node, r in results.items()
                ],
            )
            con.executemany(
                "insert or ignore into build_failing_rows values (?, ?, ?, ?)",
                [
                    [key, test, json.dumps([f.columns, f.masked]), json.dumps(f.rows, ensure_ascii=False)]
                    for test, f in failing.items()
                ],
            )
            con.executemany(
                "insert or ignore into build_decisions values (?, ?, ?)",
                [[key, node, reason] for node, reason in decisions.items()],
            )
            kept = f"(select invocation_id from builds order by started_at desc limit {KEPT_BUILDS})"
            for table in ("build_results", "build_failing_rows", "build_decisions", "builds"):
                con.execute(f"delete from {table} where invocation_id not in {kept}")

    def builds(self, table: str = "builds") -> list[sqlite3.Row]:
        """Rows of `builds`, or of `build_results` or `build_failing_rows` with `started_at`; the oldest build first."""
        joined = "" if table == "builds" else " join builds using (invocation_id)"
        with self._open() as con:
            return con.execute(f"select * from {table}{joined} order by started_at").fetchall()

    def run(self, run_id: str | None = None) -> tuple[sqlite3.Row, str] | None:
        """A run (default: the newest) and when the one after it began, empty if there is none; None: no such run."""
        with self._open() as con:
            _close_killed(con)
            found = con.execute(
                "select * from runs where run_id = coalesce(?, (select max(run_id) from runs))", [run_id]
            ).fetchone()
            if found is None:
                return None
            after = con.execute("select min(started_at) from runs where run_id > ?", [found["run_id"]])
            return found, after.fetchone()[0] or ""

    def loads_of(self, run_id: str) -> list[sqlite3.Row]:
        """The loads of a run."""
        with self._open() as con:
            found = con.execute("select * from loads where run_id = ? order by source, table_name", [run_id])
            return found.fetchall()

    def builds_between(self, start: str, end: str) -> list[tuple[sqlite3.Row, list[sqlite3.Row]]]:
        """Builds that began in a range of times (ISO; an empty `end` is open), each with its nodes.

        A node has `node`, `reason`, and if it was built `status`, `seconds`, `row_count` and `message`.
        """
        with self._open() as con:
            builds = con.execute(
                "select * from builds where started_at >= ? and (? = '' or started_at < ?) order by started_at",
                [start, end, end],
            ).fetchall()
            nodes = (
                "select n.node, coalesce(reason, '') as reason, status, seconds, row_count, message"
                " from (select node from build_results where invocation_id = :id and node not like 'source.%'"
                " union select node from build_decisions where invocation_id = :id) n"
                " left join build_results r on r.invocation_id = :id and r.node = n.node"
                " left join build_decisions d on d.invocation_id = :id and d.node = n.node order by n.node"
            )
            return [
                (build, con.execute(nodes, {"id": build["invocation_id"]}).fetchall()) for build in builds
            ]

    def loads(self) -> list[sqlite3.Row]:
        """Every load of every table, oldest first."""
        with self._open() as con:
            return con.execute("select * from loads order by started_at").fetchall()

    def begin_publication(self, action: str, audience: str | None, who: str) -> int:
        """Record a publish, rollback or rotate_key before it starts; returns its number."""
        with self._open() as con:
            cursor = con.execute(
                "insert into publications (action, audience, who, started_at, status) values (?, ?, ?, ?, 'running')",
                [action, audience, who, datetime.now(UTC).isoformat()],
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def end_publication(self, number: int, status: str, version: str | None, detail: str | None) -> None:
        """Close it as `done`, `refused` or `failed`; `version` is the one it was about."""
        with self._open() as con:
            con.execute(
                "update publications set ended_at = ?, status = ?, version = ?, detail = ? where publication_id = ?",
                [datetime.now(UTC).isoformat(), status, version, detail, number],
            )

    def close_publications(self, current: str | None) -> None:
        """Close what a kill left open as `interrupted`; `current` is the version that readers have."""
        with self._open() as con:
            con.execute(
                "update publications set status = 'interrupted', detail = ? where status = 'running'",
                [f"readers had {current or 'no version'} afterwards"],
            )

    def publications(self, limit: int) -> list[sqlite3.Row]:
        """The newest publications, rollbacks and key rotations, newest first."""
        with self._open() as con:
            return con.execute(
                "select * from publications order by publication_id desc limit ?", [limit]
            ).fetchall()


def refuse_other_store(file: Path) -> None:
    """Raise what `RunStore` raises for a file it cannot work with; makes none."""
    refuse_interrupted(file)
    if file.is_file():
        RunStore(file)


def _close_killed(con: sqlite3.Connection) -> None:
    """Mark runs without an end as `killed` where their process is gone; a number may be another process's by now."""
    open_runs = con.execute(
        "select run_id, process, started_at from runs where status = 'running'"
    ).fetchall()
    if not open_runs:
        return
    import psutil

    for run in open_runs:
        try:
            born = psutil.Process(run["process"]).create_time() if run["process"] else None
        except psutil.Error:
            born = None
        if born is None or born > datetime.fromisoformat(run["started_at"]).timestamp() + CLOCK_SECONDS:
            con.execute("update runs set status = 'killed' where run_id = ?", [run["run_id"]])


def last_times(path: Path) -> tuple[str | None, str | None]:
    """When a load and a build last ended (ISO, UTC) in the run store at `path`, which may be another environment's.

    Nothing is written there, also no lock: what a running command has not committed to the file is not seen.
    """
    if not path.is_file():
        return None, None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as con:
            loaded = con.execute("select max(ended_at) from loads where status <> 'failed'").fetchone()[0]
            built = con.execute("select max(ended_at) from builds").fetchone()[0]
    except sqlite3.DatabaseError:  # it is being written, or older than the table
        return None, None
    return loaded, built
