"""Reviews of the patches in tests/review, against the table beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.review import Level, Review, html, markdown
from tests.python.review.rig import PATCHES, Bench, patches

EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((PATCHES / "expected.yml").read_text(encoding="utf-8"))
QUICK = [
    "aliases_and_parentheses",
    "comment_only",
    "data_class_removed",
    "left_join_turned_inner",
    "model_renamed",
]
"""One of each kind of change; the rest is in the long suite, since each takes dbt a second."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("review"))


def test_the_table_lists_every_patch() -> None:
    assert sorted(EXPECTED) == patches()


@pytest.mark.parametrize(
    "patch", [p if p in QUICK else pytest.param(p, marks=pytest.mark.full) for p in sorted(EXPECTED)]
)
def test_a_review_says_what_it_must_and_nothing_else(bench: Bench, patch: str) -> None:
    expected = EXPECTED[patch]
    found = bench.review(patch)
    assert {m.name: m.how for m in found.models} == expected.get("models", {})
    assert {f.id for f in found.findings if f.level > Level.SAFE} == set(expected.get("says", []))
    assert found.verdict.word == expected["verdict"]
    _is_whole(found)


def _is_whole(found: Review) -> None:
    """Both outputs can be written, and name each finding."""
    text, page = markdown(found), html(found)
    for finding in found.findings:
        if finding.level > Level.SAFE:
            assert finding.id in text
            assert finding.id in page
    assert "http" not in page.split("</style>")[0]


def test_patches_are_small() -> None:
    assert all(Path(PATCHES / f"{p}.patch").stat().st_size < 10_000 for p in patches())
