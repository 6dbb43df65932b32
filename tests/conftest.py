"""All tests: in which order they run, and the real servers they use."""

from __future__ import annotations

import signal

import pytest

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
