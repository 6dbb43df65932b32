"""What dbt itself makes another one of is not left out: each step is one change, then a build."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import duckdb
import pytest

from sluice.dbt.build_state import DECISIONS
from tests.python.small_project import SmallProject

MODELS = """version: 2
models:
  - name: limited
    config: {contract: {enforced: true}}
    constraints: [{type: check, expression: "id > 0"}]
    columns: [{name: id, data_type: integer}]
"""


@pytest.mark.full
@pytest.mark.timeout(300)
def test_what_changes_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = SmallProject(tmp_path)
    models = tmp_path / "models"
    for file in models.glob("*"):
        file.unlink()
    (models / "limited.sql").write_text("select 1 as id")
    (models / "models.yml").write_text(MODELS)
    (models / "moment.sql").write_text("select '{{ run_started_at }}' as at")
    (models / "above.sql").write_text("select 1 as id")
    (models / "below.sql").write_text("select id from {{ ref('above') }}")
    file = tmp_path / "dbt_project.yml"
    file.write_text(file.read_text().replace("    +contract: {enforced: true}\n", ""))
    project.sluice("load")

    def built(*arguments: str) -> set[str]:
        project.sluice("build", *arguments)
        found = json.loads((project.home / DECISIONS).read_text(encoding="utf-8"))
        return {key.split(".")[2] for key, reason in found.items() if reason}

    (models / "since.sql").write_text(
        "select {{ var('since', 1) }} as since, '{{ env_var('PLACE', 'here') }}' as place"
    )
    assert built() == {"limited", "moment", "above", "below", "since"}
    assert built("--vars", "{since: 2}") == {"moment", "since"}, "a variable of the command line"
    monkeypatch.setenv("PLACE", "there")
    assert built("--vars", "{since: 2}") == {"moment", "since"}, "a variable of the environment"
    with duckdb.connect(str(project.home / "warehouse.duckdb")) as con:
        assert con.execute("from marts.since").fetchall() == [(2, "there")]
    (models / "since.sql").unlink()
    assert built() == {"moment"}, "what Jinja writes is another moment"
    (models / "models.yml").write_text(MODELS.replace("id > 0", "id > -1"))
    assert built() == {"limited", "moment"}
    (models / "above.sql").write_text("select 2 as id")
    assert built() == {"above", "below", "moment"}
    with duckdb.connect(str(project.home / "warehouse.duckdb")) as con:
        assert con.execute("from marts.below").fetchall() == [(2,)]
        con.execute("drop table marts.below")
    assert built() == {"below", "moment"}


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_selected_model_sees_new_rows_through_a_view_that_is_not_selected(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    models = tmp_path / "models"
    for file in models.glob("*"):
        file.unlink()
    view = "{{ config(materialized='view') }} "
    (models / "stg.sql").write_text(view + "select step from {{ source('shop', 'products') }}")
    (models / "mart.sql").write_text("select max(step) as step from {{ ref('stg') }}")
    file = tmp_path / "dbt_project.yml"
    file.write_text(file.read_text().replace("    +contract: {enforced: true}\n", ""))
    project.sluice("load")
    project.sluice("build")
    assert "stg has changed" not in project.sluice("build", "--select", "mart", "--explain")
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("update products set step = 7")
    shop.close()
    project.sluice("load")
    assert "stg has changed" in project.sluice("build", "--select", "mart", "--explain")
    with duckdb.connect(str(project.home / "warehouse.duckdb")) as con:
        assert con.execute("from marts.mart").fetchall() == [(7,)]
