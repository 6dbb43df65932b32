"""What dbt left behind is read rightly, and what depends on a failed load is left out."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from sluice.config.settings import Settings
from sluice.dbt.run_results import merge_results
from sluice.dbt.runner import build_result, dbt_session, excluding


def test_what_depends_on_failed_tables_is_left_out() -> None:
    assert excluding([]) == []
    assert excluding(["shop.orders", "web.views"]) == [
        "--exclude",
        "source:shop.orders+",
        "source:web.views+",
    ]


def test_results_are_counted_and_failures_told(tmp_path: Path) -> None:
    results = [
        ("model.sluice.a", "success", None),
        ("seed.sluice.s", "success", None),
        ("model.sluice.b", "error", "Runtime Error in model b\n  long text"),
        ("model.sluice.c", "skipped", None),
        ("test.sluice.t", "pass", None),
        ("test.sluice.u", "fail", "Got 2 results, configured to fail if != 0"),
        ("test.sluice.v", "warn", "Got 1 result"),
        ("unit_test.sluice.w", "pass", None),
    ]
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "run_results.json").write_text(
        json.dumps({"results": [{"unique_id": u, "status": s, "message": m} for u, s, m in results]})
    )
    found = build_result(Settings(root=tmp_path, home=tmp_path / "warehouse"))
    assert dict(found.models) == {"success": 2, "error": 1, "skipped": 1}
    assert dict(found.tests) == {"pass": 2, "fail": 1, "warn": 1}
    assert not found.ok
    assert found.failures == [
        "model.sluice.b: Runtime Error in model b",
        "test.sluice.u: Got 2 results, configured to fail if != 0",
    ]


@pytest.fixture
def small(tmp_path: Path) -> Settings:
    """A dbt project of one model in a warehouse of its own."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one.sql").write_text("select 1 as id", encoding="utf-8")
    (tmp_path / "dbt_project.yml").write_text(
        "name: small\nprofile: small\nmodels: {+materialized: table}\nflags: {send_anonymous_usage_stats: false}\n"
    )
    file = tmp_path / "warehouse" / "warehouse.duckdb"
    file.parent.mkdir()
    (tmp_path / "profiles.yml").write_text(
        f"small: {{target: dev, outputs: {{dev: {{type: duckdb, path: '{file}'}}}}}}\n"
    )
    return Settings(root=tmp_path, home=tmp_path / "warehouse")


def test_one_dbt_runs_several_commands_and_leaves_the_warehouse_to_others_between(small: Settings) -> None:
    with dbt_session(small) as dbt:
        assert dbt(["build"]) == 0
        assert build_result(small).models == {"success": 1}
        with duckdb.connect(str(small.warehouse), read_only=True) as con:  # refused while dbt has it open
            assert con.execute("select id from one").fetchall() == [(1,)]
        assert dbt(["docs", "generate", "--static"]) == 0
        assert (small.target / "static_index.html").is_file()
    kept = merge_results(small)
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
