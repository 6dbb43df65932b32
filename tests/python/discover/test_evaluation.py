"""The table in docs/discover.md is what the code infers: every row is measured again."""

from __future__ import annotations

import re

import pytest

from tests.blocks import ROOT
from tests.python.discover.evaluation import PARTS, SCHEMAS, Measured, measured

PAGE = ROOT / "docs" / "discover.md"
NAMES = sorted(file.stem for file in SCHEMAS.glob("*.yml") if not file.stem.endswith(".truth"))


def row_of(name: str) -> list[str]:
    """The cells of the page's row about a schema."""
    found = re.findall(rf"^\| `{re.escape(name)}`[^|]*\|(.+)\|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(found) == 1, f"docs/discover.md has {len(found)} rows of `{name}`"
    return [cell.strip() for cell in found[0].split("|")]


def shown(outcome: Measured) -> list[str]:
    """The cells that a measurement gives."""
    return [str(outcome.scores[part]) for part in PARTS]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if "traps" in name else pytest.mark.full) for name in NAMES]
)
def test_the_page_says_what_is_measured(name: str) -> None:
    outcome = measured(name)
    assert row_of(name) == shown(outcome), f"wrong: {outcome.wrong}\nmissed: {outcome.missed}"


@pytest.mark.full
def test_declared_constraints_are_taken_as_they_are() -> None:
    outcome = measured("pagila", declared=True)
    assert row_of("pagila with constraints") == shown(outcome)


def test_the_page_has_no_other_row() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Measured")[2]
    rows = set(re.findall(r"^\| `([\w ]+)`", table, re.M))
    assert rows == {*NAMES, "pagila with constraints", "AnyCompany"}
