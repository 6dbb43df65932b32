"""Personal data never reaches the page, whichever way it tries."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sqlite3
from typing import Any

import pytest

from sluice.catalog.facts import CatalogFacts
from sluice.dbt.manifest import Manifest
from sluice.lineage import Ref, load_graph
from sluice.privacy.propagation import declared_classes, personal_columns
from sluice.privacy.redaction import maskable_columns
from tests.python.catalog.small import CANARIES, Company

PIECES = [*CANARIES, *(canary.upper() for canary in CANARIES), "private.example", "5550199", "Kanarienvogel"]


def unpacked(page: str) -> str:
    """The page with its data blocks as text."""
    blocks = re.findall(r'<script type="text/plain" id="data-[\w-]+">([^<]*)</script>', page)
    assert len(blocks) >= 2
    return page + "".join(gzip.decompress(base64.b64decode(block)).decode() for block in blocks)


def test_no_canary_is_in_the_page(page_text: str) -> None:
    found = [piece for piece in PIECES if piece in unpacked(page_text)]
    assert not found, f"values of personal columns are in the catalog: {found}"


def test_no_canary_is_kept_in_the_history(company: Company) -> None:
    """Failing rows and messages are masked before they are kept, not when they are shown."""
    with sqlite3.connect(company.settings.ledger) as ledger:
        kept = [
            str(tuple(row))
            for table in ("build_results", "build_failing_rows")
            for row in ledger.execute(f"select * from {table}")
        ]
    assert kept
    assert not [piece for piece in PIECES if any(piece in row for row in kept)]


def test_profiles_leave_out_classed_columns_and_what_is_made_of_them(gathered: CatalogFacts) -> None:
    profiles = gathered.profiles
    assert set(profiles["model.small.dim_customers"]) == {"customer_key", "segment"}
    assert set(profiles["source.small.shop.customers"]) >= {"customer_id", "segment"}
    assert not {"email", "full_name"} & set(profiles["source.small.shop.customers"])


def test_values_that_look_personal_are_left_out_and_reported(gathered: CatalogFacts) -> None:
    note = gathered.profiles["source.small.shop.customers"]["note"]
    assert note.get("suspect")
    assert "top" not in note
    assert any(p.rule == "unclassed" and "note" in p.text for p in gathered.problems)


def test_personal_follows_values_and_not_influences(gathered: CatalogFacts) -> None:
    personal = gathered.personal
    assert personal[Ref("model.small.dim_customers", "shouted_name")].classes == {"name"}
    assert not personal[Ref("model.small.dim_customers", "shouted_name")].declared
    assert Ref("model.small.fct_orders", "customer_key") not in personal


def test_what_lineage_cannot_tell_counts_as_personal(company: Company, gathered: CatalogFacts) -> None:
    manifest: dict[str, Any] = json.loads(json.dumps(company.manifest))
    model = manifest["nodes"]["model.small.dim_customers"]
    model["compiled_code"] = "select this is not SQL at all from ("
    for column in model["columns"].values():
        column["meta"] = {}
    graph = load_graph(Manifest(manifest))
    personal = personal_columns(graph, declared_classes(gathered.manifest))
    assert personal[Ref("model.small.dim_customers", "segment")].maybe


@pytest.mark.parametrize(
    ("sql", "hidden"),
    [
        ('select email from "raw"."shop"."customers"', ["email"]),
        ('select lower(email) as x, count(*) as n from "raw"."shop"."customers" group by 1', ["email", None]),
        ('select c.full_name || segment as x, segment from "raw"."shop"."customers" as c', ["name", None]),
        ('select * from "warehouse"."marts"."dim_customers"', [None, "email", "name", None]),
        ('select segment from "raw"."shop"."customers" where email is null', [None]),
        ("select content from read_text('somewhere') as t", ["unknown"]),
    ],
)
def test_columns_of_failing_rows(gathered: CatalogFacts, sql: str, hidden: list[str | None]) -> None:
    names = {4: ["customer_key", "email", "shouted_name", "segment"]}.get(len(hidden))
    names = names or re.findall(r"(?:as |select |, )(\w+)(?=,| from)", sql)
    assert maskable_columns(sql, names, gathered.graph, gathered.personal) == hidden
