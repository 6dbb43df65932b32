"""Failures stay where they are, what was begun is finished, nothing is loaded twice, and no secret is told."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.config.sources import load_sources
from sluice.errors import Exit
from sluice.runs.status import status
from sluice.runs.store import LoadRecord, RunStore
from tests.python.project import Project

CSV = {"format": "csv"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two sources: `till`, a SQLite database, and `f`, files."""
    made = Project(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,v\n1,x\n2,y\n")
    with sqlite3.connect(tmp_path / "till.db") as con:
        con.executescript(
            "create table sales (id integer primary key, v text); insert into sales values (1, 'a'), (2, 'b');"
            "create table members (id integer primary key, v text); insert into members values (1, 'm');"
        )
    made.connect("till", url="sqlite:///till.db")
    made.declare(
        "till",
        {"kind": "database", "connection": "till"},
        {"sales": {"primary_key": "id"}, "members": {"primary_key": "id"}},
    )
    made.declare("f", {"kind": "files", "url": "in"}, {"a": {**CSV, "path": "a.csv"}})
    return made


def sell(project: Project, statements: str) -> None:
    with sqlite3.connect(project.root / "till.db") as con:
        con.executescript(statements)


@pytest.mark.parametrize("left", [0, 1])
def test_a_source_that_shrinks_is_not_replaced(
    left: int, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project.root))
    (project.root / f"shrinking_{left}.py").write_text(
        "from pathlib import Path\ndef rows():\n"
        "    yield from ({'id': i} for i in range(int(Path(__file__).with_suffix('.txt').read_text())))\n"
    )
    count = project.root / f"shrinking_{left}.txt"
    made = {"made": {"resource": f"shrinking_{left}.rows"}}
    project.declare("own", {"kind": "python"}, made, {"made": {"id": "bigint"}})
    project.declare("till", {"kind": "database", "connection": "till"}, {"sales": {}})
    sell(project, "insert into sales values (3, 'c')")
    count.write_text("3")
    assert project.load("own", "till").rows == 6
    count.write_text(str(left))
    sell(project, f"delete from sales where id > {left}")
    outcome = project.load("own", "till")
    for table in ("own.made", "till.sales"):
        assert f"{table}: the source now has {left} rows, raw has 3" in outcome.error
        assert project.raw(f"select count(*) from {table}") == [(3,)]
    assert outcome.error.count("--full-refresh") == 2
    assert project.load("own", "till", full_refresh=True).errors == []
    assert project.raw("select (select count(*) from own.made), (select count(*) from till.sales)") == [
        (left, left)
    ]


def test_a_failing_table_and_a_failing_source_stop_nobody(project: Project) -> None:
    project.connect("gone", url="postgresql://u:canary-77@127.0.0.1:9/d")
    project.declare("gone", {"kind": "database", "connection": "gone"}, {"x": {}, "y": {}})
    project.declare("none", {"kind": "database", "connection": "none"}, {"x": {}})
    project.declare(
        "till",
        {"kind": "database", "connection": "till"},
        {"sales": {"primary_key": "id"}, "missing": {}, "members": {"primary_key": "id"}},
    )
    outcome = project.load()
    found = {s.source: s for s in outcome.sources}
    assert found["till"].failed == ["till.missing"]
    assert [t.rows for t in found["till"].tables] == [2, 0, 1]
    assert found["gone"].failed == ["gone.x", "gone.y"]
    assert (found["f"].rows, found["f"].errors) == (2, [])
    assert "cannot connect to 127.0.0.1:9/d (connection 'gone')" in outcome.error
    assert "the connection 'none' has no 'url': set CONNECTIONS__NONE__URL" in outcome.error
    assert "canary-77" not in outcome.error
    assert project.raw("select count(*) from till.sales") == [(2,)]


def test_only_what_is_new_or_changed_is_loaded(project: Project) -> None:
    assert project.load().rows == 5
    before = project.raw("select id, _loaded_at, _load_id from till.sales order by id")
    assert project.load().rows == 0
    sell(project, "update sales set v = 'B' where id = 2; insert into sales values (3, 'c')")
    assert project.load()["sales"].rows == 2
    after = project.raw("select id, _loaded_at, _load_id from till.sales order by id")
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_the_state_of_a_failed_table_does_not_move(project: Project) -> None:
    project.declare(
        "f", {"kind": "files", "url": "in"}, {"a": {**CSV, "path": "*.csv"}}, {"a": {"id": "bigint"}}
    )
    assert project.load("f").rows == 2
    (project.root / "in" / "b.csv").write_text("id,v\n3,x\n")
    (project.root / "in" / "c.csv").write_text("id,v\nfour,x\n")
    for _ in range(2):
        assert "id 'four'" in project.load("f").error
        assert project.raw("select count(*) from f.a") == [(2,)]
    (project.root / "in" / "c.csv").write_text("id,v\n4,x\n")
    assert project.load("f").rows == 2


def test_a_killed_load_is_finished_by_the_next(project: Project) -> None:
    """SIGKILL when everything is packed and nothing loaded; the source has moved on when it is run again."""
    project.load()
    sell(project, "insert into sales values (3, 'c'); update members set v = 'M'")
    kill = (
        "import os, signal, dlt\n"
        "dlt.Pipeline.load = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from sluice.cli import main; main()"
    )
    killed = subprocess.run(
        [sys.executable, "-c", kill, "load", "till"],
        cwd=project.root,
        env=project.environment(),
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL
    assert project.raw("select count(*) from till.sales") == [(2,)]
    sell(project, "insert into sales values (4, 'd'); update sales set v = 'C' where id = 3")
    assert not project.load("till").errors
    assert project.raw("select id, v from till.sales order by id") == [
        (1, "a"), (2, "b"), (3, "C"), (4, "d")
    ]  # fmt: skip
    assert project.raw("select v from till.members") == [("M",)]
    assert project.load().rows == 0


def test_status_tells_lag_and_state(project: Project) -> None:
    file = project.settings.sources / "f.yml"
    document = yaml.safe_load(file.read_text())
    document["sources"][0]["config"]["freshness"] = {
        "warn_after": {"count": 1, "period": "hour"},
        "error_after": {"count": 2, "period": "day"},
    }
    file.write_text(yaml.safe_dump(document))
    ledger = RunStore(project.settings.ledger)
    sources = load_sources(project.settings.sources, ["f"])

    def state() -> Any:
        (found,) = status(sources, ledger)
        return found.state

    def loaded(run: str, ago: timedelta, outcome: str, error: str | None = None) -> None:
        at = datetime.now(UTC) - ago
        ledger.record(LoadRecord(run, "f", "a", at, at, outcome, rows_loaded=2, error=error))

    assert state() == "never loaded"
    loaded("1", timedelta(days=3), "loaded")
    assert state() == "expired"
    loaded("2", timedelta(hours=2), "unchanged")
    assert state() == "stale"
    loaded("3", timedelta(minutes=1), "loaded")
    assert state() == "fresh"
    loaded("4", timedelta(0), "failed", "f.a: broken")
    (found,) = status(sources, ledger)
    assert (found.state, found.errors) == ("failed", ("f.a: broken",))
    assert found.lag is not None
    assert timedelta(0) < found.lag < timedelta(minutes=5)
    assert found.limit == timedelta(days=2)


def test_exit_codes_of_errors() -> None:
    assert (Exit.OK, Exit.FAILED, Exit.DECLARATION, Exit.CONNECTION, Exit.LOCKED) == (0, 1, 3, 4, 5)
