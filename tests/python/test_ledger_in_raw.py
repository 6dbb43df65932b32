"""The ledger's copy in raw, which dbt reads."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pipelines.ledger import Ledger, TableLoaded
from pipelines.ledger_in_raw import show_ledger


def _loaded(ledger: Ledger, run_id: str, rows: int) -> None:
    now = datetime.now(UTC)
    ledger.record(TableLoaded(run_id, "shop", "orders", now, now, "loaded", rows_loaded=rows))


def _shown(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int | None]]:
    return con.execute(
        "select run_id, status, (select sum(rows_loaded) from sluice.loads l where l.run_id = r.run_id)::bigint"
        " from sluice.runs r order by run_id"
    ).fetchall()


def test_the_copy_follows_runs_that_end_after_it_was_made(tmp_path: Path) -> None:
    ledger, con = Ledger(tmp_path / "ledger.sqlite"), duckdb.connect(str(tmp_path / "raw.duckdb"))
    killed = ledger.begin("load")
    show_ledger(con, ledger, tmp_path)
    run = ledger.begin("load")
    _loaded(ledger, run, 3)
    show_ledger(con, ledger, tmp_path)
    assert _shown(con) == [(killed, "running", None), (run, "running", 3)]

    ledger.end(run, "ok")
    last = ledger.begin("load")
    _loaded(ledger, last, 0)
    _loaded(ledger, killed, 7)  # it was not killed after all, but slow
    show_ledger(con, ledger, tmp_path)
    assert _shown(con) == [(killed, "running", 7), (run, "ok", 3), (last, "running", 0)]
    assert con.execute("select typeof(started_at), typeof(rows_loaded) from sluice.loads").fetchone() == (
        "TIMESTAMP WITH TIME ZONE",
        "BIGINT",
    )


def test_a_copy_with_other_columns_is_made_anew(tmp_path: Path) -> None:
    ledger, con = Ledger(tmp_path / "ledger.sqlite"), duckdb.connect(str(tmp_path / "raw.duckdb"))
    run = ledger.begin("load")
    _loaded(ledger, run, 3)
    show_ledger(con, ledger, tmp_path)
    con.execute("alter table sluice.loads drop column retries")
    show_ledger(con, ledger, tmp_path)
    assert _shown(con) == [(run, "running", 3)]
    assert "retries" in {name for name, *_ in con.execute("describe sluice.loads").fetchall()}
