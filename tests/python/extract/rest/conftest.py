"""The API of one test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sluice.extract import retries
from tests.python.extract.rest.api import Api


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    api = Api()
    yield api
    api.server.shutdown()
    api.server.server_close()
