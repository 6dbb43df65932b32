"""Whole reviews, from git and dbt to the report, over a project of two models."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sluice.config.settings import Settings
from sluice.review import Level, Review, markdown, review

FILES = {
    "dbt_project.yml": "name: tiny\nprofile: tiny\nmodel-paths: [models, sources]\n",
    "profiles.yml": "tiny:\n  target: check\n  outputs:\n    check: {type: duckdb, path: ':memory:'}\n",
    "dbt-bouncer.yml": """
manifest_checks:
  - name: check_model_description_populated
    description: A reader has to know what one row is.
  - name: check_model_names
    include: ^models/marts
    model_name_pattern: ^fct_[a-z_]+$
""",
    ".sqlfluff": "[sqlfluff]\ndialect = duckdb\nrules = CP01\n"
    "[sqlfluff:rules:capitalisation.keywords]\ncapitalisation_policy = lower\n",
    "sources/shop.yml": "version: 2\nsources: [{name: shop, schema: shop, tables: [{name: orders}]}]\n",
    "models/orders.sql": "{# one row per order #}\nSELECT id, amount\nfrom {{ source('shop', 'orders') }}\n",
    "models/marts/fct_sales.sql": "{# one row per sale #}\nselect id, amount\nfrom {{ ref('orders') }}\n",
    "models/marts/_marts__models.yml": """
version: 2
models: [{name: fct_sales, description: One row per sale of the shop.}]
exposures:
  - {name: board, type: dashboard, owner: {name: Ann, email: ann@example.com}, depends_on: [ref('fct_sales')]}
