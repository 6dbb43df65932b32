"""What the documentation says exists, and what exists is documented."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from sluice.cli import app
from sluice.config.json_schema import audiences_schema, json_schema
from sluice.errors import Exit
from tests.blocks import PAGES

ROOT = Path(__file__).parents[2]
CLI = (ROOT / "docs/cli.md").read_text()
DECISIONS = (ROOT / "docs/decisions.md").read_text()


def _commands(group: object, prefix: str = "sluice") -> list[str]:
    """Full names of the commands below a click group, in the order of its help."""
    names: list[str] = []
    if not isinstance(group, TyperGroup):
        return names
    context = Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command and not command.hidden:
            below = _commands(command, f"{prefix} {name}")
            is_itself = not below or getattr(command, "invoke_without_command", False)
            names += [*[f"{prefix} {name}"] * is_itself, *below]
    return names


@pytest.mark.parametrize("command", _commands(get_command(app)))
def test_every_command_is_documented(command: str) -> None:
    assert re.search(rf"^#+ .*`{command}\b", CLI, re.M), (
        f"docs/cli.md has no heading for `{command}`: add one"
    )


def test_every_documented_command_exists() -> None:
    documented = re.findall(r"^#+ `(sluice(?: [a-z-]+)*)", CLI, re.M)
    gone = sorted(set(documented) - set(_commands(get_command(app))))
    assert not gone, f"docs/cli.md describes commands that do not exist: {gone}"


def test_exit_codes_are_documented() -> None:
    table = {int(code): name for code, name in re.findall(r"^\| (\d+) \| `(\w+)`", CLI, re.M)}
    assert table == {int(code): code.name for code in Exit}, (
        "the table of docs/cli.md differs from pipelines/sluice/errors.py"
    )


def test_schema_for_editors_is_what_the_models_say() -> None:
    for name, schema in {"source": json_schema(), "audiences": audiences_schema()}.items():
        written = json.loads((ROOT / f"schemas/{name}.schema.json").read_text())
        assert written == schema, f"schemas/{name}.schema.json is out of date: run `make schema`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    dead = [target for target in targets if not (page.parent / target).exists()]
    assert not dead, f"{page.relative_to(ROOT)} links to what is not there: {dead}"


def test_decisions_name_tests_that_exist() -> None:
    named = set(re.findall(r"`((?:tests|models)/[\w/.-]+)(?:::(\w+))?`", DECISIONS))
    assert named, "docs/decisions.md names the test that enforces each decision"
    gone = [
        f"{file}::{test}" if test else file
        for file, test in sorted(named)
        if not (ROOT / file).exists()
        or not re.search(rf"(def|- name:) {test}\b" if test else "", (ROOT / file).read_text())
    ]
    assert not gone, f"docs/decisions.md names tests that do not exist: {gone}"


def test_modules_that_pages_name_exist() -> None:
    """`load/run.py` and `pipelines/sluice/load/run.py` mean the same; sandbox/ and servers/ begin at the root."""
    engine = ROOT / "pipelines" / "sluice"
    gone = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in [*PAGES, ROOT / "CONTRIBUTING.md"]
        for name in re.findall(r"`([a-z]\w*/[\w/]+\.py)\b", page.read_text(encoding="utf-8"))
        if not any((folder / name).exists() for folder in (engine, ROOT, ROOT / "tests" / "python"))
    ]
    # an example of the reader's own
    gone = [name for name in gone if not name.endswith("pipelines/weather.py")]
    assert not gone, f"pages name modules that do not exist: {gone}"


def test_no_registry_address_and_no_machine_path_is_committed() -> None:
    """A lock or a config with an index address works on one network only."""
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    pattern = re.compile(
        r"--(extra-)?index-url|--find-links|file:///|(?<![\w.])/(root|home|work|opt)/\w", re.M
    )
    found = [
        f"{name}: {match.group(0)}"
        for name in files.split("\0")
        if name and name != "tests/project/test_documentation.py" and (ROOT / name).is_file()
        for match in pattern.finditer((ROOT / name).read_text(errors="ignore"))
    ]
    assert not found, f"names a registry or a folder of one machine: {found}"
