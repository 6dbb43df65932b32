"""A column counts as personal unless each of its origins is a column of a source or a seed that has no class.

One project, compiled by dbt: every mart is a way to publish `crm.contacts.email` or what nobody can follow.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sluice.config.audiences import load_policy
from sluice.conventions.model_rules import referenced_tables
from sluice.conventions.project import Project
from sluice.dbt.compiling import compile_error, compile_projects
from sluice.dbt.manifest import Manifest, read_manifest
from sluice.dbt.untraced import untraced
from sluice.errors import DeclarationError, PublishError
from sluice.publish import publish
from sluice.publish.granted_models import GrantedModels

from .conftest import AUDIENCES, Company

PROJECT = """
name: shop
profile: a_profile_nobody_has
model-paths: [models]
models:
  shop:
    +materialized: table
    marts: {+schema: marts, +grants: {select: [analysts]}}
seeds: {shop: {+schema: marts}}
"""
SOURCES = """
sources:
  - name: crm
    database: raw
    schema: crm
    tables:
      - name: contacts
        columns:
          - {name: contact_id}
          - {name: email, config: {meta: {data_class: email}}}
      - {name: orders, columns: [{name: order_id}, {name: amount}]}
  - {name: other_name, database: raw, schema: crm, tables: [{name: contacts, columns: [{name: email}]}]}
  - {name: stale, schema: marts, tables: [{name: of_last_year, columns: [{name: email}]}]}
  - {name: by_model, schema: main_marts, tables: [{name: dim_people, columns: [{name: email}]}]}
