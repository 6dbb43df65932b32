"""Commands that run within the process of the tests."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.fixture(autouse=True)
def keeps_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands lower the priority of their process, which all tests after them would have."""
    for command in ("load", "run", "publish"):
        monkeypatch.setattr(import_module(f"sluice.cli.{command}"), "lower_priority", lambda: None)
