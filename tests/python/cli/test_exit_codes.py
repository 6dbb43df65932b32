"""Each exit code that docs/cli.md documents, from commands that end with it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluice.cli import app
from sluice.engine.locks import locked
from sluice.errors import Exit, SluiceError
from tests.python.project import Project

CLI = Path(__file__).parents[3] / "docs" / "cli.md"
UNREACHABLE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "database": ({"kind": "database", "connection": "far_database"}, {}, "sqlite:///nowhere.db"),
    "no_url": ({"kind": "database", "connection": "far_no_url"}, {}, "nothing that a driver knows"),
    "files": ({"kind": "files", "url": "nowhere"}, {"path": "*.csv", "format": "csv"}, ""),
    "rest": (
        {
            "kind": "rest",
            "client": {
                "base_url": "http://127.0.0.1:9",
                "auth": {"type": "bearer", "token": "${far_rest.token}"},
            },
        },
        {"endpoint": {"path": "items", "paginator": "single_page"}},
        "",
    ),
    "stream": (
        {"kind": "stream", "connection": "far_stream", "protocol": "nats"},
        {"stream": "A", "subject": "a.b"},
        "",
    ),
}
"""A source of each kind that cannot be reached, or whose secret is missing: its load, its table's, its url."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path)
    (tmp_path / "audiences.yml").write_text("audiences: [{name: analysts, description: People.}]\n")
    (tmp_path / "own.py").write_text("def numbers():\n    yield {'n': 1}\n")
    project.declare("near", {"kind": "python"}, {"numbers": {"resource": "own.numbers"}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_HOME", "warehouse")
    monkeypatch.setenv("SLUICE_LOCK_SECONDS", "0")
    return project


def code(command: str) -> int:
    """What `sluice` with these arguments ends with."""
    done = CliRunner().invoke(app, command.split())
    if isinstance(done.exception, SluiceError):
        return int(done.exception.exit)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code


def test_every_code_is_tested() -> None:
    codes = {int(number) for number in re.findall(r"^\| (\d+) \| `", CLI.read_text(), re.M)}
    tested = {int(name.split("_")[2]) for name in globals() if re.match(r"test_code_\d", name)}
    assert tested == codes


@pytest.mark.parametrize("command", ["--version", "-h", "status", "runs", "load"])
def test_code_0(project: Project, command: str) -> None:
    assert code(command) == Exit.OK


@pytest.mark.parametrize(
    "command", ["publish", "catalog", "lineage a.b", "publish --rollback", "review --base nothing"]
)
def test_code_1(project: Project, command: str) -> None:
    assert code(command) == Exit.FAILED


def test_code_1_also_where_a_connection_failed_beside_something_else(project: Project) -> None:
    project.declare("far", {"kind": "database", "connection": "far"}, {"things": {}})
    (project.root / "broken.py").write_text("def numbers():\n    raise ValueError\n    yield\n")
    project.declare("near", {"kind": "python"}, {"numbers": {"resource": "broken.numbers"}})
    assert code("load") == Exit.FAILED


@pytest.mark.parametrize(
    "command",
    ["nothing", "load --nothing", "load --from 1", "load near --from 1 --full-refresh", "runs --limit none", "serve",
     "publish v1", "publish --versions --rollback", "publish --rotate-key analysts --accept-rows",
     "serve --audience analysts --log --issue-token ada", "serve --audience analysts --port 65536",
     "serve --audience analysts --certificate x", "review --fail-on safe", "lineage"],
)  # fmt: skip
def test_code_2(project: Project, command: str) -> None:
    assert code(command) == Exit.USAGE


@pytest.mark.parametrize(
    "command",
    [
        "load nothing",
        "load near.nothing",
        "serve --audience nobody --issue-token ada",
        "serve --audience nobody --log",
    ],
)
def test_code_3_for_what_is_not_declared(project: Project, command: str) -> None:
    assert code(command) == Exit.DECLARATION


def test_code_2_for_a_name_without_letters(project: Project) -> None:
    for name in ("--issue-token", "--rotate-key"):
        command = ["serve", "--audience", "analysts"] if name == "--issue-token" else ["publish"]
        done = CliRunner().invoke(app, [*command, name, ""])
        assert isinstance(done.exception, SluiceError), done.output


@pytest.mark.parametrize("command", ["check", "load", "status"])
def test_code_3_for_a_mistake(project: Project, command: str) -> None:
    project.declare("wrong", {"kind": "nothing"}, {"x": {}})
    assert code(command) == Exit.DECLARATION


def test_code_3_for_a_project_file_that_cannot_be_read(project: Project) -> None:
    (project.root / "dbt_project.yml").write_text("name: [x\n")
    assert code("check") == Exit.DECLARATION


@pytest.mark.full
def test_code_4_for_every_kind(project: Project) -> None:
    for kind, (load, table, url) in UNREACHABLE.items():
        project.declare(kind, load, {"things": table})
        project.connect("far_" + kind, url=url)
    done = project.sluice("load", "--json")
    failed = {s["source"] for s in json.loads(done.stdout)["sources"] if s["status"] == "failed"}
    assert failed == set(UNREACHABLE)
    assert done.returncode == Exit.CONNECTION
    assert project.raw("select n from near.numbers") == [(1,)]


@pytest.mark.parametrize("command", ["load", "build"])
def test_code_5(project: Project, command: str) -> None:
    with locked(project.settings.home, "another", 0):
        assert code(command) == Exit.LOCKED


def test_code_5_where_the_warehouse_is_open_elsewhere(project: Project) -> None:
    file = project.settings.warehouse
    file.parent.mkdir(exist_ok=True)
    holding = f"import duckdb, sys; c = duckdb.connect({str(file)!r}); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline()
        done = project.sluice("build")
        assert holder.stdin
        holder.stdin.close()
    assert (done.returncode, done.stdout) == (Exit.LOCKED, "")
    assert re.search(rf"warehouse\.duckdb is open in another process, .*PID {holder.pid}", done.stderr)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    code = "from sluice import cli; cli.app = lambda: open('nowhere/page.html', 'w'); cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (Exit.FAILED, "")
    assert done.stderr == "[Errno 2] No such file or directory: 'nowhere/page.html'\n"


def test_code_130(project: Project) -> None:
    (project.root / "own.py").write_text(
        "import time\ndef numbers():\n    yield {'n': 1}\n    time.sleep(60)\n"
    )
    with project.loading("near") as process:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(10) == Exit.INTERRUPTED
        except subprocess.TimeoutExpired:
            process.kill()
            raise
