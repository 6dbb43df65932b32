"""Verdicts, and findings that somebody accepted."""

from __future__ import annotations

from sluice.review.findings import Finding, Level, accept, accepted_reasons, verdict

STOP = Finding("rows-lost", "fct", Level.STOP, "rows went")
LOOK = Finding("where-added", "int.lines", Level.LOOK, "a where")


def test_the_worst_finding_decides() -> None:
    assert verdict([]) is Level.SAFE
    assert verdict([LOOK]) is Level.LOOK
    assert verdict([LOOK, STOP]) is Level.STOP


def test_accepted_with_a_reason() -> None:
    text = "Why: tests went\n    -- review: accept rows-lost:fct because test orders are no sales\n"
    found = accept([STOP, LOOK], accepted_reasons(text))
    assert {f.id: f.accepted for f in found} == {
        "rows-lost:fct": "test orders are no sales",
        "where-added:int.lines": None,
    }
    assert verdict(found) is Level.LOOK


def test_a_pattern_accepts_all_it_fits() -> None:
    found = accept(
        [LOOK, STOP], accepted_reasons("{# review: accept where-added:* because it was asked for #}")
    )
    assert {f.kind: f.accepted for f in found} == {"where-added": "it was asked for", "rows-lost": None}


def test_without_a_reason_nothing_is_accepted() -> None:
    assert accepted_reasons("-- review: accept rows-lost:fct") == {}
    assert accepted_reasons("-- review: accept rows-lost:fct because ") == {}
    assert accepted_reasons("review: accept <id> because <reason>") == {}
