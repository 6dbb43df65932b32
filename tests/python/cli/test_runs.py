"""`sluice runs show`: what a run loaded, what was built after it, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.python.small_project import SmallProject


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_run_is_explained(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    project.sluice("run")
    first = json.loads(project.sluice("runs", "show", "--json"))
    (build,) = first["builds"]
    assert {node["reason"] for node in build["nodes"]} >= {
        "it has not been built yet",
        "it has not passed yet",
    }
    assert {load["status"] for load in first["loads"]} == {"loaded"}

    project.sluice("load")
    model = next((project.root / "models").rglob("*.sql"))
    model.write_text(model.read_text().replace("select", "select distinct", 1))
    project.sluice("build")
    second = json.loads(project.sluice("runs", "show", "--json"))
    nodes = {node["node"].split(".")[2]: node for node in second["builds"][0]["nodes"]}
    assert nodes[model.stem]["reason"] == "its SQL has changed"
    assert "reused" in {node["status"] for node in nodes.values()}

    shown = project.sluice("runs", "show")
    assert f"its SQL has changed  model {model.stem}" in shown
    assert "left as they were, for nothing they depend on had changed" in shown
    assert second["run"] in project.sluice("runs")
    again = project.sluice("runs", "show", first["run"], "--json")
    assert json.loads(again) == first
