"""What is typed: suggestions, help, completion, the range of a load; and tables that are not cut."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.cli import app
from sluice.errors import SluiceError, did_you_mean
from tests.python.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path)
    project.declare("shop", {"kind": "database", "connection": "shop"}, {"orders": {}, "refunds": {}})
    (tmp_path / "audiences.yml").write_text("audiences: [{name: analysts, description: People.}]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_HOME", "warehouse")
    return project


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lod", "Did you mean 'load'?"),
        ("sandbx up", "Did you mean 'sandbox'?"),
        ("sandbox advace", "Did you mean 'advance'?"),
        ("load --ful-refresh", "--full-refresh"),
        ("load shpo", "Did you mean shop?"),
        ("load shop.ordrs", "Did you mean shop.orders"),
        ("load orders", "Did you mean shop.orders"),
        ("load Shop", "Did you mean shop?"),
        ("publish --rotate-key analist", "Did you mean analysts?"),
        ("serve --audience analist --issue-token ada", "Did you mean analysts?"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(project: Project, typed: str, meant: str) -> None:
    done = CliRunner().invoke(app, typed.split())
    assert meant in done.output + str(done.exception)
    assert done.exit_code == 2 or (isinstance(done.exception, SluiceError) and done.exception.exit == 3)


def test_what_is_like_nothing_gets_no_suggestion() -> None:
    assert did_you_mean("zzz", ["shop", "crm"]) == ""


@pytest.mark.parametrize("options", [["--from", "2026-01-01"], ["--to", "2026-01-01"]])
def test_a_range_is_for_tables_that_are_named(project: Project, options: list[str]) -> None:
    done = CliRunner().invoke(app, ["load", *options])
    assert done.exit_code == 2
    assert "name them" in done.output
    assert not project.settings.ledger.exists()


@pytest.mark.parametrize("command", ["", "load", "sandbox up"])
def test_h_is_help(command: str) -> None:
    short, long = (CliRunner().invoke(app, [*command.split(), option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.output == long.output


def test_commands_are_completed() -> None:
    environment = {
        **os.environ,
        "_SLUICE_COMPLETE": "complete_bash",
        "COMP_WORDS": "sluice pub",
        "COMP_CWORD": "1",
    }
    command = [str(Path(sys.executable).with_name("sluice")), "pub"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["publish"]


LONG = Path("published") / "a-folder-whose-name-is-rather-long-as-they-are-where-people-work" / "current"


def _print_paths() -> list[str]:
    """Python that prints a table of two paths that differ at their end."""
    code = (
        "from pathlib import Path; from sluice.cli.output import grid, print_table\n"
        "table = grid('audience', 'read it at')\n"
        f"for name in ('one', 'two'): table.add_row(name, '{LONG}/' + name + '.duckdb')\n"
        "print_table(table)"
    )
    return [sys.executable, "-c", code]


def test_nothing_is_cut_where_there_is_no_terminal() -> None:
    done = subprocess.run(_print_paths(), capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:]] == [
        f"{LONG}/{n}.duckdb" for n in ("one", "two")
    ]


def test_nothing_is_cut_on_a_narrow_terminal() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    with subprocess.Popen(_print_paths(), stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
    os.close(ours)
    assert process.returncode == 0
    assert all(f"{LONG}/{name}.duckdb" in said.decode() for name in ("one", "two")), said


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""
