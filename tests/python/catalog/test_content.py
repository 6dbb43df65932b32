"""What the catalog says of a project, and where it is lenient."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from sluice.catalog import build_document, gather, render
from sluice.catalog.facts import CatalogFacts
from sluice.catalog.html_page import bundle
from sluice.catalog.profiles import BINS, profile
from sluice.catalog.published_content import published_content
from sluice.catalog.readers import openings
from sluice.catalog.sample_queries import sample_queries
from sluice.cli import app
from sluice.config.audiences import Audience
from sluice.config.glossary import read_glossary
from sluice.config.settings import Settings
from sluice.engine.warehouse import open_warehouse
from sluice.errors import DeclarationError, LockedError, SluiceError
from sluice.publish.published_files import fingerprint, parquet_key, write_parquet, writing_connection
from sluice.publish.versions import PublishedAudience, PublishedTable
from sluice.runs.history import History
from sluice.workflow.build import record_build
from tests.python.catalog.small import MODELS, Company


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Company:
    """A company of one's own, to change."""
    monkeypatch.delenv("DBT_TARGET_PATH", raising=False)
    monkeypatch.delenv("SLUICE_HOME", raising=False)
    return Company(tmp_path / "company")


def by_name(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = next(t for t in document["tables"] if t["name"] == name)
    return {**table, **document["details"][document["tables"].index(table)]}


def test_a_table_says_who_owns_it_how_fresh_it_is_and_what_it_promises(
    company: Company, gathered: CatalogFacts
) -> None:
    orders = by_name(build_document(gathered), "fct_orders")
    assert orders["grain"] == "One row per order."
    assert (orders["owner"], orders["mail"]) == ("Sales", "sales@anycompany.example")
    assert orders["rows"] == 500
    assert orders["contract"]
    assert orders["asOf"] < orders["builtAt"] or orders["asOf"]
    assert orders["seen"] == {"analysts": {}}
    assert by_name(build_document(gathered), "dim_customers")["seen"] == {
        "analysts": {"email": "hash", "shouted_name": "undecided"}
    }


def test_tests_have_claims_states_and_a_past(gathered: CatalogFacts) -> None:
    orders = by_name(build_document(gathered), "fct_orders")
    found = {test["name"]: test for test in orders["tests"]}
    failing = found["accepted_values_fct_orders_status"]
    assert failing["claim"] == "status is one of open, paid."
    assert [status for _, status, _ in failing["history"]] == ["pass", "pass", "fail"]
    assert failing["since"] == failing["history"][-1][0]
    assert failing["rows"]["rows"] == [["lost", 1]]
    assert found["relationships_fct_orders_customer_key"]["claim"] == (
        "Every customer_key is a customer_key of dim_customers."
    )


def test_loads_and_rows_over_time(gathered: CatalogFacts) -> None:
    document = build_document(gathered)
    customers = by_name(document, "shop.customers")
    assert [load["status"] for load in customers["loads"]] == ["loaded", "failed", "loaded"]
    assert customers["limits"] == {"warn_after": 12}
    assert [rows for _, rows in by_name(document, "fct_orders")["counts"]] == [500, 500, 500]


def test_a_source_whose_last_load_failed_is_marked(
    gathered: CatalogFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = gathered.history.loads
    monkeypatch.setitem(
        loads,
        ("shop", "customers"),
        [*loads["shop", "customers"], loads["shop", "customers"][1]],
    )
    tables = {t["name"]: t for t in build_document(gathered)["tables"]}
    assert {name for name, table in tables.items() if table.get("loadFailed")} == {"shop.customers"}


def test_a_build_is_kept_once_and_old_ones_are_forgotten(
    fresh: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.runs.store.KEPT_BUILDS", 3)
    now = datetime.now(UTC)
    assert fresh.build("one", now, {})
    assert not fresh.build("one", now, {})
    for number in range(5):
        fresh.build(f"more-{number}", now + timedelta(seconds=number + 1), {})
    history = History(fresh.settings.ledger)
    assert len(history.builds) == 3
    assert len(history.results["model.small.fct_orders"]) == 3


def test_compiling_and_docs_are_no_builds(fresh: Company) -> None:
    fresh.build("one", datetime.now(UTC), {})
    file = fresh.settings.target / "run_results.json"
    run = json.loads(file.read_text())
    run["args"]["which"], run["metadata"]["invocation_id"] = "generate", "two"
    file.write_text(json.dumps(run))
    assert not record_build(fresh.settings)
    assert len(History(fresh.settings.ledger).builds) == 1


def test_without_warehouse_ledger_glossary_or_audiences(fresh: Company) -> None:
    shutil.rmtree(fresh.settings.home)
    (fresh.settings.root / "docs" / "glossary.yml").unlink()
    (fresh.settings.root / "audiences.yml").unlink()
    document = build_document(gather(fresh.settings))
    assert by_name(document, "fct_orders")["columns"]
    assert document["changes"] is None
    assert "core" in render(document)


def test_without_a_manifest_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="Run `sluice build` first"):
        gather(Settings(root=tmp_path, home=tmp_path / "warehouse"))


def test_a_writer_is_named_by_its_file(fresh: Company) -> None:
    code = f"import duckdb, time; c = duckdb.connect({str(fresh.settings.warehouse)!r}); print(1, flush=True); time.sleep(60)"
    import sys

    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            with pytest.raises(LockedError, match="another process"), open_warehouse(fresh.settings):
                pass
        finally:
            writer.kill()


def test_every_sample_query_runs_where_it_says(
    company: Company, gathered: CatalogFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a table with audiences in the file of each, opened as the page shows; others in the warehouse."""
    monkeypatch.chdir(company.settings.root)
    ran: dict[bool, int] = {True: 0, False: 0}
    for key, table in gathered.manifest.tables.items():
        opened = [sql for _, sql in openings(gathered, table)]
        assert len(opened) == len(table.audiences)
        for opening in opened or [""]:
            with ExitStack() as stack:
                if opening:
                    connection = stack.enter_context(duckdb.connect())
                    connection.execute(opening)
                else:
                    found = stack.enter_context(open_warehouse(company.settings))
                    assert found is not None
                    connection = found
                for title, sql in sample_queries(gathered, key):
                    assert title
                    connection.execute(sql)
                    ran[bool(opening)] += 1
    assert ran[True] >= 6
    assert ran[False] >= 6


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_parquet_and_encrypted_files_are_opened_as_the_page_shows(
    gathered: CatalogFacts, is_encrypted: bool, tmp_path: Path
) -> None:
    key = "a key"
    audience = Audience(name="lake", description="They read open files.", format="parquet")
    published = PublishedAudience(format="parquet", is_encrypted=is_encrypted, tables={})
    assert gathered.version
    facts = copy(gathered)
    facts.version = gathered.version.model_copy(update={"audiences": {"lake": published}})
    facts.audiences, facts.published = {"lake": audience}, str(tmp_path)
    table = replace(gathered.manifest.tables["model.small.fct_orders"], audiences=("lake",))
    with writing_connection() as con:
        expected = PublishedTable(
            model="m",
            rows=1,
            fingerprint="",
            columns={"a": "INTEGER"},
            classed={},
            condition=None,
            rows_in_warehouse=1,
        )
        rows, digest = fingerprint(con, "select 1 as a", expected.columns)
        expected = expected.model_copy(update={"rows": rows, "fingerprint": digest})
        folder = tmp_path / "current" / "lake" / "fct_orders"
        write_parquet(con, folder, key if is_encrypted else None, "fct_orders", "select 1 as a", expected)
    ((_, opening),) = openings(facts, table)
    assert ("…" in opening) == is_encrypted
    with duckdb.connect() as con:
        con.execute(opening.replace("…", parquet_key(key)))
        assert con.execute("from fct_orders").fetchall() == [(1,)]


def test_published_rows_are_shown_as_an_audience_reads_them(gathered: CatalogFacts) -> None:
    document = build_document(gathered)
    orders = by_name(document, "fct_orders")["published"]
    assert orders["audience"] == "analysts"
    sample = orders["sample"]
    assert sample["columns"] == ["order_id", "status", "amount_eur", "business_date", "gone"]
    assert sample["hidden"] == [None, None, None, None, "hidden"], "what the model does not declare any more"
    assert len(sample["rows"]) == 5
    assert {row[3] for row in sample["rows"]} == {"2026-03-31"}, "the newest come first"
    assert orders["trend"]["unit"] == "day"
    assert sum(value for _, value in orders["trend"]["measures"]["amount_eur"]) > 0
    customers = by_name(document, "dim_customers")["published"]["sample"]
    assert dict(zip(customers["columns"], customers["hidden"], strict=True)) == {
        "customer_key": None,
        "email": "hash",
        "shouted_name": "hidden",
        "segment": None,
    }


def test_no_rows_of_what_nobody_may_read(gathered: CatalogFacts) -> None:
    for name in ("rpt_sales_monthly", "stg_shop__orders", "shop.orders"):
        assert "published" not in by_name(build_document(gathered), name), f"{name} is not published"


def test_no_rows_of_encrypted_files(company: Company, gathered: CatalogFacts) -> None:
    facts = copy(gathered)
    assert gathered.version
    locked = {
        name: a.model_copy(update={"is_encrypted": True}) for name, a in gathered.version.audiences.items()
    }
    facts.version = gathered.version.model_copy(update={"audiences": locked})
    assert published_content(company.settings, facts) == {}


def test_changes_tell_new_edited_and_uncommitted_models_apart(fresh: Company) -> None:
    """A model that was published as it stands here is not edited, whether it was committed or not."""
    root = fresh.settings.root

    def run_git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)

    def notes() -> dict[str, tuple[str, list[str]]]:
        changes = gather(fresh.settings, with_profiles=False).changes
        assert changes
        return {change["table"]: (change["what"], change.get("notes", [])) for change in changes["tables"]}

    files = {name: root / node["original_file_path"] for name, node in _models(fresh).items()}
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(MODELS[name][2])
    run_git("init", "-q")
    fresh.publish(500)
    assert "stg_shop__orders" not in notes(), "it is as it was published, though nothing is committed"
    run_git("add", ".")
    run_git("commit", "-qm", "all")
    _models(fresh)["stg_shop__orders"]["checksum"]["checksum"] = "another"
    new = _models(fresh)["stg_shop__orders"] | {
        "unique_id": "model.small.stg_new",
        "name": "stg_new",
        "alias": "stg_new",
        "original_file_path": "models/staging/stg_new.sql",
    }
    fresh.manifest["nodes"]["model.small.stg_new"] = new
    (root / "models" / "staging" / "stg_new.sql").write_text("select 1")
    fresh.write_manifest()
    found = notes()
    assert found["stg_shop__orders"] == ("changed", ["its SQL was edited"])
    assert found["stg_new"] == ("added", ["a new model, not committed"])
    files["stg_shop__orders"].write_text("select 2")
    assert notes()["stg_shop__orders"] == ("changed", ["its SQL was edited, not committed"])


def _models(company: Company) -> dict[str, Any]:
    return {
        node["name"]: node for node in company.manifest["nodes"].values() if node["resource_type"] == "model"
    }


def test_profiles_are_right() -> None:
    with duckdb.connect() as con:
        con.execute(
            "create table t as select i as id, case when i < 25 then null else i % 4 end as few,"
            " case when i = 99 then 1e9 else i::double end as outlier, date '2026-01-01' + i::integer as day,"
            " case when i % 10 = 0 then 'rare' else 'often' end as kind, {'a': i} as nested from range(100) t(i)"
        )
        found = profile(con, "t", ["id", "few", "outlier", "day", "kind", "nested"], 100)
    assert (found["few"]["nulls"], found["few"]["distinct"]) == (25, 4)
    assert found["kind"]["top"] == [["often", 90], ["rare", 10]]
    assert (found["day"]["low"], found["day"]["high"]) == ("2026-01-01", "2026-04-10")
    assert found["id"]["bins"] == [5] * BINS
    assert sum(found["outlier"]["bins"]) == 100
    assert found["outlier"]["to"] < 1e9
    assert found["outlier"]["high"] == 1e9
    assert set(found["nested"]) == {"rows", "nulls", "distinct", "kind"}


def test_profiles_are_kept_until_something_changes(fresh: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    first = gather(fresh.settings).profiles
    monkeypatch.setattr("sluice.catalog.profile_cache.profile", None)  # would fail if it were called
    assert gather(fresh.settings).profiles == first


def run(company: Company, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.chdir(company.settings.root)
    return CliRunner().invoke(app, ["catalog", *arguments])


def test_the_command_writes_one_file(fresh: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(fresh, monkeypatch)
    assert result.exit_code == 0, result.output
    assert "target/catalog.html" in result.output
    assert (fresh.settings.target / "catalog.html").stat().st_size > 50_000


def test_check_passes_and_writes_nothing(fresh: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(fresh, monkeypatch, "--check")
    assert result.exit_code == 0, result.output
    assert not (fresh.settings.target / "catalog.html").exists()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"description": ""}, "fct_orders has no description"),
        ({"group": None}, "fct_orders has no owner"),
        ({"columns": {}}, "fct_orders has columns without a description: order_id"),
    ],
)
def test_check_fails_on_bare_marts(
    fresh: Company, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any], says: str
) -> None:
    fresh.manifest["nodes"]["model.small.fct_orders"] |= broken
    fresh.write_manifest()
    result = run(fresh, monkeypatch, "--check")
    assert result.exit_code == 1
    assert says in result.output


def test_check_fails_on_untested_marts(fresh: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("primary_key_fct_orders", "accepted_values_fct_orders_status"):
        del fresh.manifest["nodes"][f"test.small.{name}"]
    del fresh.manifest["nodes"]["test.small.primary_key_rpt"]
    fresh.write_manifest()
    result = run(fresh, monkeypatch, "--check")
    assert result.exit_code == 1
    assert "fct_orders has no test of its key" in result.output
    assert "rpt_sales_monthly has no test at all" in result.output


def test_a_staging_model_may_be_bare(fresh: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.manifest["nodes"]["model.small.stg_shop__orders"] |= {"description": "", "group": None}
    fresh.write_manifest()
    assert run(fresh, monkeypatch, "--check").exit_code == 0


def test_a_broken_glossary_is_named(tmp_path: Path) -> None:
    (tmp_path / "glossary.yml").write_text("terms:\n  - {term: revenue, sinonyms: [x]}\n", encoding="utf-8")
    with pytest.raises(DeclarationError, match="sinonyms"):
        read_glossary(tmp_path / "glossary.yml")


def test_the_page_allows_one_script_and_no_connection(page_text: str) -> None:
    assert "default-src 'none'; script-src 'sha256-" in page_text
    assert "connect-src" not in page_text
    assert not [
        word for word in ('http-equiv="refresh"', "@import", '<link rel="stylesheet"') if word in page_text
    ]


def test_text_of_the_project_cannot_become_markup(fresh: Company) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    fresh.manifest["nodes"]["model.small.fct_orders"]["description"] = evil
    fresh.manifest["metadata"]["project_name"] = evil
    fresh.write_manifest()
    page = render(build_document(gather(fresh.settings, with_profiles=False)))
    assert "<script>alert" not in page
    assert "<img" not in page


def test_modules_are_put_after_those_they_import() -> None:
    script = bundle()
    assert (
        script.index("const module_dom")
        < script.index("const module_search")
        < script.index("const module_main")
    )
    assert "\nimport " not in script
    assert "\nexport " not in script
