"""The two projects that know nothing of Sluice, each built once; a test gets the work tree as it was committed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.python.adopt import foreign
from tests.python.adopt.foreign import VARIABLES, Foreign


@pytest.fixture(scope="session")
def built_bakery(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    return foreign.bakery(tmp_path_factory.mktemp("Bäckerei Süd"))


@pytest.fixture(scope="session")
def built_rides(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    return foreign.rides(tmp_path_factory.mktemp("Ida's"))


@pytest.fixture
def bakery(built_bakery: Foreign, monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    yield from _as_committed(built_bakery, monkeypatch)


@pytest.fixture
def rides(built_rides: Foreign, monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    yield from _as_committed(built_rides, monkeypatch)


def _as_committed(project: Foreign, monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    monkeypatch.setenv("HOME", str(project.user))
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(project.root)
    yield project
    subprocess.run(["git", "reset", "-q", "--hard", "main"], cwd=project.root, check=True)
    subprocess.run(["git", "clean", "-qfd"], cwd=project.root, check=True)
