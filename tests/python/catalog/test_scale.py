"""2,000 models with 40,000 columns: how large the page is, how fast it opens and searches."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from sluice.catalog import build_document
from sluice.catalog.facts import CatalogFacts
from sluice.catalog.html_page import render
from sluice.config.glossary import Term
from sluice.dbt.manifest import Manifest
from sluice.lineage import load_graph
from sluice.runs.history import History
from tests.python.catalog import large

pytestmark = [pytest.mark.full, pytest.mark.alone, pytest.mark.timeout(600)]
QUERIES = (
    "customer",
    "custmer amuont",
    "revenue",
    "price of the stock",
    "order line eur",
    "a",
    "owner:somebody date",
)


@pytest.fixture(scope="module")
def big_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    manifest = large.manifest()
    begun = time.monotonic()
    graph = load_graph(Manifest(manifest), cache_file=folder / "lineage.sqlite")
    traced = time.monotonic()
    term = Term(term="revenue", meaning="Money.", synonyms=["turnover"], words=["revenue_eur", "amount"])
    gathered = CatalogFacts(Manifest(manifest), graph, History(folder / "none.sqlite"), [term])
    chance = random.Random(1)
    gathered.profiles = {
        key: {name: large.profile_of(chance, kind) for name, kind in columns}
        for key, columns in gathered.columns.items()
        if columns
    }
    document = build_document(gathered)
    count = sum(len(table["columns"]) for table in document["tables"])
    assert sum(table["kind"] == "model" for table in document["tables"]) >= 2_000
    assert count >= 40_000
    file = folder / "catalog.html"
    file.write_text(render(document), encoding="utf-8")
    sys.stdout.write(
        f"\n{len(document['tables'])} tables, {count} columns, {len(document['edges']) // 6} edges:"
        f" {file.stat().st_size / 1e6:.1f} MB; lineage {traced - begun:.0f} s, page {time.monotonic() - traced:.0f} s"
    )
    return file


@pytest.fixture
def big(browser: Browser, big_page: Path) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(f"file://{big_page}")
    page.wait_for_selector("h1")
    yield page
    page.close()


def test_it_is_a_file_one_can_send(big_page: Path) -> None:
    assert big_page.stat().st_size < 15e6


def test_it_opens_within_two_seconds(big: Page) -> None:
    shown = [big.evaluate("performance.getEntriesByName('catalog-ready')[0].startTime")]
    for _ in range(2):
        big.reload()
        big.wait_for_selector("h1")
        shown.append(big.evaluate("performance.getEntriesByName('catalog-ready')[0].startTime"))
    sys.stdout.write(f"\nopens in {', '.join(f'{ms:.0f}' for ms in shown)} ms")
    assert min(shown) < 2_000


def test_search_answers_within_a_tenth_of_a_second(big: Page) -> None:
    """From the key to the list of hits, at every letter typed; the median of a query, as the machine is shared."""
    big.wait_for_function("performance.getEntriesByName('catalog-searchable').length")
    medians = {}
    for query in QUERIES:
        for length in range(1, len(query) + 1):
            big.fill("#query", query[:length])
        big.wait_for_function(f"document.querySelector('#query').value === {query!r}")
        spent = sorted(big.evaluate("performance.getEntriesByName('catalog-search').map((e) => e.duration)"))
        assert big.locator(".hits > li").count() > 0
        medians[query] = (spent[len(spent) // 2], spent[-1])
        big.evaluate("performance.clearMeasures('catalog-search')")
    sys.stdout.write(
        "\n" + ", ".join(f"{q}: {median:.0f} ms, at most {most:.0f}" for q, (median, most) in medians.items())
    )
    assert max(median for median, _ in medians.values()) < 100


def test_lineage_and_layers_of_a_large_project_open(big: Page) -> None:
    for address in ("#/layers", "#/entities", "#/personal", "#/checks"):
        begun = time.monotonic()
        big.evaluate(f"location.hash = '{address}'")
        big.wait_for_function("document.querySelector('h1')")
        assert time.monotonic() - begun < 5
    name = big.evaluate("document.querySelector('main a.name')?.textContent ?? ''") or None
    big.evaluate("location.hash = '#/search?q=in:tables layer:marts'")
    big.locator(".hits a.name").first.click()
    big.locator(".columns summary").nth(3).click()
    big.get_by_role("link", name="from source to report").first.click()
    big.wait_for_selector(".graph, .hint, .list")
    assert big.locator(".list.into").count() == 1, name
