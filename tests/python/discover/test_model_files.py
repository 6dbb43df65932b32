"""Models proposed for a system with odd tables: they build, keep the conventions, and say no more than was seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from sqlfluff.core import FluffConfig, Linter

from sluice.conventions.check import check_conventions
from sluice.discover.contract import Relationship
from sluice.discover.model_files import (
    ModelFiles,
    Saved,
    is_declared,
    propose_from_raw,
    propose_models,
    save_models,
)
from sluice.discover.run import scratch_database
from tests.python.discover.odd_project import AUDIENCES, RELATIONSHIPS, SHOP, WIDE, OddProject

STAGING, MARTS = f"models/staging/{SHOP}", f"models/marts/{SHOP}"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> OddProject:
    return OddProject(tmp_path_factory.mktemp("odd") / "project")


@pytest.fixture(scope="module")
def proposed(odd: OddProject) -> ModelFiles:
    with odd.seen() as (con, found):
        return propose_models(odd.settings, SHOP, RELATIONSHIPS, found, con)


@pytest.fixture(scope="module")
def texts(odd: OddProject, proposed: ModelFiles) -> Mapping[str, str]:
    return {file.relative_to(odd.settings.root).as_posix(): text for file, text in proposed.texts.items()}


@pytest.fixture(scope="module")
def saved(odd: OddProject, proposed: ModelFiles) -> Saved:
    return save_models(odd.settings, proposed)


@pytest.fixture(scope="module")
def built(odd: OddProject, saved: Saved) -> OddProject:
    """The project after `sluice build` with the proposed models; a deprecation of dbt's is an error."""
    done = odd.tool("sluice", "build", DBT_WARN_ERROR_OPTIONS='{"error": ["Deprecations"]}')
    assert done.returncode == 0, done.stdout + done.stderr
    return odd


@pytest.fixture
def unloaded(tmp_path: Path) -> OddProject:
    return OddProject(tmp_path / "project", load=False)


def models(texts: Mapping[str, str], folder: str) -> dict[str, Any]:
    """The entries of a folder's YAML file by model, with their columns by name."""
    entries = yaml.safe_load(texts[f"{folder}/_{SHOP}__models.yml"])["models"]
    return {
        entry["name"]: {**entry, "columns": {column["name"]: column for column in entry["columns"]}}
        for entry in entries
    }


def column_tests(texts: Mapping[str, str], table: str, column: str) -> list[Any]:
    found: list[Any] = models(texts, STAGING)[f"stg_{SHOP}__{table}"]["columns"][column].get("data_tests", [])
    return found


# -- what is written builds, and keeps the conventions


@pytest.mark.full  # it builds and publishes: 40 s
@pytest.mark.timeout(600)
def test_the_models_build_and_are_published(built: OddProject) -> None:
    published = built.tool("sluice", "publish")
    assert published.returncode == 0, published.stdout + published.stderr
    with duckdb.connect(built.settings.published / "current" / "readers.duckdb", read_only=True) as con:
        select = (
            "select customer_city, billing_customer_city, customer_name from fct_orders where order_id = 3"
        )
        ((city, billing_city, name),) = con.execute(select).fetchall()
    assert (city, billing_city) == ("City 3", "City 4")
    assert name != "Name 3", "a name is masked"


@pytest.mark.full  # it compiles and reads the project: 20 s
@pytest.mark.timeout(600)
def test_the_models_keep_the_conventions(odd: OddProject, saved: Saved) -> None:
    _, problems = check_conventions(odd.settings)
    assert not [str(p) for p in problems if "macros" not in p.file.parts and "generic" not in p.file.parts]


def test_sql_is_formatted(odd: OddProject, saved: Saved) -> None:
    done = odd.tool("sqlfmt", "--check", "--no-progressbar", "models", "tests/data")
    assert done.returncode == 0, done.stderr


def test_sql_is_linted(texts: Mapping[str, str]) -> None:
    linter = Linter(config=FluffConfig(overrides={"dialect": "duckdb", "exclude_rules": "layout"}))
    wrong = {
        name: [str(v) for v in linter.lint_string(re.sub("{{.+?}}", "a_table", text)).get_violations()]
        for name, text in texts.items()
        if name.endswith(".sql") and "wide" not in name  # 200 columns take long
    }
    assert not {name: found for name, found in wrong.items() if found}


@pytest.mark.full  # on what is built
@pytest.mark.timeout(600)
def test_every_model_selects_what_its_table_has(built: OddProject, texts: Mapping[str, str]) -> None:
    with duckdb.connect(built.settings.warehouse, read_only=True) as con:
        con.execute(f"attach '{built.settings.raw}' as raw (read_only)")
        for name, entry in models(texts, STAGING).items():
            found = con.execute(f'describe staging."{name}"').fetchall()
            assert [column for column, *_ in found] == list(entry["columns"])


# -- names, types, keys


