"""`sluice lineage` as a person and a program meet it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.config.settings import Settings
from sluice.dbt.runner import compiled_manifest, dbt
from sluice.errors import SluiceError
from sluice.lineage import describe, read_project
from tests.python.project import Project


def _model(name: str, sql: str | None, parents: list[str]) -> dict[str, Any]:
    return {
        "unique_id": f"model.p.{name}",
        "resource_type": "model",
        "name": name,
        "relation_name": f'"w"."main"."{name}"',
        "compiled_code": sql,
        "columns": {},
        "config": {"materialized": "table"},
        "depends_on": {"nodes": parents},
    }


ORDERS = {
    "unique_id": "source.p.shop.orders",
    "source_name": "shop",
    "name": "orders",
    "identifier": "orders",
    "relation_name": '"raw"."shop"."orders"',
    "columns": {
        "amount": {"name": "amount", "data_type": "integer", "config": {"meta": {"field": "grossAmount"}}},
        "status": {"name": "status", "data_type": "text", "config": {}},
    },
    "config": {"meta": {"owner": "shop@example.com", "load": {}}},
    "source_meta": {"load": {"kind": "database", "connection": "shop"}},
}
SALES = "select sum(amount) as amount_eur, status as order_status from raw.shop.orders where status <> 'void' group by all"
BOARD = {
    "unique_id": "exposure.p.board",
    "name": "board",
    "owner": {"email": "board@example.com"},
    "depends_on": {"nodes": ["model.p.fct_sales"]},
}
MANIFEST = {
    "sources": {"source.p.shop.orders": ORDERS},
    "nodes": {
        "model.p.fct_sales": _model("fct_sales", SALES, ["source.p.shop.orders"]),
        "model.p.by_hand": _model("by_hand", "select amount_eur, from (", ["model.p.fct_sales"]),
    },
    "exposures": {"exposure.p.board": BOARD},
}

Lineage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    project = Project(tmp_path)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    return lambda *arguments: project.sluice("lineage", *arguments)


def test_up_to_the_field_of_the_source(lineage: Lineage) -> None:
    done = lineage("fct_sales.amount_eur", "--up")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "fct_sales.amount_eur"
    assert "└─ aggregation: shop.orders.amount  [database shop: orders, field grossAmount]" in lines
    assert "  shop.orders: status (filter, group)" in lines
    assert lineage("fct_sales.amount_eur").stdout == done.stdout  # up is what is meant without a word


def test_down_to_the_dashboard_and_its_owner(lineage: Lineage) -> None:
    done = lineage("shop.orders.status", "--down")
    assert done.returncode == 0
    assert "identity: fct_sales.order_status" in done.stdout
    assert "board@example.com" in done.stdout
    assert "Not known:\n  by_hand: not parsed" in done.stdout  # never shown as nothing


def test_for_programs(lineage: Lineage) -> None:
    done = lineage("fct_sales.amount_eur", "--json")
    data = json.loads(done.stdout)
    assert (data["column"], data["direction"]) == ("fct_sales.amount_eur", "up")
    found = {(r["name"], r["column"], r["type"]): r for r in data["reached"]}
    assert found["shop.orders", "amount", "value"]["kinds"] == ["aggregation"]
    assert found["shop.orders", "amount", "value"]["source_field"] == "grossAmount"
    assert "filter" in found["shop.orders", "status", "influence"]["kinds"]
    assert ("shop.orders", "status", "value") not in found
    assert [
        u["node"] for u in json.loads(lineage("fct_sales.amount_eur", "--down", "--json").stdout)["unknowns"]
    ] == ["by_hand"]


def test_openlineage_for_other_tools(lineage: Lineage, tmp_path: Path) -> None:
    done = lineage("--openlineage", str(tmp_path / "events"))
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["2", "events"])
    event = json.loads((tmp_path / "events" / "fct_sales.json").read_text(encoding="utf-8"))
    facet = event["outputs"][0]["facets"]["columnLineage"]
    (amount,) = facet["fields"]["amount_eur"]["inputFields"]
    assert (amount["name"], amount["field"]) == ("raw.shop.orders", "amount")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("fct_sales.amount_eu", "fct_sales has no column amount_eu. Did you mean amount_eur?"),
        ("fct_sale.amount_eur", "Did you mean fct_sales.amount_eur?"),
        ("shop.order.status", "Did you mean shop.orders.status?"),
        ("fct_sales", "fct_sales is a table. Name one of its columns: <table>.<column>. It has: "),
        (
            "qwertz.x",
            "qwertz is no model, source table, seed, snapshot, metric or exposure here. Name a column: <model>.<column>",
        ),
    ],
)
def test_an_unknown_column_is_answered_with_near_ones(tmp_path: Path, column: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    with pytest.raises(SluiceError, match=re.escape(said)):
        describe(read_project(tmp_path), column)


def test_a_mistake_is_no_traceback(lineage: Lineage) -> None:
    done = lineage("fct_sales.amount_eu")
    assert done.returncode not in (0, 2)
    assert "Did you mean amount_eur?" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_without_a_column_or_a_manifest(lineage: Lineage, tmp_path: Path) -> None:
    done = lineage()
    assert done.returncode == 2
    assert "name a column, such as orders.amount" in " ".join(done.stderr.replace("│", " ").split())
    (tmp_path / "target" / "manifest.json").unlink()
    done = lineage("fct_sales.amount_eur")
    assert done.returncode not in (0, 2)
    assert "Run `sluice build` first" in done.stderr


@pytest.mark.full
def test_what_dbt_only_parsed_is_compiled(small: Settings) -> None:
    (small.root / "models" / "two.sql").write_text("select id + 1 as next from {{ ref('one') }}")
    assert dbt(small, ["parse"], quiet=True) == 0
    done = subprocess.run(
        [sys.executable, "-c", "from sluice.cli import main; main()", "lineage", "two.next"],
        cwd=small.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "not compiled" in done.stdout, "one.id" in done.stdout) == (0, False, True), done
    kept = (small.target / "catalog" / "manifest.json").stat().st_mtime_ns
    assert compiled_manifest(small).uncompiled == []
    assert (small.target / "catalog" / "manifest.json").stat().st_mtime_ns == kept, "it was compiled once"
