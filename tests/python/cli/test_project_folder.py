"""Where a project is: found upwards from any subfolder, with its `.env`; elsewhere nothing is made."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.cli import app
from sluice.config.settings import load_settings
from sluice.errors import SluiceError
from tests.python.project import Project

ROOT = Path(__file__).parents[3]
ANYWHERE = {"init completion", "new", "schema"}
"""Commands that need no project."""
COMMANDS = sorted(
    set(re.findall(r"^#+ `sluice ([a-z ]*[a-z])", (ROOT / "docs/cli.md").read_text(), re.M)) - ANYWHERE
)
NEEDED = {
    "serve": ["--audience", "analysts"],
    "lineage": ["orders.amount"],
    "load": ["shop"],
    "discover": ["sqlite:///shop.sqlite"],
    "sample": ["--rows", "1"],
    "show": ["orders"],
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def sluice(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder, with no other variables of Sluice than those given."""
    return subprocess.run(
        [sys.executable, "-c", "from sluice.cli import main; main()", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "PYTHONPATH": f"{ROOT}/pipelines:{ROOT}"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_outside_of_a_project_nothing_is_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_HOME", raising=False)
    done = CliRunner().invoke(app, [*command.split(), *NEEDED.get(command, [])])
    assert isinstance(done.exception, SluiceError)
    assert str(done.exception) == f"No Sluice project here: dbt_project.yml not found in {tmp_path} or above"
    assert (done.exception.exit, done.output, list(tmp_path.iterdir())) == (2, "", [])


def test_the_exit_code_outside_of_a_project(tmp_path: Path) -> None:
    done = sluice(tmp_path, "status")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.full
def test_in_a_subfolder_everything_is_as_in_the_project(project: Project) -> None:
    with sqlite3.connect(project.root / "till.db") as con:
        con.executescript("create table sales (id int); insert into sales values (1)")
    project.declare("till", {"kind": "database", "connection": "till"}, {"sales": {}})
    below = project.root / "models" / "marts"
    below.mkdir(parents=True)
    done = sluice(below, "load", CONNECTIONS__TILL__URL="sqlite:///till.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert project.raw("from till.sales select id") == [(1,)]
    assert list(below.iterdir()) == []


def test_the_project_s_env_file_completes_the_environment(project: Project) -> None:
    for name in ("file", "environment"):
        with sqlite3.connect(project.root / f"{name}.db") as con:
            con.executescript(f"create table sales (place text); insert into sales values ('{name}')")
    project.declare("till", {"kind": "database", "connection": "till"}, {"sales": {}})
    secret = "canary-5d1e"
    (project.root / ".env").write_text(
        "# connections of this project\n"
        "export SLUICE_HOME=elsewhere\n"
        "CONNECTIONS__TILL__URL='sqlite:///file.db'\n"
        f"CONNECTIONS__OTHER__PASSWORD={secret}\n"
    )
    first = sluice(project.root, "load")
    assert first.returncode == 0, first.stderr
    home = project.root / "elsewhere"
    assert sorted(p.name for p in project.root.glob("*/raw.duckdb")) == ["raw.duckdb"]
    given = sluice(
        project.root, "load", CONNECTIONS__TILL__URL="sqlite:///environment.db", SLUICE_HOME="warehouse"
    )
    assert given.returncode == 0, given.stderr
    assert project.raw("select place from till.sales") == [("environment",)]
    assert (home / "raw.duckdb").exists()
    said = first.stdout + first.stderr + given.stdout + given.stderr
    assert secret not in said
    assert not [f for f in home.rglob("*") if f.is_file() and secret.encode() in f.read_bytes()]


@pytest.mark.parametrize("line", ["A: b", 'A="b', 'A="b" c', "A b"])
def test_a_line_of_the_env_file_that_means_nothing_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (project.root / ".env").write_text(f"# ours\n\nSLUICE_HOME=elsewhere\n\n{line}\n")
    monkeypatch.setattr("os.environ", dict(os.environ))
    with pytest.raises(SluiceError, match=r"\.env:5: is not NAME=value") as refused:
        load_settings(project.root)
    assert refused.value.exit == 3


def test_a_home_below_the_user_s_is_found_there(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLUICE_HOME", "~/of mine")
    assert load_settings(project.root).home == tmp_path / "of mine"
    assert os.environ["SLUICE_HOME"] == str(tmp_path / "of mine"), "dbt's profile reads the same"


def test_an_env_file_that_cannot_be_read_is_named(project: Project) -> None:
    (project.root / ".env").write_bytes(b"PASSWORD=caf\xe9\n")
    done = sluice(project.root, "runs")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"{project.root / '.env'} cannot be read: it is not valid UTF-8\n"
