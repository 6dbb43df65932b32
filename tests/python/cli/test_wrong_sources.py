"""One source with a mistake keeps only itself from being loaded; `check` refuses the project, and codes say so."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.cli import app
from sluice.errors import ConnectionError, DeclarationError, Exit
from tests.python.project import Project

WRONG = {
    "misspelt": "sources: [{name: x, database: raw, config: {meta: {load: {knd: python}}}, tables: []}]\n",
    "not YAML": 'sources:\n  - name: "x\n',
    "no function": "sources:\n  - name: x\n    database: raw\n    config: {meta: {load: {kind: python}}}\n"
    "    tables: [{name: t, config: {meta: {load: {resource: own.nothing}}}}]\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path)
    (tmp_path / "own.py").write_text("def numbers():\n    yield {'n': 1}\n")
    project.declare("near", {"kind": "python"}, {"numbers": {"resource": "own.numbers"}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_HOME", "warehouse")
    return project


@pytest.mark.parametrize("name", WRONG)
def test_the_others_are_loaded(project: Project, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    file = project.settings.sources / "x.yml"
    file.write_text(WRONG[name])
    done = CliRunner().invoke(app, ["load"])
    assert done.exit_code == Exit.DECLARATION, done.output
    assert "sources/x.yml:" in done.stderr
    assert "Sources with a mistake are left out." in done.stderr
    assert project.raw("select n from near.numbers") == [(1,)]
    with sqlite3.connect(project.settings.ledger) as con:
        assert con.execute("select status from runs").fetchall() == [("failed",)]

    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == Exit.DECLARATION
    assert "sources/x.yml:" in shown.stderr
    assert "near" in shown.stdout
    assert CliRunner().invoke(app, ["check"]).exit_code == Exit.DECLARATION
    (project.root / "own.py").write_text("def numbers():\n    raise ValueError\n    yield\n")
    monkeypatch.delitem(sys.modules, "own")
    assert CliRunner().invoke(app, ["load"]).exit_code == Exit.FAILED  # for more than one reason
    (project.root / "own.py").write_text("def numbers():\n    yield {'n': 1}\n")
    monkeypatch.delitem(sys.modules, "own")
    # what is named is sound, so the mistake elsewhere does not count
    chosen = CliRunner().invoke(app, ["load", "near"])
    assert (chosen.exit_code, "x.yml" in chosen.output) == (Exit.OK, False)
    named = CliRunner().invoke(app, ["load", "x"])
    assert isinstance(named.exception, DeclarationError)
    assert "x.yml:" in str(named.exception)
    assert "no source or table is called x" in str(named.exception)


def test_sources_that_share_a_name_are_both_left_out(project: Project) -> None:
    project.declare("far", {"kind": "python"}, {"numbers": {"resource": "own.numbers"}})
    text = (project.settings.sources / "near.yml").read_text()
    (project.settings.sources / "copy.yml").write_text(text.replace("own.numbers", "own.numbers # another"))
    done = CliRunner().invoke(app, ["load"])
    assert done.exit_code == Exit.DECLARATION
    assert "the name 'near' is already taken in" in done.stderr
    assert project.raw("select table_schema from information_schema.tables where table_name = 'numbers'") == [
        ("far",)
    ]


def test_nothing_is_started_without_a_sound_source(project: Project) -> None:
    (project.settings.sources / "near.yml").write_text(WRONG["misspelt"])
    done = CliRunner().invoke(app, ["load"])
    assert isinstance(done.exception, DeclarationError)
    assert not project.settings.raw.exists()


def test_check_reads_the_glossary_and_connections(project: Project) -> None:
    (project.root / "docs").mkdir()
    (project.root / "docs" / "glossary.yml").write_text("terms:\n  - trem: x\n    meaning: y\n")
    done = CliRunner().invoke(app, ["check"])
    assert done.exit_code == Exit.DECLARATION
    assert "docs/glossary.yml:2: terms.0.trem: is not a key here; allowed are" in done.stderr
    project.settings.home.mkdir(exist_ok=True)
    project.settings.connections.write_text("[connections.shop\n")
    assert "docs/glossary.yml:2: " in CliRunner().invoke(app, ["check"]).stderr
    (project.root / "docs" / "glossary.yml").unlink()
    done = CliRunner().invoke(app, ["check"])
    assert isinstance(done.exception, ConnectionError)
    assert "connections.toml:1: is not TOML" in str(done.exception)
