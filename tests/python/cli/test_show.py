"""`sluice show`: what it prints, and its exit codes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sluice.cli import app
from sluice.config.settings import Settings
from sluice.dbt import preview as module
from sluice.dbt.preview import Preview
from sluice.errors import UsageError

command = importlib.import_module("sluice.cli.show")
LONG = "x" * 500
FOUND = Preview(
    "orders",
    "models/orders.sql",
    "select 1",
    "it uses adapter.get_relation",
    ("id", "[bold]"),
    [("1", None), ("2", "[red]a\x1b[31m\nb")],
    [{"id": 1, "[bold]": None}, {"id": 2, "[bold]": "b"}],
)


@pytest.fixture
def called(small: Settings, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What the command looks for, in a project where `FOUND` is all there is."""
    calls = []

    def preview(settings: Settings, name: str, limit: int) -> Preview:
        calls.append((name, limit))
        if name != "orders":
            raise UsageError("There is no model")
        return FOUND

    monkeypatch.chdir(small.root)
    monkeypatch.setattr(module, "preview", preview)
    return calls


def test_rows_are_printed_as_they_are(called: list[tuple[str, int]]) -> None:
    done = CliRunner().invoke(app, ["show", "orders", "--limit", "3"])
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "id  [bold]",
        "1   <null>",
        "2   [red]a [31m b",
    ]
    assert done.stderr == "compiled with dbt: it uses adapter.get_relation\n"
    assert (done.exit_code, called) == (0, [("orders", 3)])


def test_json_is_all_there_is_on_standard_output(called: list[tuple[str, int]]) -> None:
    done = CliRunner().invoke(app, ["show", "orders", "--json"])
    assert json.loads(done.stdout)["rows"] == FOUND.values
    assert called == [("orders", 5)]


def test_a_limit_is_at_least_one(called: list[tuple[str, int]]) -> None:
    assert CliRunner().invoke(app, ["show", "orders", "--limit", "0"]).exit_code == 2
    assert not called


@pytest.mark.parametrize("width", [20, 80])
def test_a_terminal_cuts_long_values(width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+", encoding="utf-8") as file:
        terminal = Console(
            file=file, force_terminal=True, width=width, soft_wrap=True, highlight=False, color_system=None
        )
        monkeypatch.setattr(command, "out", terminal)
        command._print_rows(Preview("m", "f", "", "", ("id", "text"), [("1", LONG), ("2", None)], []))
        file.seek(0)
        lines = [line.rstrip() for line in file]
    assert max(map(len, lines)) == width
    assert lines[1].startswith("text  xxx")
    assert lines[1].endswith("…")
    assert lines[4] == "text  <null>"
