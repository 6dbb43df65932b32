"""All tests: in which order they run, and the real servers they use."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.config.settings import Settings
from tests.server_fixtures import *  # noqa: F403 - fixtures are found by their names


def pytest_configure(config: pytest.Config) -> None:
    if not os.environ.get(ALL_CASES):
        config.pluginmanager.register(Sampling())
    # A shell's background job ignores Ctrl-C and so do its children; those under test must not.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Collecting the tests alone made the collector walk the libraries so often that a third of the time went there.
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_finish() -> None:
    """Libraries and tests stay to the end: the collector need not look at them each time."""
    gc.freeze()


UMASK = os.umask(0o022)
os.umask(UMASK)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A command that ran within this process has kept new files private, also from the servers that tests start."""
    os.umask(UMASK)


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


ALL_CASES = "SLUICE_TEST_ALL_CASES"
"""Set this variable to run every case of every test."""


def _commit() -> str:
    """Of the repository; empty where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class Sampling:
    """Of a test with `@pytest.mark.sample(n)` that would run with more than n cases, the n that the commit draws."""

    @pytest.hookimpl(trylast=True)  # after -m, -k and the names of tests have chosen
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        cases = defaultdict(list)
        for item in items:
            if item.get_closest_marker("sample"):
                cases[item.nodeid.partition("[")[0]].append(item)
        commit = _commit() if cases else ""

        def drawn(item: pytest.Item) -> str:
            return hashlib.sha256(f"{commit} {item.nodeid}".encode()).hexdigest()

        left_out = set()
        for several in cases.values():
            mark = several[0].get_closest_marker("sample")
            assert mark
            left_out.update(sorted(several, key=drawn)[mark.args[0] :])
        if left_out:
            config.hook.pytest_deselected(items=list(left_out))
            items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def leaves_the_priority() -> Iterator[None]:
    """A command that runs within this process would lower it for all tests that follow."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    yield
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


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
