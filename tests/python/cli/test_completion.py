"""What a shell completes, tried in a real bash, and the schemas that editors get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.cli import app
from sluice.cli.completion import audiences, sources_and_tables
from tests.python.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path / "project")
    project.declare("shop", {"kind": "database", "connection": "shop"}, {"orders": {}, "refunds": {}})
    project.declare("crm", {"kind": "database", "connection": "crm"}, {"contacts": {}})
    (project.root / "audiences.yml").write_text("audiences: [{name: analysts, description: People.}]\n")
    monkeypatch.chdir(project.root)
    return project


def test_bash_completes_what_the_project_declares(project: Project, tmp_path: Path) -> None:
    """After `sluice init completion`, in a shell that has read its start-up file, with the function that TAB calls."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bashrc").write_text("# mine\n")
    tools = Path(sys.executable).parent
    environment = {**os.environ, "HOME": str(home), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    script = """
        sluice init completion bash >/dev/null
        source ~/.bashrc
        complete -p sluice
        tab() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _sluice_completion sluice; echo "${COMPREPLY[*]}"; }
        tab sluice load sh
        tab sluice publish --rotate-key ''
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=project.root, env=environment, capture_output=True, text=True
    )
    function, tables, readers = done.stdout.splitlines()
    assert function == "complete -o default -F _sluice_completion sluice"
    assert (home / ".bashrc").read_text().startswith("# mine\n")
    assert tables.split() == ["shop", "shop.orders", "shop.refunds"]
    assert readers.split() == ["analysts"]


def test_sources_come_before_their_tables(project: Project) -> None:
    assert sources_and_tables("") == ["crm", "shop"]
    assert sources_and_tables("shop.r") == ["shop.refunds"]
    assert sources_and_tables("x") == []


def test_names_are_completed_beside_files_with_mistakes(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "a": "sources: [",
        "b": "sources: {}",
        "c": "- 1",
        "d": "sources: [{name: 1}, x]",
    }.items():
        (project.settings.sources / f"{name}.yml").write_text(text)
    (project.settings.sources / "e.yml").write_bytes(b"\xff\xfe")
    (project.settings.sources / "f.yml").write_text("sources: [{name: till, tables: [{name: sales}, 3, {}]}]")
    assert sorted(sources_and_tables("")) == ["crm", "shop", "till"]
    assert sources_and_tables("till") == ["till", "till.sales"]
    (project.root / "audiences.yml").unlink()
    assert audiences("") == []
    monkeypatch.chdir(project.root.parent)
    assert sources_and_tables("") == []


def test_the_schemas_are_written_where_editors_look(project: Project) -> None:
    written = CliRunner().invoke(app, ["schema", "--write"])
    assert written.exit_code == 0
    folder = project.root / ".vscode"
    schemas = json.loads((folder / "settings.json").read_text())["yaml.schemas"]
    assert {pattern for patterns in schemas.values() for pattern in patterns} >= {
        "sources/**/*.yml",
        "audiences.yml",
    }
    for file in schemas:
        assert json.loads((project.root / file).read_text())["title"].startswith("Sluice")
    assert "nothing to do" in CliRunner().invoke(app, ["schema", "--write"]).output


def test_settings_of_the_project_stay_as_they_are(project: Project) -> None:
    folder = project.root / ".vscode"
    folder.mkdir()
    mine = '{\n  // mine\n  "editor.rulers": [110]\n}\n'
    (folder / "settings.json").write_text(mine)
    (folder / "source.schema.json").write_text("{}")
    said = CliRunner().invoke(app, ["schema", "--write"]).output
    assert (folder / "settings.json").read_text() == mine
    assert '".vscode/source.schema.json": [' in said
    assert json.loads((folder / "source.schema.json").read_text())["title"] == "Sluice source file"


@pytest.mark.parametrize(
    ("files", "title"), [("sources", "Sluice source file"), ("audiences", "Sluice audiences")]
)
def test_a_schema_is_printed_outside_of_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: str, title: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert json.loads(CliRunner().invoke(app, ["schema", files]).output)["title"] == title


def test_a_mistake_is_reported_for_the_kind_that_is_written() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(CliRunner().invoke(app, ["schema"]).output))

    def mistakes(kind: str, **keys: str) -> list[str]:
        load = {"kind": kind, **keys}
        source = {"name": "s", "database": "raw", "config": {"meta": {"load": load}}, "tables": []}
        return [error.message for error in validator.iter_errors({"version": 2, "sources": [source]})]

    assert mistakes("database", connection="shop") == []
    assert mistakes("database", connection="shop", pth="x") == [
        "Additional properties are not allowed ('pth' was unexpected)"
    ]
    assert mistakes("databse") == [
        "'databse' is not one of ['database', 'files', 'rest', 'stream', 'python']"
    ]
