"""dbt runs in a process of its own, and what depends on a failed load is left out."""

from __future__ import annotations

import duckdb
import pytest

from sluice.config.settings import Settings
from sluice.dbt import run_results
from sluice.dbt.run_results import build_result
from sluice.dbt.runner import dbt_session, excluding


def test_what_depends_on_failed_tables_is_left_out() -> None:
    assert excluding([]) == []
    assert excluding(["shop.orders", "web.views"]) == [
        "--exclude",
        "source:shop.orders+",
        "source:web.views+",
    ]


def test_one_dbt_runs_several_commands_and_leaves_the_warehouse_to_others_between(small: Settings) -> None:
    with dbt_session(small) as dbt:
        assert dbt(["build"]) == 0
        assert build_result(small).models == {"success": 1}
        with duckdb.connect(str(small.warehouse), read_only=True) as con:  # refused while dbt has it open
            assert con.execute("select id from one").fetchall() == [(1,)]
        run_results.merge(small)
        assert dbt(["docs", "generate", "--static"]) == 0
        assert (small.target / "static_index.html").is_file()
    kept = run_results.merge(small)
    assert kept["model.small.one"].status == "success"


def test_a_dbt_that_cannot_run_says_so(small: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    model = small.root / "models" / "one.sql"
    model.write_text("select * from {{ ref('none') }}", encoding="utf-8")
    with dbt_session(small) as dbt:
        assert dbt(["build"]) == 2
    assert "depends on a node named 'none' which was not found" in capfd.readouterr().out


def test_a_node_that_fails_is_told_from_a_dbt_that_cannot_run(small: Settings) -> None:
    (small.root / "models" / "one.sql").write_text("select no_such_column", encoding="utf-8")
    with dbt_session(small) as dbt:
        assert dbt(["build"]) == 1
        assert build_result(small).models == {"error": 1}
