"""The project compiled as `make check` finds it: no warehouse, no raw data, no connection."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

Node = dict[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compiled", type=Path, help="target folder the project was compiled to just now")


@pytest.fixture(scope="session")
def manifest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """dbt's manifest with the compiled SQL of every model; made without a warehouse."""
    compiled: Path | None = request.config.getoption("compiled", None)
    target = ROOT / compiled if compiled else _compiled(tmp_path_factory.mktemp("compiled"))
    assert not (target / "no-warehouse").exists(), "compiling opened a warehouse"
    loaded: dict[str, Any] = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    return loaded


def _compiled(target: Path) -> Path:
    parsed = ROOT / "target" / "check" / "partial_parse.msgpack"
    if parsed.exists():  # what `make check` has parsed already; dbt parses again what has changed since
        shutil.copy(parsed, target)
    command = [str(Path(sys.executable).with_name("dbt")), "--quiet", "compile", "--target", "check"]
    options = [
        "--no-introspect",
        "--no-populate-cache",
        "--target-path",
        str(target),
        "--log-path",
        str(target),
    ]
    environment = {**os.environ, "SLUICE_HOME": str(target / "no-warehouse")}
    done = subprocess.run(command + options, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"the project does not compile without a warehouse:\n{done.stdout}{done.stderr}"
    )
    return target


@pytest.fixture(scope="session")
def models(manifest: dict[str, Any]) -> list[Node]:
    """The project's models, by path."""
    return sorted(_of_type(manifest, "model"), key=lambda node: str(node["path"]))


@pytest.fixture(scope="session")
def sources(manifest: dict[str, Any]) -> list[Node]:
    """The declared source tables."""
    return list(manifest["sources"].values())


def _of_type(manifest: dict[str, Any], kind: str) -> Iterator[Node]:
    yield from (node for node in manifest["nodes"].values() if node["resource_type"] == kind)
