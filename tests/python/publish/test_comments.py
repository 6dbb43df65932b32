"""Published tables and columns carry what the repository says of them, and nothing of what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from sluice.publish import rotate_key

from .conftest import ORDERS, PARQUET, Company

TABLE = 'One row per order. It\'s the "order book".\n\n**Primary key**: `order_id`'
COLUMNS = {"order_id": "Number of the order; isn't reused.", "contact_email": "Who ordered."}


@pytest.fixture
def described(company: Company) -> Company:
    describe(company, TABLE)
    return company


def describe(company: Company, text: str, audience: str = "analysts", **meta: Any) -> None:
    company.model("fct_orders", ORDERS, [audience], ["dim_customers"], meta)
    model = company.models["model.t.fct_orders"]
    model["description"] = text
    for name, comment in COLUMNS.items():
        model["columns"][name]["description"] = comment


def comments(
    company: Company, audience: str = "analysts", key: str | None = None
) -> tuple[dict[str, str | None], dict[str, str]]:
    """Those of an audience's tables, and those of the columns of fct_orders that have one."""
    tables = company.read(audience, "select table_name, comment from duckdb_tables()", key)
    columns = company.read(
        audience,
        "select column_name, comment from duckdb_columns() where table_name = 'fct_orders' and comment is not null",
        key,
    )
    return dict(tables), dict(columns)


def files(company: Company) -> list[Path]:
    return sorted((company.published / "current" / "analysts" / "fct_orders").rglob("*.parquet"))


def test_a_database_file_has_comments(described: Company) -> None:
    described.publish()
    tables, columns = comments(described)
    assert tables == {"fct_orders": TABLE, "dim_customers": None, "dim_products": None}
    assert columns == COLUMNS


def test_a_new_description_is_published_though_no_row_changed(described: Company) -> None:
    described.publish()
    assert described.publish().written["analysts"] == []
    describe(described, "One row per order.")
    assert "fct_orders" in described.publish().written["analysts"]
    assert comments(described)[0]["fct_orders"] == "One row per order."


@pytest.mark.parametrize("partition_by", [[], ["region"]])
def test_parquet_files_have_them_as_metadata(described: Company, partition_by: list[str]) -> None:
    described.policy(PARQUET.replace("    WHERE\n", ""))
    describe(described, TABLE, publish={"partition_by": partition_by})
    described.publish()
    assert len(files(described)) == (3 if partition_by else 1)
    for file in files(described):
        found = parquet.read_schema(file).metadata
        assert found[b"description"].decode() == TABLE
        assert json.loads(found[b"columns"]) == COLUMNS


def test_a_rotated_key_keeps_them(described: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    describe(described, TABLE, audience="support")
    monkeypatch.setenv("CONNECTIONS__PUBLISH_SUPPORT__KEY", "the first")
    described.publish()
    monkeypatch.setenv("CONNECTIONS__PUBLISH_SUPPORT__KEY_NEXT", "the next")
    rotate_key(described.settings, "support")
    tables, columns = comments(described, "support", "the next")
    assert (tables["fct_orders"], columns) == (TABLE, COLUMNS)