"""
LEAKS = {
    "by_ref": "select lower(email) as x from {{ ref('dim_people') }}",
    "by_schema": "select email as x from main_marts.dim_people",
    "by_database": "select email as x from memory.main_marts.dim_people",
    "by_case_and_quotes": 'select "EMAIL" as x from "Main_Marts"."DIM_people"',
    "by_star": "select c.* from main_marts.dim_people as c",
    "by_star_of_cte": "with c as (from main_marts.dim_people) select * from c",
    "by_subquery": "select x from (select email as x from main_marts.dim_people)",
    "by_scalar_subquery": "select (select max(email) from main_marts.dim_people) as x",
    "by_raw": "select email as x from raw.crm.contacts",
    "by_raw_row": "select to_json(c) as x from raw.crm.contacts as c",
    "by_whole_row": "select c as x from {{ source('crm', 'contacts') }} as c",
    "by_position_in_a_source": "select a as x from {{ source('crm', 'contacts') }} as p(a, b)",
    "by_query_table": "select email as x from query_table('main_marts.dim_people')",
    "by_computed_query_table": "select email as x from query_table('main_marts.dim_' || 'people')",
    "by_query": "select * from query('select email as x from raw.crm.contacts')",
    "by_file": "select x from read_parquet('people.parquet')",
    "by_file_name": "select x from 'people.parquet'",
    "by_text_of_a_file": "select content as x from read_text('people.csv')",
    "by_view_of_a_hook": "select x from main.spy",
    "by_bare_name": "select email as x from contacts",
    "by_name_with_dots": 'select order_id as x from "raw.crm.orders"',
    "by_other_schema_of_that_name": "select order_id as x from crm.orders",
    "by_attached_database": "select x from elsewhere.public.people",
    "by_information_schema": "select table_name as x from information_schema.tables",
    "by_duckdb_tables": "select sql as x from duckdb_tables()",
    "by_duckdb_view": "select sql as x from duckdb_views",
    "by_summary": "select max as x from (summarize raw.crm.contacts)",
    "by_own_function": "select spy(order_id) as x from {{ source('crm', 'orders') }}",
    "by_only_own_function": "select spy() as x",
    "by_own_table_function": "select x from spies(1)",
    "by_variable": "select getvariable('people') as x",
    "by_own_type": "select enum_last(null::words) as x",
    "by_key_of_a_map": "select map {email: 1} as x from {{ ref('dim_people') }}",
    "by_setting": "select current_setting('people') as x",
    "by_hook": "{{ config(post_hook=\"update {{ this }} set x = 'y'\") }} select 1 as x",
    "by_ref_of_hook": "select x from {{ ref('by_hook') }}",
    "by_hooks": "{{ config(pre_hook=['analyze', 'create view main.spy as select 1']) }} select 1 as x",
    "by_two_statements": "{{ config(post_hook='analyze; set variable people = 1') }} select 1 as x",
    "by_header": "{% call set_sql_header(config) %} create temp macro lower(x) as 1; {% endcall %} select 1 as x",
    "by_run_query": "{% set found = run_query('select 1') %} select 'y' as x",
    "by_statement": "{% call statement('s', fetch_result=True) %} select 1 {% endcall %} select 'y' as x",
    "by_adapter": "{% if execute %}{% do adapter.execute('select 1') %}{% endif %} select 'y' as x",
    "by_context": "{% set f = context['run_' ~ 'query'] %} select 'y' as x",
    "by_rendering": "{% set found = render('{{ 1 }}') %} select 'y' as x",
    "by_macro": "select '{{ names_of_people() }}' as x",
    "by_macro_of_a_package": "select '{{ dbt.run_query('select 1') }}' as x",
    "by_other_source_of_that_table": "select email as x from {{ source('other_name', 'contacts') }}",
    "by_source_of_a_model": "select email as x from {{ source('by_model', 'dim_people') }}",
    "by_source_that_nobody_makes": "select email as x from {{ source('stale', 'of_last_year') }}",
    "by_seed_with_a_hook": "select code as x from {{ ref('hooked') }}",
    "by_whole_row_of_unknown": "select p as x from main.spy as p",
    "by_cte_like_an_ephemeral": "with __dbt__cte__passed_on as (select email as order_id from raw.crm.contacts)"
    " select order_id as x from __dbt__cte__passed_on",
    "by_pivot_without_names": "select x from (pivot {{ ref('dim_people') }} on contact_id using first(email))",
    "by_union": "select order_id as x from {{ source('crm', 'orders') }} union all select x from main.spy",
    "by_later_model": "select x from main_marts.zz_later",
    "by_unparsed": "select x from {{ source('crm', 'orders') }} tablesample foo bar baz",
    "by_own_materialization": "{{ config(materialized='spying') }} select 1 as x",
    "by_case_of_unknown": "select case when true then spy() end as x",
    "by_missing_column": "select amount as y from {{ source('crm', 'orders') }}",
}
FINE = {
    "constant": "select 'y' as x",
    "of_a_source": "select order_id as x from {{ source('crm', 'orders') }}",
    "undeclared_of_a_source": "select shop as x from {{ source('crm', 'orders') }}",
    "of_a_source_by_name": "select order_id as x from raw.crm.orders",
    "of_a_seed": "select code as x from {{ ref('codes') }}",
    "of_a_mart": "select contact_id as x from {{ ref('dim_people') }}",
    "of_a_mart_by_name": "select contact_id as x from main_marts.dim_people",
    "of_a_later_mart_by_name": "select contact_id as x from main_marts.zz_later",
    "declared_on_the_way": "select label as x from {{ ref('dim_people') }}",
    "counted": "select count(*) as x from {{ ref('dim_people') }} where email is not null",
    "of_a_series": "select range as x from range(10)",
    "with_harmless_hooks": "{{ config(post_hook=['analyze {{ this }}', 'checkpoint']) }} select 1 as x",
    "of_an_ephemeral": "select order_id as x from {{ ref('passed_on') }}",
    "of_a_snapshot": "select order_id as x from {{ ref('orders_then') }}",
    "by_a_macro": "select {{ twice('order_id') }} as x from {{ source('crm', 'orders') }}",
    "incremental": "{{ config(materialized='incremental') }} select order_id as x from {{ source('crm', 'orders') }}"
    " {% if is_incremental() %} where order_id > (select max(x) from {{ this }}) {% endif %}",
    "declared": "select spy() as x",
}
FILES = {
    "dbt_project.yml": PROJECT,
    "audiences.yml": "audiences: [{name: analysts, description: They count., masks: {email: hash}}]\n",
    "models/sources.yml": SOURCES,
    "models/dim_people.sql": "{{ config(schema='marts') }} select contact_id, email, upper(email) as label"
    " from {{ source('crm', 'contacts') }}",
    "models/passed_on.sql": "{{ config(materialized='ephemeral') }} select * from {{ source('crm', 'orders') }}",
    "models/zz_later.sql": "{{ config(schema='marts') }} select email as x, contact_id from {{ ref('dim_people') }}",
    "models/people.yml": """
models:
  - name: dim_people
    columns: [{name: label, config: {meta: {data_class: none}}}]
""",
    "snapshots/then.yml": """
snapshots:
  - name: orders_then
    relation: source('crm', 'orders')
    config: {unique_key: order_id, strategy: check, check_cols: all, schema: marts}