def test_names_are_plain_and_types_fit_them(texts: Mapping[str, str]) -> None:
    sql = texts[f"{STAGING}/stg_{SHOP}__orders.sql"]
    assert "cast(order_date as date) as order_date" in sql, "it is always midnight"
    assert "paid_date as paid_at" in sql, "it has a time"
    assert "shipped_at as shipped_date" in sql
    assert "cast(is_gift as boolean) as is_gift" in sql, "it is always 0 or 1"
    assert "is_late as late_flag" in sql
    assert "updated_at at time zone 'UTC' as updated_at" in sql
    customers = texts[f"{STAGING}/stg_{SHOP}__customers.sql"]
    assert "id as customer_id" in customers
    assert "active as is_active" in customers


def test_two_columns_do_not_get_one_name(texts: Mapping[str, str]) -> None:
    columns = models(texts, STAGING)[f"stg_{SHOP}__order_items"]["columns"]
    assert {"id", "order_item_id"} <= set(columns), "id would be order_item_id, too"


def test_keys_are_tested(texts: Mapping[str, str]) -> None:
    assert column_tests(texts, "customers", "customer_id") == ["primary_key"]
    of_items = models(texts, STAGING)[f"stg_{SHOP}__order_items"]
    assert of_items["data_tests"] == [{"primary_key": {"arguments": {"columns": ["order_id", "line"]}}}]
    assert column_tests(texts, "log", "row_position") == ["primary_key"], "the table has no key"


def test_deleted_rows_are_left_out(texts: Mapping[str, str]) -> None:
    deleted = {name for name, text in texts.items() if "where _deleted_at is null" in text}
    assert deleted == {f"{STAGING}/stg_{SHOP}__coupons.sql"}


def test_data_classes_are_carried(texts: Mapping[str, str]) -> None:
    def classes(model: Mapping[str, Any]) -> dict[str, str]:
        return {n: c["config"]["meta"]["data_class"] for n, c in model["columns"].items() if "config" in c}

    assert classes(models(texts, STAGING)[f"stg_{SHOP}__customers"]) == {
        "customer_name": "name",
        "email": "email",
    }
    assert classes(models(texts, MARTS)["fct_orders"]) == {
        "customer_name": "name",
        "billing_customer_name": "name",
    }


# -- what is tested of references and values


def test_a_reference_that_holds_is_tested(texts: Mapping[str, str]) -> None:
    (test,) = column_tests(texts, "orders", "customer_id")
    assert test == {
        "relationships": {"arguments": {"to": f"ref('stg_{SHOP}__customers')", "field": "customer_id"}}
    }


def test_a_reference_with_orphans_warns_and_says_how_many(texts: Mapping[str, str]) -> None:
    (test,) = column_tests(texts, "orders", "coupon_code")
    assert test["relationships"]["config"] == {"severity": "warn"}
    assert "90.0 %" in test["relationships"]["description"]


def test_a_guess_is_not_tested(texts: Mapping[str, str]) -> None:
    assert column_tests(texts, "order_items", "quantity") == []


def test_values_are_listed_where_all_are_known(odd: OddProject, texts: Mapping[str, str]) -> None:
    (test,) = column_tests(texts, "orders", "status")
    assert test == {"accepted_values": {"arguments": {"values": ["open", "paid"]}}}
    assert column_tests(texts, "group", "type") == [], "three rows prove nothing"


def test_a_sample_proves_nothing(odd: OddProject) -> None:
    with odd.seen(is_whole=False) as (con, found):
        files = propose_models(odd.settings, SHOP, RELATIONSHIPS, found, con).texts
    by_name = {file.relative_to(odd.settings.root).as_posix(): text for file, text in files.items()}
    assert "order_date as order_at" in by_name[f"{STAGING}/stg_{SHOP}__orders.sql"]


def test_without_rows_nothing_is_said_of_values(unloaded: OddProject) -> None:
    files = propose_models(unloaded.settings, SHOP, RELATIONSHIPS)
    texts = {file.relative_to(unloaded.settings.root).as_posix(): text for file, text in files.texts.items()}
    assert column_tests(texts, "orders", "status") == []
    declared, found = (
        column_tests(texts, "orders", "customer_id"),
        column_tests(texts, "orders", "billing_customer_id"),
    )
    assert "config" not in declared[0]["relationships"]
    assert found[0]["relationships"]["config"] == {"severity": "warn"}, "seen in a sample, if at all"


# -- the mart


def test_the_mart_is_over_the_most_connected_table(texts: Mapping[str, str]) -> None:
    mart = models(texts, MARTS)["fct_orders"]
    assert mart["description"].startswith("One row per order.")
    assert mart["config"] == {"grants": {"select": ["readers"]}}
    assert mart["data_tests"] == ["min_rows"]
    assert mart["columns"]["order_date"]["data_type"] == "date"
    assert "email" not in texts[f"{MARTS}/fct_orders.sql"]
    assert f"tests/data/{SHOP}/fct_orders_has_every_row_of_the_source.sql" in texts


