"""Masks and row filters in a publication."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.errors import DeclarationError
from sluice.publish import selection
from sluice.publish.selection import Digests

from .conftest import AUDIENCES, CUSTOMERS, Company


def test_a_type_holds_no_values_either(company: Company) -> None:
    """An ENUM lists its values in the file's catalogue, also when every row is null."""
    company.sql(
        "create or replace table marts.dim_customers as from marts.dim_customers",
        "alter table marts.dim_customers alter name type enum('ENUMCANARY') using 'ENUMCANARY'",
    )
    kind = "enum('ENUMCANARY')"
    company.model("dim_customers", {**CUSTOMERS, "name": (kind, "name")}, ["analysts", "support", "dach"])
    company.publish()
    assert b"ENUMCANARY" in company.path("support").read_bytes()
    assert b"ENUMCANARY" not in company.path("analysts").read_bytes()
    assert company.read("analysts", "select distinct name from dim_customers") == [(None,)]


def test_a_row_filter_for_a_model_that_is_not_there_is_a_mistake(company: Company) -> None:
    company.policy(
        AUDIENCES.replace(
            "unfiltered: [", "models: {dim_custmers: \"region = 'x'\"}, unfiltered: [dim_produkts, "
        )
    )
    with pytest.raises(DeclarationError) as wrong:
        company.publish()
    lines = str(wrong.value).splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "nothing was published:",
        "  audiences.yml: the row filter of dach names the model 'dim_custmers'",
        "  audiences.yml: the row filter of dach names the model 'dim_produkts'",
    ]


def test_masks_that_are_looked_up_are_the_same(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where values repeat, each is hashed once: the fingerprints say that nobody can tell, filtered rows and nulls too."""
    company.policy(
        AUDIENCES.replace("masks: {email: partial, name: hash}", "masks: {email: hash, name: hash}")
    )
    company.sql("update marts.fct_orders set contact_email = null where order_id % 10 = 0")
    company.publish()
    made: list[str | None] = []
    make = Digests._create

    def noted(*arguments: Any) -> str | None:
        made.append(make(*arguments))
        return made[-1]

    monkeypatch.setattr(Digests, "_create", noted)
    monkeypatch.setattr(selection, "FEW_ROWS", 1000)
    monkeypatch.setattr(selection, "REPEATED", 2)
    assert company.publish().written == {"analysts": [], "support": [], "dach": []}
    assert [bool(table) for table in made] == [False, True, False], "customers come once, their orders thrice"
    company.sql("update marts.fct_orders set amount = 0 where order_id = 3")
    assert company.publish().written["dach"], "what is looked up can be written"
