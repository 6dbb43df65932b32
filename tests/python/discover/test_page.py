"""docs/discover.md, followed as written: its example is made, discovered and loaded."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sluice.cli import app
from tests.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "discover.md"


def test_the_example_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("load", "discover"):
        monkeypatch.setattr(
            import_module(f"sluice.cli.{command}"), "lower_priority", lambda: None, raising=False
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "warehouse"))
    (tmp_path / "dbt_project.yml").write_text(
        "name: example\nprofile: example\nmodel-paths: [models, sources]\n"
    )
    (tmp_path / "sources").mkdir()
    for block in blocks(PAGE):
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), {})
        for line in block.text.splitlines() if block.language == "sh" else []:
            done = CliRunner().invoke(app, shlex.split(line)[1:])
            assert done.exit_code == 0, f"{line}\n{done.output}"
    written = (tmp_path / "sources" / "crm.yml").read_text(encoding="utf-8")
    (shown,) = (block.text for block in blocks(PAGE) if block.language == "yaml")
    comments = {" ".join(line.split()) for line in written.splitlines() if "#" in line}
    missing = [line for line in shown.splitlines() if "#" in line and " ".join(line.split()) not in comments]
    assert not missing, f"the page shows what is not in the file: {missing}\n{written}"
    assert yaml.safe_load(written)["sources"][0]["tables"][1]["config"]["meta"]["load"] == {
        "primary_key": "visit_no"
    }
    exports = re.sub(r"\s+#?\s*", " ", (tmp_path / "sources" / "exports.yml").read_text(encoding="utf-8"))
    assert (
        "refers to crm.people (email) — 100 of 100 distinct values are in people.email without case"
        in exports
    )
