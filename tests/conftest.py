"""All tests: in which order they run, and the real servers they use."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from sluice.config.settings import Settings
from tests.server_fixtures import *  # noqa: F403 - fixtures are found by their names


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C and so do its children; those under test must not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = (
    "test_end_to_end.py",
    "test_review.py",
    "install",
    "catalog",
    "review",
    "publish",
    "serve",
    "crash",
)
"""Files, and folders of files, that build a whole project first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: a worker that gets one last keeps everybody waiting."""

    def place(item: pytest.Item) -> int:
        names = {item.path.name, item.path.parent.name}
        return next((i for i, name in enumerate(LONGEST) if name in names), len(LONGEST))

    items.sort(key=place)


@pytest.fixture
def small(tmp_path: Path) -> Settings:
    """A dbt project of one model in a warehouse of its own."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one.sql").write_text("select 1 as id", encoding="utf-8")
    (tmp_path / "dbt_project.yml").write_text(
        "name: small\nprofile: small\nmodels: {+materialized: table}\nflags: {send_anonymous_usage_stats: false}\n"
    )
    file = tmp_path / "warehouse" / "warehouse.duckdb"
    file.parent.mkdir()
    (tmp_path / "profiles.yml").write_text(
        f"small: {{target: dev, outputs: {{dev: {{type: duckdb, path: '{file}'}}}}}}\n"
    )
    return Settings(root=tmp_path, home=tmp_path / "warehouse")
