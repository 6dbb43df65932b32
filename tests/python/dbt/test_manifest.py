"""The manifest's facts are read in one way, whichever version of dbt wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.dbt.manifest import Manifest, grants, meta, read_manifest
from sluice.errors import SluiceError


def model(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    return {
        "unique_id": f"model.p.{name}",
        "resource_type": "model",
        "name": name,
        "depends_on": {"nodes": [f"model.p.{parent}" for parent in parents]},
        "raw_code": "select 1",
        **more,
    }


def manifest(*nodes: dict[str, Any]) -> Manifest:
    return Manifest({"nodes": {node["unique_id"]: node for node in nodes}})


def test_meta_of_the_configuration_wins_key_by_key() -> None:
    assert meta({"meta": {"owner": "a", "field": "f"}, "config": {"meta": {"owner": "b"}}}) == {
        "owner": "b",
        "field": "f",
    }
    assert meta({"meta": None, "config": None}) == {}


def test_a_grant_is_one_name_or_several() -> None:
    assert grants({"config": {"grants": {"select": "analysts"}}}) == ("analysts",)
    assert grants({"config": {"grants": {"select": ["analysts", "support"]}}}) == ("analysts", "support")
    assert grants({"config": {}}) == ()


def test_what_depends_on_what() -> None:
    found = manifest(model("a"), model("b", "a"), model("c", "b"), model("d"))
    assert found.descendants(["model.p.b"]) == {"model.p.b", "model.p.c"}
    assert found.ancestors(["model.p.b"]) == {"model.p.b", "model.p.a"}


def test_sql_that_ran_replaces_what_the_manifest_holds(tmp_path: Path) -> None:
    entries = {"nodes": {node["unique_id"]: node for node in (model("a", compiled_code="old"), model("b"))}}
    (tmp_path / "manifest.json").write_text(json.dumps(entries), encoding="utf-8")
    found = read_manifest(tmp_path, {"model.p.a": "new", "model.p.b": None, "model.p.gone": "x"})
    assert found.tables["model.p.a"].compiled_sql == "new"
    assert found.uncompiled == ["b"]


def test_without_a_manifest_or_with_a_broken_one_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="Run `sluice build` first"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(SluiceError, match="is broken"):
        read_manifest(tmp_path)


def test_of_relationships_of_a_source_the_one_that_is_tested_refers_to_the_other() -> None:
    """dbt attaches tests of sources to no node, and lists their parents in no fixed order."""
    deliveries = {
        "unique_id": "source.p.shop.deliveries",
        "source_name": "shop",
        "name": "deliveries",
        "schema": "shop",
    }
    deliveries |= {"resource_type": "source"}
    batches = {**deliveries, "unique_id": "source.p.shop.batches", "name": "batches"}
    for parents in ([deliveries, batches], [batches, deliveries]):
        test = {
            "unique_id": "test.p.x",
            "resource_type": "test",
            "name": "x",
            "depends_on": {"nodes": [parent["unique_id"] for parent in parents]},
            "test_metadata": {
                "name": "relationships",
                "kwargs": {
                    "column_name": "batch",
                    "field": "id",
                    "to": "source('shop', 'batches')",
                    "model": "{{ get_where_subquery(source('shop', 'deliveries')) }}",
                },
            },
        }
        found = Manifest(
            {
                "nodes": {"test.p.x": test},
                "sources": {source["unique_id"]: source for source in (deliveries, batches)},
            }
        ).tests["test.p.x"]
        assert (found.table, found.column, found.to) == (
            "source.p.shop.deliveries",
            "batch",
            ("source.p.shop.batches", "id"),
        )
