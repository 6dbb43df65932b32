"""The steps of a run, called as a scheduler would: typed results, nothing printed."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from sluice.config.settings import Settings
from sluice.config.sources import load_sources
from sluice.errors import Exit
from sluice.runs.store import RunStore
from sluice.workflow.run import RunResult, run
from tests.python.small_project import ORDERS, PRODUCTS, SmallProject


def run_project(settings: Settings) -> tuple[RunResult, list[str]]:
    """The result of a run, and the steps it named."""
    steps: list[str] = []
    sources = load_sources(settings.sources)
    return run(settings, sources, loading=nullcontext(), on_step=steps.append), steps


def test_a_run_gives_the_result_of_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project = SmallProject(tmp_path)
    settings = Settings(root=tmp_path, home=project.home)
    monkeypatch.delenv("CONNECTIONS__SHOP__URL", raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")

    failed, _ = run_project(settings)
    assert failed.exit is Exit.FAILED
    assert failed.loads[0].failed == ["shop.orders", "shop.products"]
    assert failed.build.models == {}, "nothing is built of what was not loaded"
    assert failed.published is None
    assert failed.errors, "why nothing was published"

    monkeypatch.setenv("CONNECTIONS__SHOP__URL", f"sqlite:///{tmp_path}/shop.sqlite")
    done, steps = run_project(settings)
    assert done.exit is Exit.OK, (done.errors, done.build.failures)
    assert steps == ["build: dbt build", "docs: dbt docs generate", "publish", "catalog"]
    assert [result.rows for result in done.loads] == [ORDERS + PRODUCTS]
    assert done.build.models == {"success": 2}
    assert done.published is not None
    assert set(done.published.audiences) == {"analysts"}
    assert (settings.target / "catalog.html").is_file()
    assert [row["status"] for row in RunStore(settings.ledger).runs(9) if row["command"] == "load"] == [
        "ok",
        "failed",
    ]
    assert capfd.readouterr().out == ""
