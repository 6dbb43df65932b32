"""A whole project by the commands people use: run, read what was published, look into the catalog, review a change."""

from __future__ import annotations

import base64
import gzip
import re
import sqlite3
import subprocess
from contextlib import closing

import duckdb
import pytest

from tests.python.small_project import ORDERS, PRODUCTS, SmallProject


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    return SmallProject(tmp_path_factory.mktemp("small") / "project")


@pytest.fixture(scope="module")
def summary(project: SmallProject) -> str:
    """What the first `sluice run` prints."""
    return project.sluice("run")


def test_only_the_owner_may_read_what_a_run_writes(project: SmallProject, summary: str) -> None:
    made = [*project.home.iterdir(), *(project.root / "target").iterdir()]
    assert summary
    assert {p.name for p in made} >= {
        "raw.duckdb",
        "warehouse.duckdb",
        "ledger.sqlite",
        "published",
        "manifest.json",
    }
    assert [p.name for p in made if p.stat().st_mode & 0o077] == []


def test_a_run_loads_builds_and_tests(project: SmallProject, summary: str) -> None:
    assert re.search(rf"shop +{ORDERS + PRODUCTS:,} +0 +0 .* ok", summary)
    assert "models: 2 built" in summary
    assert "tests: 7 passed" in summary
    for mart, query in (
        ("fct_orders", "select order_id, sku, step, amount from orders order by 1"),
        ("dim_products", "select sku, step from products order by 1"),
    ):
        with duckdb.connect(str(project.home / "warehouse.duckdb"), read_only=True) as con:
            built = con.execute(f"from marts.{mart} order by 1").fetchall()
        with closing(sqlite3.connect(project.root / "shop.sqlite")) as shop:
            assert built == shop.execute(query).fetchall()


def test_the_audience_has_its_copy(project: SmallProject, summary: str) -> None:
    with duckdb.connect(str(project.path), read_only=True) as con:
        assert con.execute("select count(*), sum(step) from fct_orders").fetchall() == [(ORDERS, 0)]


def test_the_catalog_shows_models_tests_and_lineage(project: SmallProject, summary: str) -> None:
    page = (project.root / "target" / "catalog.html").read_text(encoding="utf-8")
    blocks = re.findall(r'<script type="text/plain" id="data-[\w-]+">([^<]*)</script>', page)
    text = "".join(gzip.decompress(base64.b64decode(block)).decode() for block in blocks)
    for expected in ("fct_orders", "Price of the order.", "relationships_fct_orders_sku", "shop.orders"):
        assert expected in text


def test_a_second_load_loads_nothing(project: SmallProject, summary: str) -> None:
    again = project.sluice("load")
    assert re.search(r"shop +0 +0 +0 .* ok", again)


def test_a_review_counts_the_rows_a_change_costs(project: SmallProject, summary: str) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", *who, *arguments], cwd=project.root, check=True, capture_output=True)

    (project.root / ".gitignore").write_text("/warehouse/\n/target/\n/logs/\n/shop.sqlite\n")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "base")
    model = project.root / "models" / "fct_orders.sql"
    model.write_text(model.read_text() + "where sku > 0\n")
    review = project.sluice("review", "--base", "main")
    assert "where-added:fct_orders" in review
    assert f"| `fct_orders` | {ORDERS:,} → {ORDERS - ORDERS // PRODUCTS:,} |" in review
