"""dbt runs in a process of its own, and what depends on a failed load is left out."""

from __future__ import annotations

import pytest

from sluice.config.settings import Settings
from sluice.dbt import run_results
from sluice.dbt.run_results import build_result
from sluice.dbt.runner import dbt_session, excluding


def test_what_depends_on_failed_tables_is_left_out() -> None:
    assert excluding([]) == []
    assert excluding(["shop.orders", "web.views"]) == [
        "--exclude",
        "source:shop.orders+",
        "source:web.views+",
    ]


@pytest.mark.full
def test_a_node_that_fails_is_told_from_a_dbt_that_cannot_run(small: Settings) -> None:
    (small.root / "models" / "one.sql").write_text("select no_such_column", encoding="utf-8")
    with dbt_session(small) as dbt:
        assert dbt(["build"]) == 1
        assert build_result(0, run_results.read(small)).models == {"error": 1}