""",
    "seeds/codes.csv": "code\nA\n",
    "seeds/hooked.csv": "code\nA\n",
    "seeds/seeds.yml": "seeds: [{name: hooked, config: {post_hook: 'update {{ this }} set code = 1'}}]\n",
    "macros/people.sql": "{% macro names_of_people() %}{{ run_query('select 1') }}{% endmacro %}",
    "macros/twice.sql": "{% macro twice(x) %}2 * {{ x }}{% endmacro %}",
    "macros/duckdb__apply_grants.sql": "{% macro duckdb__apply_grants(relation, grant_config, should_revoke=True) %}"
    "{# DuckDB has none #}{% endmacro %}",
    "macros/spying.sql": "{% materialization spying, default %}{{ return({'relations': []}) }}{% endmaterialization %}",
    "models/marts/by_python.py": "def model(dbt, session):\n    return session.sql('select 1 as x')\n",
}


def _properties(columns: dict[str, str]) -> str:
    lines = [f"  - {{name: {name}, columns: [{column}]}}" for name, column in columns.items()]
    return "models:\n" + "\n".join(lines) + "\n"


def compiled(root: Path, files: dict[str, str]) -> Manifest:
    """The manifest of a project, as `sluice check` compiles it."""
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    compile_projects([(root, root / "target")])
    assert not compile_error(root / "target"), compile_error(root / "target")
    return read_manifest(root / "target")


def mistakes(root: Path, manifest: Manifest) -> dict[str, str]:
    """What publishing refuses, by model."""
    granted = GrantedModels(manifest, load_policy(root / "audiences.yml").publishing.rows)
    return {text.split(".")[0]: text for text in granted.unclassed()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    root = tmp_path_factory.mktemp("shop")
    marts = {f"models/marts/{name}.sql": sql for name, sql in (LEAKS | FINE).items()}
    columns = dict.fromkeys([*LEAKS, *FINE, "by_python"], "{name: x}")
    columns |= {"by_star": "{name: email}", "by_star_of_cte": "{name: email}"}
    columns["declared"] = "{name: x, config: {meta: {data_class: none}}}"
    return root, compiled(root, FILES | marts | {"models/marts/marts.yml": _properties(columns)})


@pytest.fixture(scope="module")
def refused(shop: tuple[Path, Manifest]) -> dict[str, str]:
    return mistakes(*shop)


@pytest.mark.parametrize("name", [*LEAKS, "by_python"])
@pytest.mark.sample(20)
def test_what_cannot_be_followed_counts_as_personal(refused: dict[str, str], name: str) -> None:
    assert name in refused
    assert re.search(r"config\.meta\.data_class", refused[name])


def test_sluice_check_names_each_table_without_ref(shop: tuple[Path, Manifest]) -> None:
    found = {Path(f.file).stem: f.message.split(" ")[1] for f in referenced_tables(Project(*shop))}
    assert found == {
        "by_schema": "main_marts.dim_people",
        "by_database": "memory.main_marts.dim_people",
        "by_case_and_quotes": "main_marts.dim_people",
        "by_star": "main_marts.dim_people",
        "by_star_of_cte": "main_marts.dim_people",
        "by_subquery": "main_marts.dim_people",
        "by_scalar_subquery": "main_marts.dim_people",
        "by_raw": "raw.crm.contacts",
        "by_raw_row": "raw.crm.contacts",
        "by_query_table": "query_table()",
        "by_computed_query_table": "query_table()",
        "by_query": "query()",
        "by_file": "read_parquet()",
        "by_file_name": "people.parquet",
        "by_text_of_a_file": "read_text()",
        "by_view_of_a_hook": "main.spy",
        "by_bare_name": "contacts",
        "by_name_with_dots": "raw.crm.orders",
        "by_other_schema_of_that_name": "crm.orders",
        "by_attached_database": "elsewhere.public.people",
        "by_information_schema": "information_schema.tables",
        "by_duckdb_tables": "duckdb_tables()",
        "by_duckdb_view": "duckdb_views",
        "by_summary": "raw.crm.contacts",
        "by_own_table_function": "spies()",
        "by_whole_row_of_unknown": "main.spy",
        "by_cte_like_an_ephemeral": "raw.crm.contacts",
        "by_union": "main.spy",
        "by_later_model": "main_marts.zz_later",
        "of_a_source_by_name": "raw.crm.orders",
        "of_a_mart_by_name": "main_marts.dim_people",
        "of_a_later_mart_by_name": "main_marts.zz_later",
    }


def test_what_may_write_into_any_table_concerns_every_model(tmp_path: Path) -> None:
    """Hooks of the project, and a macro in place of one of dbt's, run for tables that do not name them."""
    project = (
        PROJECT
        + "on-run-end: [\"update marts.people set x = 'y'\"]\non-run-start: ['create schema if not exists a']\n"
    )
    replaced = "{% macro duckdb__create_table_as(temporary, relation, compiled_code, language='sql') %}select 1{% endmacro %}"
    manifest = compiled(
        tmp_path,
        {
            "dbt_project.yml": project,
            "audiences.yml": FILES["audiences.yml"],
            "macros/replaced.sql": replaced,
            "macros/format_row.sql": "{% macro format_row(row, types) %}{{ return({}) }}{% endmacro %}",  # unit tests
            "models/marts/people.sql": "select 1 as x",
            "models/marts/marts.yml": _properties({"people": "{name: x}"}),
        },
    )
    assert untraced(manifest)["model.shop.people"] == [
        (
            "a hook of the project (on-run-start, on-run-end) may write into any table",
            "update marts.people set x = 'y'",
        ),
        ("this macro replaces one with which dbt writes tables", "duckdb__create_table_as"),
    ]
    assert "people" in mistakes(tmp_path, manifest)


