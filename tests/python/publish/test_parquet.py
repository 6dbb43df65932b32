"""Audiences that read open files: partitions, hard links, copies in a bucket."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import duckdb
import fsspec
import pyarrow.dataset
import pytest

from sluice.config.environments import Environment
from sluice.config.profile import Profile
from sluice.errors import ConnectionError, DeclarationError, PublishError
from sluice.publish import publish, rollback
from sluice.publish.published_files import parquet_key
from sluice.publish.versions import Versions
from tests.blocks import ROOT, blocks

from .conftest import AUDIENCES, ORDERS, PARQUET, Company


@pytest.fixture
def lake(company: Company) -> Company:
    company.policy(PARQUET.replace("    WHERE\n", ""))
    meta = {"publish": {"partition_by": "region"}}
    company.model("fct_orders", ORDERS, ["analysts"], ["dim_customers"], meta=meta)
    return company


def _folder(company: Company, table: str) -> Any:
    return company.published / "current" / "analysts" / table


def test_other_engines_read_it(lake: Company) -> None:
    lake.publish()
    orders = pyarrow.dataset.dataset(
        _folder(lake, "fct_orders"), partitioning="hive", exclude_invalid_files=True
    )
    assert orders.count_rows() == 3000
    assert sorted(p.name for p in _folder(lake, "fct_orders").iterdir()) == [
        "region=DACH",
        "region=Nordics",
        "region=Southern%20Europe",
    ]
    row = orders.head(1).to_pylist()[0]
    assert len(row["contact_email"]) == 32
    assert b"CANARY" not in b"".join(f.read_bytes() for f in _folder(lake, "fct_orders").rglob("*.parquet"))


def test_only_changed_tables_are_written(lake: Company) -> None:
    lake.publish()
    before = {
        t: {f.stat().st_ino for f in _folder(lake, t).rglob("*.parquet")}
        for t in ("fct_orders", "dim_customers")
    }
    lake.sql("update marts.fct_orders set amount = amount + 1 where order_id = 1")
    assert lake.publish().written["analysts"] == ["fct_orders"]
    after = {t: {f.stat().st_ino for f in _folder(lake, t).rglob("*.parquet")} for t in before}
    assert after["dim_customers"] == before["dim_customers"]
    assert not after["fct_orders"] & before["fct_orders"]


def test_encrypted_parquet(lake: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTIONS__PUBLISH_ANALYSTS__KEY", "a key")
    lake.publish()
    files = f"{_folder(lake, 'dim_products')}/*.parquet"
    with duckdb.connect() as con:
        with pytest.raises(duckdb.Error):
            con.execute(f"from '{files}'")
        con.execute(f"pragma add_parquet_key('k', '{parquet_key('a key')}')")
        query = f"select count(*) from read_parquet('{files}', encryption_config = {{footer_key: 'k'}})"
        assert con.execute(query).fetchall() == [(40,)]
    assert lake.publish().written["analysts"] == []


def test_a_folder_elsewhere(lake: Company) -> None:
    lake.policy(PARQUET.replace("WHERE", "to: shared/lake"))
    base = lake.settings.root / "shared" / "lake"
    others = base / "finance" / "2026" / "invoices.parquet"
    others.parent.mkdir(parents=True)
    others.touch()
    first = lake.publish().version

    def current() -> Any:
        return json.loads((base / "current.json").read_text())

    assert current()["version"] == first
    lake.sql("delete from marts.dim_products where sku = 'p1'")
    second = lake.publish().version
    tables = current()["tables"]
    assert tables["dim_products"]["rows"] == 39
    assert (
        pyarrow.dataset.dataset([str(base / f) for f in tables["dim_products"]["files"]]).count_rows() == 39
    )
    assert len(list((base / "dim_customers").iterdir())) == 1, "it did not change, so it is there once"
    rollback(lake.settings)
    assert current()["version"] == first
    Versions(lake.published).switch(second)  # killed between the two switches
    lake.built()
    third = publish(lake.settings).version
    assert current()["version"] == third
    assert others.exists(), "what is not ours stays"


def test_a_bucket(lake: Company, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    lake.policy(PARQUET.replace("WHERE", f"to: s3://{s3['bucket']}/published\n    connection: lake"))
    for key in ("endpoint_url", "access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"CONNECTIONS__LAKE__{key.upper()}", s3[key])
    lake.publish()
    lake.sql("delete from marts.dim_products where sku = 'p1'")
    version = lake.publish().version
    store = fsspec.filesystem(
        "s3",
        key=s3["access_key_id"],
        secret=s3["secret_access_key"],
        client_kwargs={"endpoint_url": s3["endpoint_url"]},
    )
    base = f"{s3['bucket']}/published"
    seen = json.loads(store.cat_file(f"{base}/current.json"))
    assert seen["version"] == version
    files = [f"{base}/{f}" for f in seen["tables"]["fct_orders"]["files"]]
    assert pyarrow.dataset.dataset(files, filesystem=store).count_rows() == 3000
    for key in ("endpoint_url", "access_key_id", "secret_access_key"):
        monkeypatch.setenv(f"AWS_{key.upper()}", s3[key])
    (shown,) = [b.text for b in blocks(ROOT / "docs/publishing.md") if "fsspec.filesystem" in b.text]
    shown = shown.replace("bucket/prefix", base).replace("rpt_regional_sales_monthly", "fct_orders")
    exec(shown, {})  # as the page shows it to readers
    monkeypatch.setenv("CONNECTIONS__LAKE__SECRET_ACCESS_KEY", "wrong")
    lake.sql("delete from marts.dim_products where sku = 'p2'")
    with pytest.raises(ConnectionError, match="cannot be used"):
        lake.publish()
    assert Versions(lake.published).current == version, "all audiences or none"
    assert Versions(lake.published).names[-1] == version


def test_a_partitioned_table_without_rows(lake: Company) -> None:
    """There is a file all the same, so that readers find the columns."""
    lake.sql("delete from marts.fct_orders")
    lake.publish()
    found = duckdb.sql(f"from '{_folder(lake, 'fct_orders')}/**/*.parquet'")
    assert (found.columns, found.fetchall()) == ([*ORDERS], [])


@pytest.mark.parametrize(
    ("kind", "fine", "lost"),
    [
        ("hugeint", "7", "170141183460469231731687303715884105720"),
        ("interval", "interval '1 month 2 seconds'", "interval '3 microseconds'"),
    ],
)
def test_values_that_parquet_does_not_hold(lake: Company, kind: str, fine: str, lost: str) -> None:
    """They are found when the file is read back, and the message says which column it is."""
    lake.model("dim_products", {"sku": ("varchar", None), "odd": (kind, None)}, ["analysts"])
    lake.sql(
        f"create or replace table marts.dim_products as select 'a' as sku, cast({fine} as {kind}) as odd"
    )
    lake.publish()
    lake.sql(f"update marts.dim_products set odd = {lost}")
    with pytest.raises(
        PublishError, match=rf"dim_products: Parquet does not hold all values of odd \({kind.upper()}\)"
    ):
        lake.publish()


def test_an_audience_without_tables_changes_its_format(company: Company) -> None:
    """There is always something to open, and it is of the format that is declared."""
    policy = AUDIENCES + "  - {name: nobody, description: Nothing is granted to them yet., format: parquet}\n"
    company.policy(policy)
    company.publish()
    company.policy(policy.replace(", format: parquet", ""))
    company.publish()
    assert company.read("nobody", "show tables") == []
    company.policy(policy)
    company.publish()
    assert (company.published / "current" / "nobody").is_dir()


def test_other_partitions_are_a_change(lake: Company) -> None:
    lake.publish()
    meta: dict[str, Any] = {"publish": {"partition_by": ["Region", "CUSTOMER_key"]}}
    lake.model("fct_orders", ORDERS, ["analysts"], ["dim_customers"], meta=meta)
    lake.sql("delete from marts.fct_orders where customer_key > 'c1'")
    assert lake.publish(accept_rows=True).written["analysts"] == ["fct_orders"]
    meta["publish"]["partition_by"] = "customer_key"
    assert lake.publish().written["analysts"] == ["fct_orders"], "no row changed"
    partitions = {path.name for path in _folder(lake, "fct_orders").iterdir()}
    assert partitions == {"customer_key=c0", "customer_key=c1"}
    meta["publish"]["partition_by"] = "regoin"
    with pytest.raises(
        DeclarationError, match=r"fct_orders: .*partition_by names 'regoin'; its columns are amount, "
    ):
        lake.publish()


def test_folders_are_not_named_after_personal_values(lake: Company) -> None:
    """An encrypted file in a folder of that name would not help."""
    meta = {"publish": {"partition_by": ["region", "contact_email"]}}
    lake.model("fct_orders", ORDERS, ["analysts"], ["dim_customers"], meta=meta)
    with pytest.raises(
        DeclarationError, match=r"partition_by names 'contact_email', whose data class is 'email'"
    ):
        lake.publish()


def test_a_rehearsal_writes_no_copy_elsewhere(lake: Company) -> None:
    """Another target of the project is production, whose readers have that copy."""
    root = lake.settings.root
    output = Profile(root, root / "profiles.yml", "x", "prod", ("dev", "prod"), {}, {})
    prod = Environment(output, root / "prod", is_default=False)
    lake.settings = replace(lake.settings, others=(prod,))
    lake.policy(PARQUET.replace("WHERE", "to: shared/lake"))
    assert lake.publish().not_copied == ["analysts"]
    assert not (root / "shared").exists()
