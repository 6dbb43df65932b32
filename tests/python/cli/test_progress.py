"""Where there is no terminal, what takes long says now and then what it does and how far it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.cli import app, progress
from sluice.cli.output import err
from tests.python.project import Project


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.1)


def test_a_load_says_what_it_has_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    (tmp_path / "slow_numbers.py").write_text(
        "import time\ndef numbers():\n"
        "    yield [{'n': n} for n in range(20_000)]\n    time.sleep(1)\n    yield {'n': -1}\n"
    )
    project.declare("near", {"kind": "python"}, {"numbers": {"resource": "slow_numbers.numbers"}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_HOME", "warehouse")
    done = CliRunner().invoke(app, ["load", "--json"])
    assert done.exit_code == 0
    said = done.stderr.splitlines()
    assert any(line.startswith("load near: 0 rows; ") for line in said), said
    assert any(line.startswith("load near: 20,000 rows, the last of numbers; ") for line in said), said


def test_a_step_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.StillRunning("publish") as running:
        running.detail("analysts, audience 1 of 2")
        time.sleep(0.3)
        running.begin("catalog")
        time.sleep(0.3)
    time.sleep(0.2)
    said = capsys.readouterr()
    assert said.out == ""
    assert "publish: analysts, audience 1 of 2; 0 s so far" in said.err
    assert said.err.splitlines()[-1] == "catalog; 0 s so far"


def test_a_terminal_is_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(err, "_force_terminal", True)
    with progress.StillRunning("publish"):
        time.sleep(0.3)
    assert capsys.readouterr().err == ""
