"""The audit: every rule stops a publication, names itself and what broke it, and leaves readers what they had."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from sluice.errors import DeclarationError, LockedError, PublishError
from sluice.publish import publish, published_files
from sluice.publish.versions import Versions
from sluice.runs.store import LoadRecord, RunStore

from .conftest import AUDIENCES, Company

RELATION = "relationships_fct_orders_customer_key"


def _refused(company: Company, **options: Any) -> str:
    """The message of a refusal; readers must have the version they had."""
    versions = Versions(company.published)
    before = versions.current
    with pytest.raises(PublishError) as refused:
        publish(company.settings, **options)
    assert versions.current == before
    assert RunStore(company.settings.ledger).publications(1)[0]["status"] == "refused"
    return str(refused.value)


def test_failed_test(company: Company) -> None:
    company.publish()
    company.sql("delete from marts.dim_customers where customer_key in ('c1', 'c2')")
    company.built(**{RELATION: ("fail", "Got 6 results, configured to fail if != 0", 6)})
    message = _refused(company)
    assert f"failed test: {RELATION}: Got 6 results" in message
    assert "from_field=c1" in message, "the rows are named"
    assert company.read("analysts", "select count(*) from dim_customers") == [(1000,)]


def test_rows_of_a_failed_test_keep_personal_values_to_themselves(company: Company) -> None:
    sql = "select email as value_field, customer_key, name from warehouse.marts.dim_customers order by 2 limit 1"
    company.test(
        "accepted_email", "dim_customers", sql, name="accepted_values", kwargs={"column_name": "email"}
    )
    company.built(accepted_email=("fail", "Got 1 result", 1))
    message = _refused(company)
    assert "customer_key=c0" in message
    assert "CANARY" not in message


def test_rows_of_a_failed_test_hide_what_a_model_makes_of_personal_values(company: Company) -> None:
    """A model that nobody is granted need not say the class of a column: lineage does."""
    columns = {"person_id": ("varchar", None), "login": ("varchar", None)}
    sql = "select 'x' as person_id, lower(email) as login from warehouse.marts.stg_customers"
    company.model("int_people", columns, [], ["stg_customers"], sql=sql)
    company.sql(
        "create table marts.int_people as select 'x' as person_id, email as login from marts.dim_customers"
    )
    sql = "select * from warehouse.marts.int_people"
    company.test("people_are_unique", "int_people", sql, name="unique", kwargs={"column_name": "person_id"})
    compiled = company.models["model.t.int_people"].pop("compiled_code")
    company.built(people_are_unique=("fail", "Got 1000 results", 1000))
    assert _refused(company).endswith("Got 1000 results"), "without its SQL nobody can tell"
    company.models["model.t.int_people"]["compiled_code"] = compiled
    company.built(people_are_unique=("fail", "Got 1000 results", 1000))
    message = _refused(company)
    assert "person_id=x" in message
    assert "CANARY" not in message


def test_warnings_let_pass(company: Company) -> None:
    company.built(**{RELATION: ("warn", "Got 6 results", 6)})
    assert publish(company.settings).version


def test_a_failure_of_a_warning_test_lets_pass(company: Company) -> None:
    company.tests[f"test.t.{RELATION}"]["config"]["severity"] = "warn"
    company.built(**{RELATION: ("fail", "Got 6 results", 6)})
    assert publish(company.settings).version


@pytest.mark.parametrize(
    ("status", "rule"),
    [
        (("error", "Runtime Error: out of disk", 0), "failed model: dim_products: error: Runtime Error"),
        (("error", "This model has an enforced contract that failed.", 0), "broken contract: dim_products"),
        (("skipped", "", 0), "not built: dim_products: skipped"),
    ],
)
def test_failed_model(company: Company, status: tuple[str, str, int], rule: str) -> None:
    company.built(dim_products=status)
    assert rule in _refused(company)


def test_a_failure_is_not_forgotten_by_a_later_partial_build(company: Company) -> None:
    company.sql("delete from marts.dim_customers where customer_key in ('c1', 'c2')")
    company.built(**{RELATION: ("fail", "Got 6 results", 6)})
    assert "failed test" in _refused(company)
    company.tests[f"test.t.{RELATION}"]["compiled_code"] = None
    manifest = {"nodes": {**company.models, **company.tests}}
    (company.settings.target / "manifest.json").write_text(json.dumps(manifest))
    file = company.settings.target / "run_results.json"
    results = json.loads(file.read_text())
    results["results"] = [r for r in results["results"] if r["unique_id"] == "model.t.dim_products"]
    results["metadata"]["generated_at"] = "2999-01-01T00:00:00.000000Z"
    file.write_text(json.dumps(results))
    message = _refused(company)
    assert "failed test" in message
    assert "from_field=c1" in message, "the rows are found by the SQL that ran"
    results["args"]["which"] = "generate"
    file.write_text(json.dumps(results))
    assert "failed test" in _refused(company)


def test_a_model_that_was_built_after_its_tests_is_unverified(company: Company) -> None:
    company.built()
    file = company.settings.target / "run_results.json"
    results = json.loads(file.read_text())
    for result in results["results"]:
        if result["unique_id"] == "model.t.fct_orders":
            result["timing"][0]["completed_at"] = "2999-01-01T00:00:00.000000Z"
    file.write_text(json.dumps(results))
    assert f"not tested: {RELATION} has not run since fct_orders was built" in _refused(company)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (
            "alter table marts.dim_products alter title type integer using 1",
            "title is INTEGER, declared as VARCHAR",
        ),
        ("alter table marts.dim_products drop title", "title is missing"),
        ("alter table marts.dim_products add column cost int", "cost is not declared"),
        ("drop table marts.dim_products", "the warehouse has no such table"),
    ],
)
def test_broken_contract(company: Company, change: str, wrong: str) -> None:
    company.sql(change)
    company.built()
    assert f"broken contract: dim_products: {wrong}" in _refused(company)


def test_columns_without_a_contract_are_left_out(company: Company) -> None:
    company.models["model.t.dim_products"]["config"]["contract"]["enforced"] = False
    company.sql("alter table marts.dim_products add column cost int")
    company.publish()
    assert len(company.read("analysts", "from dim_products")[0]) == 2


SOURCES = """
version: 2
sources:
  - name: shop
    database: raw
    config:
      freshness: {error_after: {count: 2, period: day}}
      meta: {load: {kind: database, connection: shop}}
    tables:
      - name: orders