def test_a_wide_or_empty_table_can_be_the_mart(unloaded: OddProject) -> None:
    unloaded.keep_only("wide")
    files = propose_models(unloaded.settings, SHOP, [])
    (mart,) = [text for file, text in files.texts.items() if file.name == "fct_wide.sql"]
    assert len(mart.splitlines()) < 160 < len(WIDE)

    unloaded.keep_only("nothing")
    with unloaded.seen(tables=["nothing"]) as (con, found):
        files = propose_models(unloaded.settings, SHOP, [], found, con)
    (entry,) = [text for file, text in files.texts.items() if "marts" in file.parts and file.suffix == ".yml"]
    assert "min_rows" not in entry
    assert "may_be_empty" in entry


def test_a_mart_for_several_audiences_is_left_to_a_person(unloaded: OddProject) -> None:
    second = "  - {name: others, description: Others.}\n"
    (unloaded.settings.root / "audiences.yml").write_text(AUDIENCES + second)
    files = propose_models(unloaded.settings, SHOP, RELATIONSHIPS)
    assert "readers, others" in files.notes[0]
    assert not any("grants" in text for text in files.texts.values())


# -- files that exist


def test_a_second_time_nothing_is_written(odd: OddProject, saved: Saved) -> None:
    with odd.seen() as (con, found):
        again = save_models(odd.settings, propose_models(odd.settings, SHOP, RELATIONSHIPS, found, con))
    assert (again.written, again.patches) == ([], [])


def test_a_file_of_a_person_stays(unloaded: OddProject) -> None:
    save_models(unloaded.settings, propose_models(unloaded.settings, SHOP, RELATIONSHIPS))
    root = unloaded.settings.root
    mine = root / STAGING / f"stg_{SHOP}__orders.sql"
    mine.write_text("select 1")
    properties = root / STAGING / f"_{SHOP}__models.yml"
    before = properties.read_text()
    without, _, _ = before.partition(f"  - name: stg_{SHOP}__wide")
    properties.write_text(without)
    (root / STAGING / f"stg_{SHOP}__wide.sql").unlink()
    diagram = root / "docs" / "entities.md"
    diagram.write_text(diagram.read_text() + "\nMy own words.\n")

    saved = save_models(unloaded.settings, propose_models(unloaded.settings, SHOP, RELATIONSHIPS))

    assert mine.read_text() == "select 1"
    assert properties.read_text() == without
    assert saved.written == [root / STAGING / f"stg_{SHOP}__wide.sql"]
    (patch,) = saved.patches
    assert f"+  - name: stg_{SHOP}__wide" in patch
    assert "-" not in {line[0] for line in patch.splitlines()[2:] if line}
    assert diagram.read_text().endswith("\nMy own words.\n")


# -- a source that is declared


def test_a_declared_source_is_modelled_from_raw(odd: OddProject) -> None:
    with scratch_database() as con:
        files = propose_from_raw(odd.settings, SHOP, con)
    texts = {file.relative_to(odd.settings.root).as_posix(): text for file, text in files.texts.items()}
    assert files.notes == []
    assert re.search(r"orders \}o(\.\.|--)\|\| customers", texts["docs/entities.md"])
    assert "cast(order_date as date) as order_date" in texts[f"{STAGING}/stg_{SHOP}__orders.sql"]


def test_a_source_that_is_not_loaded_is_modelled_from_its_file(unloaded: OddProject) -> None:
    assert is_declared(unloaded.settings, SHOP)
    assert not is_declared(unloaded.settings, "crm")
    with scratch_database() as con:
        files = propose_from_raw(unloaded.settings, SHOP, con)
    assert "is not loaded" in files.notes[-1]
    assert any(file.name == f"stg_{SHOP}__orders.sql" for file in files.texts)


# -- references to other sources


def test_a_reference_to_another_source_needs_its_model(unloaded: OddProject) -> None:
    across = Relationship((SHOP, "log"), ("message",), ("crm", "contacts"), ("id",), 1.0, "all found", 0.95)
    root = unloaded.settings.root
    crm = yaml.safe_load((root / "sources" / f"{SHOP}.yml").read_text())
    (source,) = crm["sources"]
    source |= {"name": "crm", "schema": "crm"}
    source["tables"] = [{**source["tables"][0], "name": "contacts"}]
    source["tables"][0]["columns"][0]["data_type"] = "text"
    (root / "sources" / "crm.yml").write_text(yaml.safe_dump(crm))

    def tested() -> list[Any]:
        files = propose_models(unloaded.settings, SHOP, [across]).texts.items()
        return column_tests({f.relative_to(root).as_posix(): text for f, text in files}, "log", "message")

    assert tested() == []
    save_models(unloaded.settings, propose_models(unloaded.settings, "crm", []))
    (test,) = tested()
    assert test["relationships"]["arguments"] == {"to": "ref('stg_crm__contacts')", "field": "contact_id"}
    assert test["relationships"]["config"] == {"severity": "warn"}, "the other system changes by itself"
