"""What dbt reports of a build is counted, and failures are named."""

from __future__ import annotations

import json
from pathlib import Path

from sluice.config.settings import Settings
from sluice.dbt.run_results import build_result, read


def test_results_are_counted_and_failures_named(tmp_path: Path) -> None:
    results = [
        ("model.sluice.a", "success", None),
        ("seed.sluice.s", "success", None),
        ("model.sluice.b", "error", "Runtime Error in model b\n  long text"),
        ("model.sluice.c", "skipped", None),
        ("test.sluice.t", "pass", None),
        ("test.sluice.u", "fail", "Got 2 results, configured to fail if != 0"),
        ("test.sluice.v", "warn", "Got 1 result"),
        ("unit_test.sluice.w", "pass", None),
    ]
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "run_results.json").write_text(
        json.dumps({"results": [{"unique_id": u, "status": s, "message": m} for u, s, m in results]})
    )
    found = build_result(1, read(Settings(root=tmp_path, home=tmp_path / "warehouse")))
    assert dict(found.models) == {"success": 2, "error": 1, "skipped": 1}
    assert dict(found.tests) == {"pass": 2, "fail": 1, "warn": 1}
    assert not found.ok
    assert found.failures == [
        "model.sluice.b: Runtime Error in model b",
        "test.sluice.u: Got 2 results, configured to fail if != 0",
    ]