@pytest.mark.parametrize("name", FINE)
def test_what_can_be_followed_does_not(refused: dict[str, str], name: str) -> None:
    assert refused.get(name) is None


@pytest.mark.parametrize("name", ['"warehouse"."marts"."dim_products"', "marts.dim_products"])
def test_a_table_older_than_the_sql_it_is_followed_through_is_not_published(
    company: Company, name: str
) -> None:
    """Its values may come from SQL that nobody sees any more."""
    company.sql("create table marts.names as select 'p1' as sku")
    parents = ["dim_products"] if '"' in name else []
    company.model("names", {"sku": ("varchar", None)}, ["analysts"], parents, sql=f"select sku from {name}")
    company.publish()
    company.models["model.t.dim_products"]["compiled_code"] += " where true"
    company.publish()  # built again, both of them
    company.models["model.t.dim_products"]["compiled_code"] += " and true"
    company.built()
    results = json.loads((company.settings.target / "run_results.json").read_text())
    results["results"] = [r for r in results["results"] if r["unique_id"] != "model.t.names"]
    (company.settings.target / "run_results.json").write_text(json.dumps(results))
    with pytest.raises(
        PublishError, match="names was built with what dim_products held before its SQL changed"
    ):
        publish(company.settings)


@pytest.mark.parametrize("materialized", ["incremental", "snapshot"])
def test_rows_of_earlier_sql_count_until_they_are_replaced(company: Company, materialized: str) -> None:
    """What adds to a table keeps the rows that its SQL wrote before it was changed."""

    def write(column: str, data_class: str | None, *, run: int, full_refresh: bool = False) -> None:
        sql = f"select {column} as label from warehouse.marts.dim_customers where run = {run} or day > '2024-01-{run}'"
        company.model("log", {"label": ("varchar", data_class)}, ["analysts"], ["dim_customers"], sql=sql)
        company.models["model.t.log"]["config"]["materialized"] = materialized
        company.built()
        file = company.settings.target / "run_results.json"
        results = json.loads(file.read_text())
        results["args"]["full_refresh"] = full_refresh
        file.write_text(json.dumps(results))
        publish(company.settings)

    company.sql("create table marts.log as select 'CANARY' as label")
    write("email", "email", run=10)
    for run in (11, 12):
        with pytest.raises(
            DeclarationError, match=r"log\.label has no data class.*email'.*earlier SQL of log wrote"
        ):
            write("region", None, run=run)
    kept = json.loads((company.settings.home / "build_results.json").read_text())["nodes"]["model.t.log"]
    assert len(kept["earlier"]) == 1
    if materialized == "incremental":
        write("region", None, run=13, full_refresh=True)
    else:
        with pytest.raises(DeclarationError, match="earlier SQL"):
            write("region", None, run=13, full_refresh=True)
    write("region", "none", run=14)


def test_only_tables_of_the_warehouse_are_published(company: Company) -> None:
    """A model that dbt builds in another database must not stand for the warehouse's table of its name."""
    company.models["model.t.dim_products"]["database"] = "elsewhere"
    with pytest.raises(PublishError, match="dim_products: dbt builds it in the database 'elsewhere'"):
        company.publish()


def test_a_row_filter_is_one_condition(company: Company) -> None:
    company.policy(AUDIENCES.replace("region = 'DACH'", "true union all from fct_orders"))
    with pytest.raises(DeclarationError, match="row filter"):
        company.publish()
