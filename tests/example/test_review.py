"""Reviews of the patches, against the table beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.review import Level, Review, html, markdown
from sluice.review.model_changes import renames
from sluice.review.select_parts import FINAL
from tests.example.review_rig import PATCHES, Bench, Loaded, patches

EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((PATCHES / "expected.yml").read_text(encoding="utf-8"))
QUICK = ["aliases_and_parentheses", "data_class_removed", "generic_test_loosened", "left_join_turned_inner"]
"""One per verdict; the rest, and all with data, are in the long suite: dbt takes seconds, the company a minute."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("review"))


@pytest.fixture(scope="module")
def loaded(bench: Bench) -> Loaded:
    return Loaded(bench.folder / "home", bench.base)


def test_the_table_lists_every_patch() -> None:
    assert sorted(EXPECTED) == patches()


@pytest.mark.parametrize(
    "patch", [p if p in QUICK else pytest.param(p, marks=pytest.mark.full) for p in sorted(EXPECTED)]
)
@pytest.mark.sample(4)
def test_a_review_says_what_it_must_and_nothing_else(bench: Bench, patch: str) -> None:
    expected = EXPECTED[patch]
    found = bench.review(patch)
    assert {m.name: m.how for m in found.models} == expected.get("models", {})
    assert {f.id for f in found.findings if f.level > Level.SAFE} == set(expected.get("says", []))
    assert found.verdict.word == expected["verdict"]
    _is_whole(found)


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("patch", sorted(EXPECTED))
@pytest.mark.sample(5)
def test_a_review_builds_what_a_build_of_everything_builds(bench: Bench, loaded: Loaded, patch: str) -> None:
    """Every model that differs between two whole builds is named with its rows, and no other is."""
    expected = EXPECTED[patch].get("data") or {"verdict": EXPECTED[patch]["verdict"]}
    head = bench.branch(patch)
    found = bench.review(patch, loaded.settings)
    says = {*EXPECTED[patch].get("says", []), *expected.get("says", [])}
    assert {f.id for f in found.findings if f.level > Level.SAFE} == says
    assert found.verdict.word == expected["verdict"]
    if head.error:
        assert found.data.tables == []
        return
    models = {t.name: t for t in found.data.tables if t.id.startswith("model.") and not t.is_equal}
    compared = {n: t.rows for n, t in models.items() if None not in t.rows}
    rows = {name: n if n == "any" else tuple(n) for name, n in expected.get("rows", {}).items()}
    unsteady = {name for name, n in rows.items() if n == "any"}
    built = loaded.differences(head, renames(bench.base, head))
    assert {n: "any" if n in unsteady else r for n, r in compared.items()} == rows
    assert {n: "any" if n in unsteady else r for n, r in built.items()} == rows
    assert _costs(found) == expected.get("costs", {})
    text = markdown(found)
    assert expected.get("first", "") in text.split("\n\n")[1]
    for name, (before, after) in compared.items():
        assert f"| `{name}` | {before:,} → {after:,} |" in text
    for model in found.models:
        for clause in model.clauses:
            if clause.rows is not None:
                assert f"{clause.rows[0]:,} → {clause.rows[1]:,} rows of" in text


def _costs(found: Review) -> dict[str, list[int]]:
    """Rows without and with each clause that was counted, by kind, model and select."""
    costs = {}
    for model in found.models:
        for clause in model.clauses:
            if clause.rows is not None:
                scope = "" if clause.scope == FINAL else f".{clause.scope}"
                others = [] if clause.differ is None else [clause.differ]
                costs[f"{clause.kind}:{model.name}{scope}"] = [*clause.rows, *others]
    return costs


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
