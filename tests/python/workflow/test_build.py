"""A build is recorded, whoever runs dbt, and once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from sluice.cli import app
from sluice.config.settings import Settings
from sluice.dbt import run_results
from sluice.dbt.build_state import BUILDING
from sluice.dbt.manifest import read_artifact
from sluice.dbt.run_results import PROCESS
from sluice.dbt.runner import dbt_session
from sluice.engine.locks import locked
from sluice.errors import LockedError
from sluice.runs.history import History
from sluice.workflow.build import build, record_build


@pytest.mark.full
def test_one_dbt_runs_several_commands_and_leaves_the_warehouse_to_others_between(small: Settings) -> None:
    """The build is recorded, and the next command does not overwrite it."""
    with dbt_session(small, BUILDING) as dbt:
        code, built = build(small, [], dbt)
        assert (code, built.models, built.failures) == (0, {"success": 1}, [])
        with duckdb.connect(str(small.warehouse), read_only=True) as con:  # refused while dbt has it open
            assert con.execute("select id from one").fetchall() == [(1,)]
        assert dbt(["docs", "generate", "--static"]) == 0
        assert (small.target / "static_index.html").is_file()
    assert not record_build(small), "it is recorded already, and generating docs is no build"
    history = History(small.ledger)
    assert [b["command"] for b in history.builds] == ["build"]
    assert [(r.status, r.row_count) for r in history.results["model.small.one"]] == [("success", 1)]
    assert run_results.merge(small)["model.small.one"].status == "success"


def test_a_build_by_dbt_itself_is_recorded_before_the_catalog(
    small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dbt_session(small, BUILDING) as dbt:
        assert dbt(["build"]) == 0
    assert not small.ledger.exists()
    monkeypatch.chdir(small.root)
    monkeypatch.delenv("SLUICE_HOME", raising=False)
    monkeypatch.delenv("DBT_TARGET_PATH", raising=False)
    done = CliRunner().invoke(app, ["catalog"])
    assert done.exit_code == 0, done.output
    assert len(History(small.ledger).builds) == 1
    assert (small.target / "catalog.html").is_file()


def test_a_build_reports_its_own_results_only(small: Settings) -> None:
    """Another sluice waits until they are read; a plain dbt does not, so what it left is told apart."""
    with dbt_session(small, BUILDING) as dbt:

        def overtaken(arguments: Sequence[str], then: Callable[[], None] = print) -> int:
            def late() -> None:
                with pytest.raises(LockedError), locked(small.home, "another command", 0):
                    pass
                others = small.target / "run_results.json"
                results = json.loads(others.read_text())
                results["metadata"]["env"]["SLUICE_PROCESS"] = "another"
                results["results"] *= 3
                others.write_text(json.dumps(results))
                then()

            return dbt(arguments, late)

        code, built = build(small, [], overtaken)
    assert (code, built.models) == (0, {})
    assert built.failures == [
        "another dbt command has overwritten the results of this build: see logs/dbt.log"
    ]
    assert History(small.ledger).builds == []


@pytest.mark.full
def test_a_build_that_could_not_run_says_so_and_reports_nothing_of_the_one_before(
    small: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    with dbt_session(small, BUILDING) as dbt:
        build(small, [], dbt)
    (small.target / "run_results.json").write_text(
        (small.target / "run_results.json").read_text().replace(PROCESS[1], "before")
    )
    (small.root / "models" / "one.sql").write_text("select * from {{ ref('none') }}", encoding="utf-8")
    with dbt_session(small, BUILDING) as dbt:
        code, built = build(small, [], dbt)
    assert (code, built.models, built.failures) == (2, {}, [])
    assert "depends on a node named 'none' which was not found" in capfd.readouterr().out


def test_an_artifact_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text('{"nodes": {')
    writing = threading.Timer(0.3, lambda: file.write_text('{"nodes": {}}'))
    writing.start()
    assert read_artifact(file) == {"nodes": {}}
    writing.join()
    assert read_artifact(tmp_path / "none.json") is None
