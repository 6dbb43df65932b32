"""pyproject.toml says what the code uses, and requirements.lock holds it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"sluice", "sandbox", "servers", "bench", "tests", "reference"}


def _normalised(requirement: str) -> str:
    """The name of a requirement or distribution, as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


def _declared(*extras: str) -> set[str]:
    """What is installed with the engine, and with its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = (project["optional-dependencies"][extra] for extra in extras)
    return {_normalised(r) for r in [*project["dependencies"], *(r for extra in optional for r in extra)]}


def _imported(file: Path) -> set[str]:
    """Top-level names of the libraries a file imports, wherever in the file."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    return {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names) - OURS


@cache
def _distributions() -> Mapping[str, list[str]]:
    """The distributions that have a module, by its name."""
    return packages_distributions()


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        ("pipelines/sluice/**/*.py", ()),
        ("pipelines/*.py", ("sandbox",)),
        ("sandbox/**/*.py", ("sandbox",)),
        ("servers/*.py", ("sandbox",)),
        ("bench/*.py", ("sandbox", "dev")),
        ("tests/**/*.py", ("sandbox", "dev")),
    ],
)
def test_what_is_imported_is_declared(files: str, extras: tuple[str, ...]) -> None:
    """A library that only comes along with another one goes when that one changes its mind."""
    declared, distributions = _declared(*extras), _distributions()
    missing = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sorted(ROOT.glob(files))
        for name in sorted(_imported(file))
        if name in distributions and not {_normalised(d) for d in distributions[name]} & declared
    ]
    assert not missing, (
        f"add to pyproject.toml ({' or '.join(extras) or 'dependencies'}), then `make lock`: {missing}"
    )


def test_the_lock_holds_what_is_declared() -> None:
    locked = {
        _normalised(name)
        for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M)
    }
    missing = sorted(_declared("project", "sandbox", "dev") - locked)
    assert not missing, f"requirements.lock is older than pyproject.toml, run `make lock`: {missing}"