""",
}
SALES, ORDERS = "models/marts/fct_sales.sql", "models/orders.sql"


class Repository:
    """The project on branch `main`; the work tree is the branch that is reviewed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = Settings(root=root, home=root / "warehouse")
        for name, text in {**FILES, ".gitignore": "/warehouse/\n"}.items():
            self.write(name, text)
        self._git("init", "-q", "-b", "main")
        self.commit()

    def write(self, name: str, text: str) -> None:
        """Write a file of the work tree."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def commit(self) -> None:
        """Make the work tree the base."""
        self._git("add", ".")
        self._git("-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-qm", "state")

    def review(self) -> Review:
        """The review of the work tree against the last commit."""
        return review(self.settings, "main")

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, check=True)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def ids(found: Review) -> set[str]:
    return {f.id for f in [*found.findings, *found.lint] if f.level > Level.SAFE}


BROKEN = {
    "Jinja": (ORDERS, FILES[ORDERS] + "{% if %}\n", "orders.sql"),
    "YAML": ("models/_models.yml", "version: 2\nmodels: [{name: orders\n", "_models.yml"),
}


@pytest.mark.full
@pytest.mark.parametrize("what", ["Jinja", "YAML"])
def test_a_base_that_does_not_parse(repository: Repository, what: str) -> None:
    """The branch fixes the base and adds a condition; what the base is not needed for is said all the same."""
    name, text, named = BROKEN[what]
    repository.write(name, text)
    repository.commit()
    repository.write(name, FILES.get(name, "version: 2\n"))
    repository.write(SALES, FILES[SALES] + "WHERE amount > 0\n")
    found = repository.review()
    assert found.verdict is Level.LOOK
    assert ids(found) >= {"compile:base", "not-compared:fct_sales", "lint:fct_sales.CP01"}
    assert ("not-compared:orders" in ids(found)) == (what == "Jinja")
    assert [(r.name, r.owner) for r in found.reach if r.kind == "exposure"] == [
        ("board", "Ann <ann@example.com>")
    ]
    page = markdown(found)
    assert "the base does not compile" in page
    assert named in page


@pytest.mark.full
def test_lint_and_conventions_are_those_the_branch_breaks(repository: Repository) -> None:
    """The base has a keyword in capitals and a model without a description, which are no faults of the branch."""
    repository.write(ORDERS, FILES[ORDERS] + "where id > 0\n")
    repository.write(SALES, FILES[SALES].replace("select", "SELECT") + "where id > 0\n")
    repository.write("models/marts/refunds.sql", "select id from {{ ref('orders') }}\n")
    found = repository.review()
    texts = {f.id: f.text for f in found.lint}
    assert [i for i in ids(found) if i.startswith("lint")] == ["lint:fct_sales.CP01"]
    assert texts["lint:fct_sales.CP01"].startswith(f"{SALES}:2: CP01 ")
    named = {i for i in ids(found) if i.startswith("convention:")}
    assert named == {
        "convention:refunds.grain",
        "convention:refunds.model_description_populated.0",
        "convention:refunds.model_names.1",
    }
    assert "A reader has to know what one row is" in markdown(found)


@pytest.mark.full
def test_a_line_that_is_changed_is_linted_whole(repository: Repository) -> None:
    repository.write(ORDERS, FILES[ORDERS].replace("amount\n", "amount * 2 as amount\n"))
    assert "lint:orders.CP01" in ids(repository.review())


@pytest.mark.full
def test_a_broken_convention_tool_is_no_silence(repository: Repository) -> None:
    repository.write("dbt-bouncer.yml", "manifest_checks: [{name: check_nothing_of_the_kind}]\n")
    repository.write(SALES, FILES[SALES] + "where id > 0\n")
    assert ids(repository.review()) == {
        *("where-added:fct_sales", "convention:dbt-bouncer", "setting:dbt-bouncer.yml")
    }


@pytest.mark.full
def test_what_dbt_does_not_read_is_not_compiled(repository: Repository) -> None:
    repository.review()
    (kept,) = repository.settings.home.glob("review/*/target/manifest.json")
    repository.write("docs/how.md", "# How\n")
    before = kept.stat().st_mtime_ns
    found = repository.review()
    assert (found.verdict, found.files, found.models) == (Level.SAFE, ["docs/how.md"], [])
    assert kept.stat().st_mtime_ns == before


@pytest.mark.full
def test_an_incremental_model_is_compiled_as_in_a_run_that_adds(repository: Repository) -> None:
    config = "{{ config(materialized='incremental', unique_key='id') }}\n"
    repository.write(SALES, config + FILES[SALES])
    repository.commit()
    late = "{% if is_incremental() %}where id > (select max(id) from {{ this }}){% endif %}\n"
    repository.write(SALES, config + FILES[SALES] + late)
    assert {i for i in ids(repository.review()) if "where" in i} == {"incremental-where-added:fct_sales"}


@pytest.mark.full
def test_a_unit_test_that_dbt_refuses_is_found_though_its_file_did_not_change(repository: Repository) -> None:
    """dbt parses a unit test only when its own file changed, and then refuses it in the next whole parse."""
    unit = "unit_tests:\n  - {name: fct_sales__adds, model: fct_sales, given: [], expect: {rows: []}}\n"
    repository.write("models/marts/_units.yml", f"version: 2\n{unit}")
    repository.commit()
    assert repository.review().verdict is Level.SAFE
    late = "{% if is_incremental() %}where id > (select max(id) from {{ this }}){% endif %}\n"
    repository.write(
        SALES, FILES[SALES] + late.replace("{%", "{{ config(materialized='incremental') }}{%", 1)
    )
    found = repository.review()
    assert ids(found) == {"compile:head"}
    assert "Boolean override for 'is_incremental'" in markdown(found)


@pytest.mark.full
def test_the_base_has_the_packages_that_are_installed(repository: Repository) -> None:
    """Git does not keep them, and nothing is downloaded for a review."""
    repository.write("packages.yml", "packages: [{package: some/helpers, version: 1.0.0}]\n")
    repository.write("dbt_packages/helpers/dbt_project.yml", "name: helpers\n")
    repository.write("dbt_packages/helpers/macros/two.sql", "{% macro two() %}2{% endmacro %}\n")
    repository.write(".gitignore", "/warehouse/\n/dbt_packages/\n")
    repository.write(ORDERS, FILES[ORDERS] + "where id > {{ helpers.two() }}\n")
    repository.commit()
    repository.write(SALES, FILES[SALES] + "where amount > 0\n")
    assert {i for i in ids(repository.review()) if "lint" not in i} == {"where-added:fct_sales"}
    repository.write("packages.yml", "packages: [{package: some/helpers, version: 1.1.0}]\n")
    assert "setting:packages.yml" in ids(repository.review())


def test_what_changes_results_without_a_model_is_not_safe(repository: Repository) -> None:
    """From git to the verdict: the body of a generic test, the time zone, code, documentation."""
    once = "{% test once(model, column_name) %}select {{ column_name }} from {{ model }} group by 1 having count(*) > 1{% endtest %}"
    repository.write("macros/once.sql", once)
    tested = FILES["models/marts/_marts__models.yml"].replace(
        "the shop.}", "the shop., columns: [{name: id, data_tests: [once]}]}"
    )
    repository.write("models/marts/_marts__models.yml", tested)
    repository.commit()
    repository.write("docs/how.md", "# How\n")
    assert repository.review().verdict is Level.SAFE
    repository.write("macros/once.sql", once.replace("> 1", "> 2"))
    repository.write(
        "profiles.yml", FILES["profiles.yml"].replace("}", ", settings: {TimeZone: America/New_York}}")
    )
    repository.write("pipelines/shop.py", "A = 1\n")
    found = repository.review()
    assert ids(found) == {"test-weakened:fct_sales.id.once", "setting:profiles.yml", "not-judged:pipelines"}
    assert found.verdict is Level.STOP
    assert "**Not looked at**, as it cannot change a result: `docs/how.md`" in markdown(found)
    assert "`macros/once.sql`: `once` on `fct_sales.id` asks something else now" in markdown(found)
