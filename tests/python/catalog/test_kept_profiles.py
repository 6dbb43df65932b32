"""A load and a build of one table lead to new profiles of that table only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from tests.python.small_project import SmallProject


@pytest.mark.full
@pytest.mark.timeout(300)
def test_profiles_follow_the_content(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)

    def kept() -> dict[str, str]:
        project.sluice("catalog")
        with closing(sqlite3.connect(project.home / "lineage.sqlite")) as store:
            return {key: sign for sign, key in store.execute("select key, table_id from profiles")}

    def names(keys: set[str]) -> set[str]:
        return {key.rsplit(".", 1)[1] for key in keys}

    project.sluice("run")
    first = kept()
    assert names(set(first)) >= {"orders", "products", "fct_orders", "dim_products"}
    with closing(sqlite3.connect(project.root / "shop.sqlite")) as con, con:
        con.execute("update products set step = 1")
    project.sluice("load")
    project.sluice("build")
    second = kept()
    changed = {key for key, sign in second.items() if sign != first.get(key)}
    assert {"products", "dim_products"} <= names(changed)
    assert not names(changed) & {"orders", "fct_orders"}
    with duckdb.connect(str(project.home / "warehouse.duckdb")) as warehouse:
        warehouse.execute("update marts.fct_orders set amount = 0")
    third = kept()
    assert third.keys() == second.keys()
    assert "fct_orders" in names({key for key, sign in third.items() if sign != second[key]})