"""


def _with_source(company: Company, declaration: str) -> None:
    """`fct_orders` is made from shop.orders."""
    company.settings.sources.mkdir(exist_ok=True)
    (company.settings.sources / "shop.yml").write_text(declaration)
    company.models["source.t.shop.orders"] = {
        "resource_type": "source",
        "unique_id": "source.t.shop.orders",
        "identifier": "orders",
        "name": "orders",
        "source_name": "shop",
        "columns": {},
        "config": {"meta": {"load": {"kind": "database"}}},
    }
    company.models["model.t.fct_orders"]["depends_on"]["nodes"].append("source.t.shop.orders")


@pytest.mark.parametrize("wrong", [SOURCES.replace("connection:", "conection:"), SOURCES + "  bad: ["])
def test_a_source_with_a_mistake_concerns_what_is_made_from_it(company: Company, wrong: str) -> None:
    """Its columns may have classes that dbt read before the mistake, or not at all."""
    company.publish()
    (company.settings.root / "sources").mkdir()
    (company.settings.root / "sources" / "till.yml").write_text(wrong.replace("shop", "till"))
    company.publish()  # nothing is made from the till
    _with_source(company, wrong)
    company.sql("create or replace table marts.dim_products as select 'new' as sku, 'new' as title")
    with pytest.raises(DeclarationError) as refused:
        company.publish(accept_rows=True)
    first, second, *_ = str(refused.value).splitlines()
    assert re.fullmatch("nothing was published; readers keep version .*:", first)
    assert second.startswith("  wrong declaration: shop: the declaration has a mistake")
    assert "shop.yml:" in str(refused.value)
    company.policy("publish: {on_failure: hold_model}\n" + AUDIENCES.replace("publish:\n  keep: 3\n", ""))
    assert list(company.publish(accept_rows=True).held) == ["fct_orders"]
    assert company.read("analysts", "select sku from dim_products") == [("new",)]


@pytest.mark.parametrize(("days", "is_stale"), [(1, False), (3, True), (None, True)])
def test_stale_source(company: Company, days: int | None, is_stale: bool) -> None:
    _with_source(company, SOURCES)
    if days is not None:
        then = datetime.now(UTC) - timedelta(days=days)
        ledger = RunStore(company.settings.ledger)
        ledger.record(LoadRecord(ledger.begin("load"), "shop", "orders", then, then, "loaded", package="p1"))
    company.built()
    if is_stale:
        assert "stale source: shop: " in _refused(company)
    else:
        publish(company.settings)
        version = Versions(company.published).read_current()
        assert version is not None
        assert version.load_packages == {"shop.orders": "p1"}


def test_row_limits(company: Company) -> None:
    company.publish()
    company.sql(
        "delete from marts.fct_orders where order_id < 601",
        "delete from marts.dim_products where sku in ('p1', 'p2')",
    )
    company.built()
    message = _refused(company)
    assert "row count: fct_orders: 3000 rows became 2399: lost 20.03 %, allowed are 20 %" in message
    assert "dim_products" not in message
    assert publish(company.settings, accept_rows=True).version
    company.fill(4000)
    company.built()
    assert "dim_customers: 1000 rows became 4000: gained 300.00 %" in _refused(company)


def test_a_model_has_limits_of_its_own(company: Company) -> None:
    columns: dict[str, tuple[str, str | None]] = {"sku": ("varchar", None), "title": ("varchar", None)}
    company.model("dim_products", columns, ["analysts"], meta={"publish": {"rows": {"max_loss_percent": 0}}})
    company.publish()
    company.sql("delete from marts.dim_products where sku = 'p1'")
    company.built()
    assert "dim_products: 40 rows became 39" in _refused(company)
    company.models["model.t.dim_products"]["config"]["meta"] = {"publish": {"rows": {"max_los": 0}}}
    company.built()
    with pytest.raises(DeclarationError, match=r"dim_products: config\.meta\.publish\.rows"):
        publish(company.settings)


HOLD = AUDIENCES.replace("publish:", "publish:\n  on_failure: hold_model")


def test_hold_model(company: Company) -> None:
    company.policy(HOLD)
    first = company.publish().version
    company.sql(
        "update marts.dim_products set title = 'new'",
        "update marts.fct_orders set amount = 0",
        "update marts.dim_customers set region = 'DACH'",
    )
    company.built(**{RELATION: ("fail", "Got 6 results", 6)})
    published = publish(company.settings)
    assert set(published.held) == {"fct_orders"}
    assert company.read("analysts", "select distinct title from dim_products") == [("new",)]
    assert company.read("analysts", "select max(amount) > 0 from fct_orders") == [(True,)]
    assert company.read("analysts", "select distinct region from dim_customers") == [("DACH",)]
    version = Versions(company.published).read_current()
    assert version is not None
    assert version.audiences["analysts"].tables["fct_orders"].held_from == first
    company.built(**{RELATION: ("fail", "Got 6 results", 6)})
    publish(company.settings)
    version = Versions(company.published).read_current()
    assert version is not None
    assert version.audiences["analysts"].tables["fct_orders"].held_from == first, "not the version between"
    company.publish()
    assert company.read("analysts", "select max(amount) from fct_orders") == [(0,)]


def test_the_manifest_shows_no_rows_of_what_is_held(company: Company) -> None:
    """Every audience can read it; who publishes gets to know them."""
    company.policy(HOLD)
    company.publish()
    company.test("salaries_are_sane", "secret_salaries", "select salary from warehouse.marts.secret_salaries")
    company.models["model.t.dim_products"]["depends_on"]["nodes"] = ["model.t.secret_salaries"]
    company.built(salaries_are_sane=("fail", "Got 1 result", 1))
    held = publish(company.settings).held
    assert held == {"dim_products": "failed test: salaries_are_sane: Got 1 result\n    salary=1000"}
    manifest = json.loads((company.published / "current" / "manifest.json").read_text())
    assert manifest["held"] == {"dim_products": "failed test: salaries_are_sane: Got 1 result"}


def test_what_a_skipped_test_has_not_seen_is_not_published(company: Company) -> None:
    """dbt skips tests after `--fail-fast`, and those that read something that failed."""
    company.policy(HOLD)
    company.test("products_have_titles", "dim_products", "select 1 where false")
    company.publish()
    company.sql("update marts.dim_products set title = 'new'")
    company.built(products_have_titles=("skipped", "", 0))
    assert publish(company.settings).held == {
        "dim_products": "not tested: products_have_titles was skipped, so dim_products is not verified; run `sluice build`"
    }
    assert company.read("analysts", "select count(*) from dim_products where title = 'new'") == [(0,)]
    company.policy(AUDIENCES)
    assert "not tested: products_have_titles was skipped" in _refused(company)


def test_a_relation_to_what_failed_is_looked_at_when_that_is_held(company: Company) -> None:
    """dim_customers does not depend on fct_orders here, nor they on it: only the test reads both."""
    company.policy(HOLD)
    company.models["model.t.fct_orders"]["depends_on"]["nodes"] = []
    company.publish()
    company.sql("update marts.fct_orders set amount = 0")
    failed = {"dim_customers": ("error", "broken", 0), RELATION: ("skipped", "", 0)}
    company.built(**failed)
    assert set(publish(company.settings).held) == {"dim_customers"}
    assert company.read("analysts", "select max(amount) from fct_orders") == [(0,)]
    company.sql("update marts.fct_orders set customer_key = 'nobody' where order_id < 2")
    company.built(**failed)
    assert "fct_orders.customer_key refers in 2 rows to rows that are missing" in _refused(company)


@pytest.mark.parametrize("is_first", [False, True])
def test_what_dbt_skipped_has_no_sql(company: Company, is_first: bool) -> None:
    """dbt compiles a model when it builds it: what it skips after a failure hides neither the failure nor the rest."""
    company.policy(HOLD)
    if not is_first:
        company.publish()
    company.sql("update marts.dim_products set title = 'new'")
    company.models["model.t.fct_orders"]["compiled_code"] = None
    broken = {"dim_customers": ("error", "broken", 0), "fct_orders": ("skipped", "", 0)}
    company.built(**broken)
    assert set(publish(company.settings).held) == {"dim_customers", "fct_orders"}
    assert company.read("analysts", "select distinct title from dim_products") == [("new",)]
    tables = ["dim_products"] if is_first else ["dim_customers", "dim_products", "fct_orders"]
    assert company.read("analysts", "show tables") == [(name,) for name in tables]
    company.policy(AUDIENCES)
    company.built(**broken)
    with pytest.raises(PublishError, match=r"failed model: dim_customers: error: broken"):
        publish(company.settings)


def test_what_is_made_from_a_held_model_is_held_too(company: Company) -> None:
    company.policy(HOLD)
    company.publish()
    company.sql("update marts.fct_orders set amount = 0", "update marts.dim_customers set name = 'new'")
    company.built(dim_customers=("error", "broken", 0))
    assert set(publish(company.settings).held) == {"dim_customers", "fct_orders"}
    assert company.read("support", "select count(*) from dim_customers where name = 'new'") == [(0,)]
    assert company.read("analysts", "select max(amount) > 0 from fct_orders") == [(True,)]


def test_a_version_that_would_not_fit_together_is_not_published(company: Company) -> None:
    """Held orders would refer to customers whom the new version does not have."""
    company.policy(HOLD)
    company.publish()
    company.sql("delete from marts.dim_customers where customer_key = 'c3'")
    company.models["model.t.dim_customers"]["name"] = "customers"  # the table has an alias
    company.tests[f"test.t.{RELATION}"]["test_metadata"]["kwargs"]["to"] = "ref('customers')"
    company.built(**{RELATION: ("fail", "Got 3 results", 3)})
    assert (
        "fct_orders.customer_key refers in 3 rows to rows that are missing: dim_customers is of another version"
        in _refused(company)
    )


def test_a_held_table_obeys_the_policy_of_today(company: Company) -> None:
    company.policy(HOLD)
    company.publish()
    company.policy(HOLD.replace("clear: [email, phone, name]", "clear: [email, phone]"))
    company.built(dim_customers=("error", "broken", 0))
    publish(company.settings)
    assert company.read("support", "show tables") == [("fct_orders",)]


def test_a_held_table_obeys_the_classes_and_filters_of_today(company: Company) -> None:
    company.policy(HOLD)
    company.publish()
    company.policy(HOLD.replace("condition: \"region = 'DACH'\"", "condition: \"region = 'Nordics'\""))
    company.models["model.t.fct_orders"]["columns"]["customer_key"]["config"]["meta"]["data_class"] = "name"
    company.built(fct_orders=("error", "broken", 0))
    publish(company.settings)
    assert company.read("analysts", "show tables") == [("dim_customers",), ("dim_products",)], (
        "it showed a key in clear"
    )
    assert company.read("support", "show tables") == [("dim_customers",), ("fct_orders",)], (
        "who may see it in clear"
    )
    assert company.read("dach", "show tables") == [("dim_customers",), ("dim_products",)], "another region"


def test_a_table_that_was_never_published_cannot_be_held(company: Company) -> None:
    company.policy(HOLD)
    company.built(dim_products=("error", "broken", 0))
    publish(company.settings)
    assert company.read("analysts", "show tables") == [("dim_customers",), ("fct_orders",)]


def test_a_build_that_writes_is_waited_for(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.built()
    monkeypatch.setenv("SLUICE_LOCK_SECONDS", "1")
    program = (
        "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(company.settings.warehouse)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout
        writer.stdout.readline()
        with pytest.raises(LockedError, match="being written by another process"):
            publish(company.settings)
        writer.kill()
    assert publish(company.settings).version


def test_what_is_written_is_read_back(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that gets lost between query and file is found before anybody reads it."""
    company.publish()
    company.sql("update marts.dim_products set title = 'x'")
    company.built()
    real: Callable[..., None] = published_files._verify

    def losing(con: duckdb.DuckDBPyConnection, name: str, query: str, expected: Any) -> None:
        real(con, name, f"{query} limit {expected.rows - 1}", expected)

    monkeypatch.setattr(published_files, "_verify", losing)
    assert "reads back differently" in _refused(company)
