"""The run store opens files of every earlier version and keeps their rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sluice.errors import VersionError
from sluice.runs import migrations
from sluice.runs.history import History
from sluice.runs.migrations import MIGRATIONS, migrate
from sluice.runs.store import RunStore

UNNUMBERED = """
create table runs (
    run_id text primary key, command text not null, started_at text not null, ended_at text, status text not null,
    process integer
);
create table loads (
    run_id text not null, source text not null, table_name text not null, started_at text not null,
    ended_at text not null, status text not null, rows_read integer not null, rows_loaded integer not null,
    rows_deleted integer not null, rows_quarantined integer not null, retries integer not null default 0,
    bytes integer not null, cursor_from text, cursor_to text, package text, error text, new_columns text,
    lost_columns text, primary key (run_id, source, table_name)
);
create table publications (
    publication_id integer primary key, action text not null, audience text, version text, who text not null,
    started_at text not null, ended_at text, status text not null, detail text
);
create table builds (
    invocation_id text primary key, command text not null, started_at text not null, ended_at text not null
);
create table build_results (
    invocation_id text not null, node text not null, status text not null, failures integer, seconds real not null,
    row_count integer, message text, primary key (invocation_id, node)
);
create table build_failing_rows (
    invocation_id text not null, node text not null, columns text not null, rows text not null,
    primary key (invocation_id, node)
);
insert into runs values ('20260101T000000.000000Z', 'load', '2026-01-01T00:00:00+00:00', '2026-01-01', 'ok', 1);
insert into loads values ('20260101T000000.000000Z', 'shop', 'orders', '2026-01-01T00:00:00+00:00',
    '2026-01-01T00:00:01+00:00', 'loaded', 3, 3, 0, 0, 1, 9, null, null, 'p', null, null, null);
insert into publications values (7, 'publish', null, 'v1', 'ann', '2026-01-01', '2026-01-01', 'done', null);
insert into builds values ('b1', 'build', '2026-01-01', '2026-01-02');
insert into build_results values ('b1', 'test.t.x', 'fail', 1, 0.5, null, 'Got 1 result');
insert into build_failing_rows values ('b1', 'test.t.x', '[["id"], [null]]', '[[1]]');
"""
"""A file as it was before its versions were counted."""


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file)) as con, con:
        yield con


def schema(file: Path) -> dict[str, set[tuple[str, str]]]:
    """Names and types of the columns of each table."""
    with opened(file) as con:
        tables = [name for (name,) in con.execute("select name from sqlite_master where type = 'table'")]
        return {t: {(c[1], c[2].lower()) for c in con.execute(f"pragma table_info({t})")} for t in tables}


def upgrade(file: Path) -> None:
    """As `sluice upgrade` does."""
    with opened(file) as con:
        con.execute("begin immediate")
        migrate(con, "upgrade")


def version(file: Path) -> int:
    with opened(file) as con:
        return int(con.execute("pragma user_version").fetchone()[0])


def test_a_file_without_a_version_keeps_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    with opened(file) as con:
        con.executescript(UNNUMBERED)
    with pytest.raises(VersionError, match="Run `sluice upgrade`"):
        RunStore(file)
    assert version(file) == 0
    upgrade(file)
    store = RunStore(file)
    assert version(file) == len(MIGRATIONS)
    assert [(run["status"], run["rows_loaded"]) for run in store.runs(9)] == [("ok", 3)]
    assert [row["version"] for row in store.publications(9)] == ["v1"]
    history = History(file)
    assert history.builds == [{"command": "build", "at": "2026-01-01", "ended": "2026-01-02"}]
    assert [(r.at, r.status, r.failures) for r in history.results["test.t.x"]] == [("2026-01-01", "fail", 1)]
    assert history.failing["test.t.x"].rows == [[1]]
    assert [load["retries"] for load in history.loads["shop", "orders"]] == [1]


def test_a_file_of_the_first_release_gets_the_columns_it_lacks(tmp_path: Path) -> None:
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    with opened(old) as con:
        con.executescript(UNNUMBERED)
        for column in ("new_columns", "lost_columns", "retries"):
            con.execute(f"alter table loads drop column {column}")
        con.execute("alter table runs drop column process")
        for table in ("builds", "build_results", "build_failing_rows"):
            con.execute(f"drop table {table}")
    upgrade(old)
    RunStore(new)
    assert schema(old) == schema(new)
    assert [load["retries"] for load in History(old).loads["shop", "orders"]] == [0]


def test_each_migration_is_applied_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ledger.sqlite"
    RunStore(file)
    later = (
        "alter table publications add column one text",
        "alter table publications rename column one to two",
    )
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, *later))
    upgrade(file)
    upgrade(file)
    RunStore(file)
    assert ("two", "text") in schema(file)["publications"]
    assert version(file) == len(MIGRATIONS) + 2


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ledger.sqlite"
    RunStore(file)
    before = schema(file)
    broken = "alter table publications add column one text; alter table missing add column two text"
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, broken))
    with pytest.raises(Exception, match="missing"):
        upgrade(file)
    assert schema(file) == before
    assert version(file) == len(MIGRATIONS)


def test_a_file_of_a_newer_engine_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    RunStore(file)
    with opened(file) as con:
        con.execute("update engines set engine = '9.1.0'")
        con.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(VersionError, match=r"newer engine, Sluice 9\.1\.0; .*Install that version"):
        RunStore(file)


def test_there_is_no_history_without_a_file(tmp_path: Path) -> None:
    assert History(tmp_path / "none.sqlite").builds == []
    assert not (tmp_path / "none.sqlite").exists()
