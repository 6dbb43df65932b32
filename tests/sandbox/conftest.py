"""The example company's tests: its world in small.

small_world       DuckDB connection with schema `events`: the sandbox's world at scale 0.01 until 2026-10-30
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import duckdb
import pytest


@pytest.fixture(scope="session")
def small_world() -> Iterator[duckdb.DuckDBPyConnection]:
    from sandbox import world

    with duckdb.connect() as con:
        world.generate(con, seed=42, scale=0.01, until=dt.date(2026, 10, 30))
        yield con
