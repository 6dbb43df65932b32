"""The copy of runs and loads in raw, which dbt reads."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from sluice.runs.raw_copy import copy_to_raw
from sluice.runs.store import LoadRecord, RunStore


def _loaded(store: RunStore, run_id: str, rows: int) -> None:
    now = datetime.now(UTC)
    store.record(LoadRecord(run_id, "shop", "orders", now, now, "loaded", rows_loaded=rows))


def _shown(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int | None]]:
    return con.execute(
        "select run_id, status, (select sum(rows_loaded) from sluice.loads l where l.run_id = r.run_id)::bigint"
        " from sluice.runs r order by run_id"
    ).fetchall()


def test_the_copy_follows_runs_that_end_after_it_was_made(tmp_path: Path) -> None:
    store, con = RunStore(tmp_path / "ledger.sqlite"), duckdb.connect(str(tmp_path / "raw.duckdb"))
    killed = store.begin("load")
    copy_to_raw(con, store, tmp_path)
    run = store.begin("load")
    _loaded(store, run, 3)
    copy_to_raw(con, store, tmp_path)
    assert _shown(con) == [(killed, "running", None), (run, "running", 3)]

    store.end(run, "ok")
    last = store.begin("load")
    _loaded(store, last, 0)
    _loaded(store, killed, 7)  # it was not killed after all, but slow
    copy_to_raw(con, store, tmp_path)
    assert _shown(con) == [(killed, "running", 7), (run, "ok", 3), (last, "running", 0)]
    assert con.execute("select typeof(started_at), typeof(rows_loaded) from sluice.loads").fetchone() == (
        "TIMESTAMP WITH TIME ZONE",
        "BIGINT",
    )


def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    store, con = RunStore(tmp_path / "ledger.sqlite"), duckdb.connect(str(tmp_path / "raw.duckdb"))
    ours = store.begin("load")
    killed = store.begin("load")
    copy_to_raw(con, store, tmp_path)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as kept, kept:
        # the number is another process's by now: ours, which began later than that run
        kept.execute("update runs set started_at = '2026-01-01T00:00:00+00:00' where run_id = ?", [killed])
    assert {run["run_id"]: run["status"] for run in store.runs(9)} == {ours: "running", killed: "killed"}

    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as kept, kept:
        kept.execute("update runs set process = ? where run_id = ?", [2**22 + 1, ours])  # beyond any process
    run = store.begin("load")
    copy_to_raw(con, store, tmp_path)
    assert _shown(con) == [(ours, "killed", None), (killed, "killed", None), (run, "running", None)]


def test_a_copy_with_other_columns_is_made_anew(tmp_path: Path) -> None:
    store, con = RunStore(tmp_path / "ledger.sqlite"), duckdb.connect(str(tmp_path / "raw.duckdb"))
    run = store.begin("load")
    _loaded(store, run, 3)
    copy_to_raw(con, store, tmp_path)
    con.execute("alter table sluice.loads drop column retries")
    copy_to_raw(con, store, tmp_path)
    assert _shown(con) == [(run, "running", 3)]
    assert "retries" in {name for name, *_ in con.execute("describe sluice.loads").fetchall()}
