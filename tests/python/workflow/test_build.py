"""A build is recorded, whoever runs dbt, and once."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from sluice.cli import app
from sluice.config.settings import Settings
from sluice.dbt import run_results
from sluice.dbt.runner import dbt_session
from sluice.runs.history import History
from sluice.workflow.build import build, record_build


def test_a_build_is_recorded_and_the_next_command_does_not_overwrite_it(small: Settings) -> None:
    with dbt_session(small) as dbt:
        assert build(small, [], dbt) == 0
        assert dbt(["docs", "generate", "--static"]) == 0
    assert not record_build(small), "it is recorded already, and generating docs is no build"
    history = History(small.ledger)
    assert [b["command"] for b in history.builds] == ["build"]
    assert [(r.status, r.row_count) for r in history.results["model.small.one"]] == [("success", 1)]
    assert run_results.merge(small)["model.small.one"].status == "success"


def test_a_build_by_dbt_itself_is_recorded_before_the_catalog(
    small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dbt_session(small) as dbt:
        assert dbt(["build"]) == 0
    assert not small.ledger.exists()
    monkeypatch.chdir(small.root)
    monkeypatch.delenv("SLUICE_HOME", raising=False)
    monkeypatch.delenv("DBT_TARGET_PATH", raising=False)
    done = CliRunner().invoke(app, ["catalog"])
    assert done.exit_code == 0, done.output
    assert len(History(small.ledger).builds) == 1
    assert (small.target / "catalog.html").is_file()
