"""The entity diagram: keys, references and how far they hold; text around it stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sluice.config.sources import load_sources
from sluice.discover.entity_diagram import as_declared_before, diagram, with_diagram
from sluice.discover.staged_tables import stage_source
from tests.python.discover.odd_project import RELATIONSHIPS, SHOP, OddProject


@pytest.fixture
def drawn(tmp_path: Path) -> str:
    odd = OddProject(tmp_path / "project", load=False)
    (source,) = load_sources(odd.settings.sources)
    return diagram(SHOP, stage_source(source), RELATIONSHIPS)


def test_keys_references_and_coverage_are_drawn(drawn: str) -> None:
    lines = {line.strip() for line in drawn.splitlines()}
    assert "bigint order_id PK, FK" in lines
    assert 'orders }o--|| customers : "customer_id"' in lines, "declared"
    assert 'orders }o..|| customers : "billing_customer_id"' in lines, "found"
    assert 'orders }o..o| coupons : "coupon_code (90.0 %)"' in lines
    assert "measure_1" not in drawn, "columns that refer to nothing are left out"


def test_a_guess_is_in_the_table_only(drawn: str) -> None:
    guesses = [line for line in drawn.splitlines() if "quantity" in line]
    assert guesses == [
        "        integer quantity FK",
        "| order_items | quantity | odd_shop.customers (id) | 100 % | by chance (confidence 0.30) |",
    ]


def test_the_part_of_a_source_is_replaced_and_others_stay() -> None:
    first = with_diagram(None, "shop", "old\n")
    both = with_diagram(first, "crm", "other\n") + "\nMine.\n"
    again = with_diagram(both, "shop", "new\n")
    assert "old" not in again
    assert [word for word in again.split() if word in ("new", "other", "Mine.")] == ["new", "other", "Mine."]


def test_a_constraint_stays_one_when_only_raw_is_looked_at(drawn: str) -> None:
    before = with_diagram(None, SHOP, drawn)
    in_raw = [replace(r, declared=False, confidence=0.95) for r in RELATIONSHIPS]
    known = as_declared_before(before, SHOP, in_raw)
    assert [r.columns for r in known if r.declared] == [r.columns for r in RELATIONSHIPS if r.declared]
    assert not any(r.declared for r in as_declared_before(None, SHOP, in_raw))
