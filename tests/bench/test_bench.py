"""The benchmarks themselves: they measure what they say, and every case still runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.__main__ import CASES, ROOT, measure
from bench.case import BenchError, Case, Figures, Subject, Taken, Verdict, over_limit, run
from bench.page import page, result_lines


def python(folder: Path, code: str) -> Subject:
    return Subject("python", [sys.executable, "-c", code], folder)


def test_a_run_is_measured_with_its_start_its_cpu_time_and_its_peak(tmp_path: Path) -> None:
    idle = run(python(tmp_path, "import time; time.sleep(0.5)"))
    assert idle.wall > 0.5 > idle.cpu
    assert idle.peak < 50e6, "the size of this process must not show as the child's"
    assert run(python(tmp_path, "x = b'x' * 200_000_000")).peak > 200e6


def test_a_run_that_fails_or_hangs_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such thing"):
        run(python(tmp_path, "raise SystemExit('no such thing')"))
    with pytest.raises(BenchError, match="124"):
        run(python(tmp_path, "import time; time.sleep(60)"), seconds=0.3)


def test_a_target_is_held_against_the_medians() -> None:
    def figures(*walls: float) -> Figures:
        return Figures([Taken(wall, 0, 0) for wall in walls])

    found = {"limit": figures(1, 9, 2), "sluice": figures(4, 3, 99)}
    assert over_limit(found, 1.5, 1.0) == Verdict(
        "at most 1.5 x limit + 1 s", "4.00 s is 1.50 x limit + 1 s", met=True
    )
    assert not over_limit(found, 1.4, 1.0).met


def test_the_page_without_results_says_what_would_be_measured() -> None:
    text = page({}, CASES)
    assert "Not measured yet" in text
    assert all(f"| {case.name} | {case.work} | {case.target} |" in text for case in CASES)


def test_cases_that_were_not_run_keep_their_part_of_the_page() -> None:
    taken = {
        "subjects": {},
        "verdicts": [{"asked": "a", "came": "2 x", "met": True}],
        "notes": [],
        "at": "now",
    }
    taken["subjects"] = {"limit": {"runs": [{"wall": 1.0, "cpu": 1.0, "peak": 1}], "rows": 1}}
    before = page({"csv": taken, "rest": taken}, CASES)
    after = page({"csv": taken | {"at": "later"}}, CASES, before)
    assert after == before.replace("measured now", "measured later", 1)
    assert after != before


def test_the_committed_page_has_every_case() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [case.name for case in CASES if case.work not in text] == [], "run: make bench"


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.sample(3)
def test_every_case_runs(case: type[Case], tmp_path: Path) -> None:
    """At a hundredth, once; `after` has compared the rows."""
    result = measure(case, tmp_path / case.name, 0.01, 1, stock=True, profile=True)
    if "skipped" in result:
        pytest.skip(result["skipped"])
    assert result["verdicts"]
    assert "whole, after the start of Python" in result["profile"]
    assert page({case.name: result | {"machine": _machine()}}, CASES)
    assert result_lines(result)


def _machine() -> dict[str, object]:
    return {"cores": 1, "memory": 1, "system": "any", "versions": {}}
