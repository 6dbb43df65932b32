"""What the catalog keeps (row counts, profiles, lineage) never shows: a page is as one made from nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sluice.catalog import build_document, gather, render
from sluice.dbt.build_state import BuildState, NodeState, keep_state
from sluice.engine import warehouse
from sluice.engine.raw_versions import RawVersions
from tests.python.catalog.small import MODELS, RAW, Company

FCT = "model.small.fct_orders"
VIEW = "model.small.stg_shop__orders"


@pytest.fixture
def company(tmp_path: Path) -> Company:
    made = Company(tmp_path / "small").live()
    built(made)
    return made


def built(company: Company, **changed: str) -> None:
    """What a build leaves: a fingerprint of each model, another one for those in `changed`."""
    parents = {key: node["depends_on"]["nodes"] for key, node in company.manifest["nodes"].items()}
    RawVersions(company.settings.raw).keep((), "")
    nodes = {
        (key := f"model.small.{name}"): NodeState(
            sql,
            "",
            dict.fromkeys(parents[key], ""),
            changed.get(name, "same"),
            "2026-01-01T00:00:00+00:00",
            is_view=company.manifest["nodes"][key]["config"]["materialized"] == "view",
        )
        for name, (_, _, sql) in MODELS.items()
    }
    sources = {f"source.small.shop.{name}": ["shop", name] for name in RAW}
    keep_state(company.settings, BuildState(nodes=nodes, sources=sources))


def page(company: Company) -> tuple[dict[str, Any], str]:
    """The document and the page, but for the time at which it was written."""
    document = build_document(gather(company.settings))
    document["project"]["writtenAt"] = ""
    return document, render(document)


def in_warehouse(company: Company, sql: str) -> None:
    with duckdb.connect(":memory:") as con:
        con.execute(f"attach '{company.settings.raw}' as raw (read_only)")
        con.execute(f"attach '{company.settings.warehouse}' as warehouse")
        con.execute(sql)


def described(company: Company) -> None:
    company.manifest["nodes"][FCT]["description"] = "One row per order that was ever placed."
    company.write_manifest()


def column_described(company: Company) -> None:
    company.manifest["nodes"][FCT]["columns"]["amount_eur"]["description"] = "What was paid, in EUR."
    company.write_manifest()


def classed(company: Company) -> None:
    column = company.manifest["nodes"][FCT]["columns"]["status"]
    column.setdefault("config", {})["meta"] = {"data_class": "status"}
    company.write_manifest()


def without_a_test(company: Company) -> None:
    del company.manifest["nodes"]["test.small.primary_key_rpt"]
    company.write_manifest()


def sql_changed(company: Company) -> None:
    node = company.manifest["nodes"][FCT]
    node["compiled_code"] = node["raw_code"] = node["raw_code"].replace(
        "o.status,", "upper(c.segment) as status,"
    )
    company.write_manifest()


def tested_again(company: Company) -> None:
    company.build("build-now", datetime.now(UTC) + timedelta(seconds=1), {"primary_key_fct_orders": 3})


def rows_changed(company: Company) -> None:
    in_warehouse(company, "delete from warehouse.marts.fct_orders where order_id < 100")
    built(company, fct_orders="other")


def rows_changed_behind_the_build(company: Company) -> None:
    in_warehouse(company, "delete from warehouse.marts.fct_orders where order_id < 100")


def type_changed(company: Company) -> None:
    in_warehouse(company, "alter table warehouse.marts.fct_orders alter amount_eur type double")
    built(company, fct_orders="other")


def view_changed(company: Company) -> None:
    in_warehouse(
        company,
        f"create or replace view warehouse.staging.stg_shop__orders as {MODELS['stg_shop__orders'][2]} limit 9",
    )
    built(company, stg_shop__orders="other")


def source_loaded(company: Company) -> None:
    with duckdb.connect(str(company.settings.raw)) as raw:
        raw.execute("delete from shop.orders where order_id < 100")
    RawVersions(company.settings.raw).keep([("shop", "orders")], "run-2")


def cache_broken(company: Company) -> None:
    """The one change that may not be seen."""
    company.settings.lineage_cache.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(
    "change",
    [
        *(described, column_described, classed, without_a_test, sql_changed, tested_again),
        *(
            rows_changed,
            rows_changed_behind_the_build,
            type_changed,
            view_changed,
            source_loaded,
            cache_broken,
        ),
    ],
)
def test_a_page_after_a_change_is_as_one_made_from_nothing(
    change: Callable[[Company], None], company: Company
) -> None:
    document, before = page(company)
    assert page(company) == (document, before)
    change(company)
    changed, after = page(company)
    assert (after != before) == (change is not cache_broken)
    company.settings.lineage_cache.unlink(missing_ok=True)
    document, fresh = page(company)
    assert document == changed
    assert fresh == after


def test_only_what_changed_is_counted(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    gather(company.settings)
    counted: list[str] = []

    def count(connection: duckdb.DuckDBPyConnection, relation: str) -> int | None:
        counted.append(relation)
        return warehouse.count_rows(connection, relation)

    monkeypatch.setattr("sluice.catalog.row_counts.count_rows", count)
    rows_changed(company)
    found = gather(company.settings).row_counts
    assert counted == ['"warehouse"."marts"."fct_orders"']
    assert found[FCT] == 400
    assert found[VIEW] == 500
