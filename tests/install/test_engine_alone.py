"""The engine's tests need the engine, the servers and the documentation, and nothing of AnyCompany."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
KEPT = (
    *("pipelines/sluice", "servers", "docs", "pyproject.toml"),
    *("tests/python", "tests/conftest.py", "tests/server_fixtures.py", "tests/blocks.py"),
)
"""All there is in the copy; docs without the words of AnyCompany's glossary."""
SLICE = (
    "tests/python/test_small_project.py",  # is loaded, built, published, catalogued and reviewed, by the commands
    "tests/python/cli/test_project_folder.py",
    *("tests/python/crash/test_documented.py", "tests/python/network/test_documented.py"),
    "tests/python/extract/test_pages.py",
)
"""The commands, what dbt reads, and whatever looks for a file above its own folder; the others make all they need."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("engine")
    for name in KEPT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(ROOT / name, root / name)
    (root / "docs" / "glossary.yml").unlink()
    return root


def _pytest(tree: Path, *arguments: str) -> str:
    """What pytest says in the copy, whose modules are found before the installed ones."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SLUICE"))},
        "PYTHONPATH": f"{tree / 'pipelines'}{os.pathsep}{tree}",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_every_test_of_the_engine_is_found(tree: Path) -> None:
    found = re.search(r"(\d+) tests collected", _pytest(tree, "--collect-only", "tests/python"))
    assert found
    assert int(found[1]) > 1500


def test_some_of_them_pass(tree: Path) -> None:
    _pytest(tree, "-m", "not full", *SLICE)
