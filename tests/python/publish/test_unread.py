"""Tables that the last build says are as they were published are not read in the warehouse, and nothing else is spared.

The builds here say of a table what a test wants, also what is wrong: whether its rows were read shows in what readers get.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from sluice.dbt.build_state import BuildState, NodeState, keep_state
from sluice.publish import rollback
from sluice.publish.publication import Published
from tests.python.publish.conftest import AUDIENCES, PARQUET, Company
from tests.python.publish.test_publish import flipped
from tests.python.small_project import SmallProject

SAME = {"dim_customers": "c1", "fct_orders": "o1", "dim_products": "p1"}
"""By table what stands for the fingerprint of its rows."""
ALL = ["dim_customers", "dim_products", "fct_orders"]
TITLES = "select count(distinct title) from dim_products"
ONE_TITLE = "update marts.dim_products set title = 'same'"


def built(company: Company, outputs: Mapping[str, str] = SAME, unseen_writes_at: str = "") -> None:
    """What a build leaves that has made tables with these fingerprints."""
    nodes = {
        f"model.t.{name}": NodeState("select 1", "", {}, output, "2026-01-01T00:00:00+00:00")
        for name, output in outputs.items()
    }
    keep_state(company.settings, BuildState(nodes=nodes, unseen_writes_at=unseen_writes_at))


def published_twice(company: Company, **second: str) -> Published:
    """Published, then again after a build whose fingerprints differ by `second`."""
    built(company)
    company.publish()
    built(company, SAME | second)
    return company.publish()


def test_tables_that_are_as_they_were_are_not_read(company: Company) -> None:
    built(company)
    assert company.publish().unread == {"analysts": [], "support": [], "dach": []}
    file = company.path("analysts").stat().st_ino
    company.sql(ONE_TITLE)
    built(company)  # a build that is wrong about dim_products
    published = company.publish()
    assert {name: sorted(tables) for name, tables in published.unread.items()} == {
        "analysts": ALL,
        "support": ["dim_customers", "fct_orders"],
        "dach": ALL,
    }
    assert published.written == {"analysts": [], "support": [], "dach": []}
    assert company.path("analysts").stat().st_ino == file
    assert company.read("analysts", TITLES) == [(40,)]


@pytest.mark.parametrize("form", ["duckdb", "parquet"])
def test_a_changed_table_is_read_and_the_others_come_from_the_published_file(
    form: str, company: Company
) -> None:
    if form == "parquet":
        company.policy(PARQUET.replace("WHERE", "row_filter: {condition: 'true'}"))
    built(company)
    company.publish()
    before = rows(company, form)
    company.sql(ONE_TITLE, "update marts.fct_orders set amount = 0")
    built(company, SAME | {"dim_products": "p2"})  # wrong about fct_orders
    published = company.publish()
    assert sorted(published.unread["analysts"]) == ["dim_customers", "fct_orders"]
    after = rows(company, form)
    assert {name for name in ALL if before[name] != after[name]} == {"dim_products"}
    version = company.published / "current" / "manifest.json"
    tables = json.loads(version.read_text())["audiences"]["analysts"]["tables"]
    assert tables["fct_orders"]["rows_in_warehouse"] == 3000


def rows(company: Company, form: str) -> dict[str, list[object]]:
    """What analysts get, by table."""
    if form == "duckdb":
        return {name: company.read("analysts", f"from {name} order by all") for name in ALL}
    files = f"{company.published}/current/analysts"
    return {
        name: company.read("support", f"from read_parquet('{files}/{name}/*.parquet') order by all")
        for name in ALL
    }


def test_where_something_else_wrote_to_the_warehouse_all_is_read(company: Company) -> None:
    built(company)
    company.publish()
    company.sql(ONE_TITLE)  # after the build
    assert not any(company.publish().unread.values())
    assert company.read("analysts", TITLES) == [(1,)]


def test_without_what_a_build_knows_all_is_read(company: Company) -> None:
    company.publish()
    assert not any(company.publish().unread.values())
    (company.settings.home / "build_state.json").write_text('{"warehouse": ')
    assert not any(company.publish().unread.values())


def test_after_hooks_ran_all_is_read(company: Company) -> None:
    """A hook may have written into a table after its fingerprint was taken."""
    built(company)
    company.publish()
    company.sql(ONE_TITLE)
    built(company, unseen_writes_at="2026-01-02T00:00:00+00:00")
    assert not any(company.publish().unread.values())
    assert company.read("analysts", TITLES) == [(1,)]


@pytest.mark.parametrize(
    ("before", "after", "read"),
    [
        ("masks: {email: hash, phone: partial", "masks: {email: hash, phone: 'null'", {"dim_customers"}),
        ("clear: [email, phone, name]", "clear: [email, name]", set()),
        ("condition: \"region = 'DACH'\"", "condition: \"region <> 'DACH'\"", set()),
    ],
)
def test_another_policy_is_followed(before: str, after: str, read: set[str], company: Company) -> None:
    built(company)
    company.publish()
    company.policy(AUDIENCES.replace(before, after))
    published = company.publish()
    assert set(ALL) - set(published.unread["analysts"]) == read
    assert "dim_customers" not in [
        *(published.unread["support"] if "clear" in before else ()),
        *(published.unread["dach"] if "condition" in before else ()),
    ]
    if "condition" in before:
        assert company.read("dach", "select count(*) from dim_customers where region = 'DACH'") == [(0,)]


def test_with_another_key_of_the_mask_all_is_read(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.policy(AUDIENCES.replace("  keep: 3", "  keep: 3\n  masking_key: ${masking.key}"))
    hashes = set()
    built(company)
    for key in ("one", "other"):
        monkeypatch.setenv("CONNECTIONS__MASKING__KEY", key)
        assert not any(company.publish().unread.values())
        hashes.add(company.read("analysts", "select email from dim_customers where customer_key = 'c1'")[0])
    assert len(hashes) == 2


@pytest.mark.parametrize(
    "condition",
    [
        "region = 'DACH' and now() > timestamp '2026-01-01'",
        "customer_key not in (select sku from warehouse.marts.dim_products)",
        "random() < 2",
    ],
)
def test_a_row_filter_that_may_change_its_mind_is_asked_again(condition: str, company: Company) -> None:
    company.policy(AUDIENCES.replace("\"region = 'DACH'\"", f'"{condition}"'))
    published = published_twice(company)
    assert published.unread["dach"] == ["dim_products"]
    assert sorted(published.unread["analysts"]) == ALL


@pytest.mark.parametrize("form", ["duckdb", "parquet"])
def test_a_damaged_file_is_written_again_from_the_warehouse(form: str, company: Company) -> None:
    if form == "parquet":
        company.policy(PARQUET.replace("WHERE", ""))
    built(company)
    company.publish()
    before = rows(company, form)
    path = company.path("analysts")
    file = path if form == "duckdb" else next(path.with_suffix("").rglob("*.parquet"))
    file.chmod(0o600)
    about = file.stat()
    flipped(file)
    set_times(file, about.st_mtime_ns)
    assert published_again(company).unread["analysts"] == []
    assert rows(company, form) == before


def test_a_file_edited_by_hand_is_written_again(company: Company) -> None:
    built(company)
    company.publish()
    file = company.path("analysts").resolve()
    file.chmod(0o600)
    file.parent.chmod(0o700)
    with duckdb.connect(str(file)) as con:
        con.execute("update dim_products set title = 'by hand'")
    assert published_again(company).unread["analysts"] == []
    assert company.read("analysts", TITLES) == [(40,)]


def set_times(file: Path, mtime_ns: int) -> None:
    os.utime(file, ns=(mtime_ns, mtime_ns))


def published_again(company: Company) -> Published:
    built(company)
    return company.publish()


def test_after_a_rollback_the_version_it_gave_is_compared(company: Company) -> None:
    built(company)
    first = company.publish().version
    company.sql(ONE_TITLE)
    built(company, SAME | {"dim_products": "p2"})
    company.publish()
    rollback(company.settings, first)
    published = company.publish()
    assert sorted(published.unread["analysts"]) == ["dim_customers", "fct_orders"]
    assert company.read("analysts", TITLES) == [(1,)]


def test_a_changed_description_is_published_without_reading_the_rows(company: Company) -> None:
    built(company)
    company.publish()
    company.models["model.t.dim_products"]["description"] = "One row per product."
    published = published_again(company)
    assert sorted(published.unread["analysts"]) == ALL
    comment = "select comment from duckdb_tables() where table_name = 'dim_products'"
    assert company.read("analysts", comment) == [("One row per product.",)]


def test_the_manifest_does_not_tell_what_an_audience_may_not_see(company: Company) -> None:
    """Whoever knows all of a table but one value could find that out by trying, were the digest not keyed."""
    built(company)
    digests = set()
    for _ in range(2):
        company.publish()
        manifest = json.loads((company.published / "current" / "manifest.json").read_text())
        digests.add(manifest["audiences"]["analysts"]["tables"]["dim_customers"]["made_from"])
        (company.settings.home / "keys" / "masking").unlink()
        for file in sorted(company.published.rglob("*"), reverse=True):
            file.chmod(0o700)
        shutil.rmtree(company.published)
    assert len(digests) == 2


@pytest.mark.full
@pytest.mark.timeout(600)  # it builds five times
def test_builds_tell_what_has_changed(tmp_path: Path) -> None:
    """With real builds: a changed table is read, and all are once a hook may have written into them."""
    project = SmallProject(tmp_path)

    def unread_after(step: int) -> list[str]:
        with closing(sqlite3.connect(project.root / "shop.sqlite")) as con, con:
            con.execute("update products set step = ?", [step])
        project.sluice("load")
        project.sluice("build")
        unread: list[str] = json.loads(project.sluice("publish", "--json"))["audiences"][0]["unread"]
        return unread

    project.sluice("run")
    assert unread_after(1) == ["fct_orders"]
    other = project.root / "models" / "other.sql"
    hook = "post_hook='update marts.fct_orders set step = 7'"
    other.write_text(
        f"{{{{ config({hook}, contract={{'enforced': false}}, grants={{'select': []}}) }}}}\nselect 1 as one"
    )
    assert unread_after(2) == []
    with duckdb.connect(str(project.path), read_only=True) as published:
        assert published.sql("select distinct step from fct_orders").fetchall() == [(7,)]
    other.unlink()
    assert unread_after(3) == ["fct_orders"]
