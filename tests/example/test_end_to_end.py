"""The whole way, from real servers to marts, against the truth that only tests may see.

The sandbox's world says what really happened. The marts must say the same, after a first load, after nothing
has changed, and after three weeks of incremental loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from sandbox import company as sandbox

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 9, 30)
MARTS = (
    "dim_customers",
    "dim_customer_records",
    "dim_products",
    "dim_dates",
    "dim_regions",
    "fct_order_lines",
    "rpt_regional_sales_monthly",
    "rpt_page_load_monthly",
)
STAMPS = ("_loaded_at", "_load_id", "_deleted_at", "_received_at", "_sequence")


@dataclass(frozen=True)
class Company:
    """A sandbox with its own warehouse, driven through the command line as a person would."""

    home: Path

    def sluice(self, *arguments: str) -> str:
        """Run a command; what it printed. Fails the test when it ends with an error."""
        bin_folder = Path(sys.executable).parent
        environment = {
            **os.environ,
            "SLUICE_HOME": str(self.home),
            "DBT_TARGET_PATH": str(self.home / "target"),
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [str(bin_folder / "sluice"), *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, (
            f"sluice {' '.join(arguments)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done.stdout

    def connect(self) -> duckdb.DuckDBPyConnection:
        """The warehouse, with raw and, for comparison, the world's truth."""
        con = duckdb.connect(str(self.home / "warehouse.duckdb"), read_only=True)
        con.execute(f"attach '{self.home}/raw.duckdb' as raw (read_only)")
        con.execute(f"attach '{self.home}/sandbox/world.duckdb' as world (read_only)")
        return con


def rows_loaded(home: Path) -> dict[str, int]:
    """Rows of the last load, by source and table, from the ledger."""
    con = duckdb.connect()
    con.execute("load sqlite_scanner")
    con.execute(f"attach '{home}/ledger.sqlite' as ledger (type sqlite, read_only)")
    found = con.execute(
        "select source || '.' || table_name, rows_loaded from ledger.loads "
        "where run_id = (select max(run_id) from ledger.loads)"
    ).fetchall()
    con.close()
    return dict(found)


def built(home: Path, scale: float) -> Company:
    """AnyCompany, loaded twice and built."""
    company = Company(home)
    try:
        sandbox.up(company.home, scale=scale)  # in this process, with which its servers end
        company.sluice("load")
        company.sluice("load")
    finally:
        company.sluice("sandbox", "down")
    company.sluice("build")
    return company


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """AnyCompany at a quarter of its size."""
    return built(tmp_path_factory.mktemp("company"), scale=0.25)


@pytest.fixture
def warehouse(company: Company) -> Iterator[duckdb.DuckDBPyConnection]:
    with company.connect() as con:
        yield con


def number(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The one number a SELECT gives."""
    found = con.execute(sql).fetchone()
    assert found is not None
    return int(found[0])


def differences(con: duckdb.DuckDBPyConnection, left: str, right: str) -> list[tuple[object, ...]]:
    """Rows of one SELECT that the other lacks, copies counted; the first few of each side."""
    return con.execute(
        f"(select 'only left', * from (from ({left}) except all from ({right})) limit 5) union all "
        f"(select 'only right', * from (from ({right}) except all from ({left})) limit 5)"
    ).fetchall()


pytestmark = pytest.mark.timeout(420)


def test_second_load_loads_nothing(company: Company) -> None:
    again = rows_loaded(company.home)
    assert len(again) >= 19
    assert {table: rows for table, rows in again.items() if rows} == {}


def test_order_lines_are_the_truth_row_for_row(warehouse: duckdb.DuckDBPyConnection) -> None:
    columns = (
        "channel, order_id, line_number, kind, sku, quantity, currency, amount, business_date, country_code, region, "
        "rate_date, amount_eur"
    )
    mart = f"select {columns} from marts.fct_order_lines"
    truth = f"select {columns} from world.truth.order_lines"
    assert differences(warehouse, mart, truth) == []


def test_regional_sales_to_the_cent(warehouse: duckdb.DuckDBPyConnection) -> None:
    mart = "select month_date, region, channel, net_sales_eur from marts.rpt_regional_sales_monthly"
    truth = (
        "select date_trunc('month', business_date)::date, region, channel, sum(amount_eur)"
        " from world.truth.order_lines group by all"
    )
    assert differences(warehouse, mart, truth) == []
    assert number(warehouse, f"select count(distinct month_date) from ({mart})") >= 24


def test_orders_lines_and_returns_are_counted_exactly(warehouse: duckdb.DuckDBPyConnection) -> None:
    counts = "count(distinct (channel, order_id)), count(*), count(*) filter (kind = 'return'), sum(quantity)"
    mart = f"select channel, {counts} from marts.fct_order_lines group by all"
    truth = f"select channel, {counts} from world.truth.order_lines group by all"
    assert differences(warehouse, mart, truth) == []


def test_stale_rates_are_flagged(warehouse: duckdb.DuckDBPyConnection) -> None:
    mart = "select order_id, line_number, kind from marts.fct_order_lines where is_rate_stale"
    truth = (
        "select order_id, line_number, kind from world.truth.order_lines where business_date - rate_date > 5"
    )
    assert differences(warehouse, mart, truth) == []
    assert number(warehouse, f"select count(*) from ({truth})") > 0, (
        "no rate is stale, so the flag is not tested"
    )


def test_customers_are_matched_across_systems(warehouse: duckdb.DuckDBPyConnection) -> None:
    """Over pairs of records: which of those the mart joins are one party, which of one party it joins."""
    warehouse.execute(
        "create or replace temp view matched as select source_system || '/' || record_id as record, customer_key as who"
        " from marts.dim_customer_records"
    )
    warehouse.execute(
        "create or replace temp view real as select system || '/' || record_id as record, party_id as who"
        " from world.truth.party_records"
    )
    pairs = "select a.record as one, b.record as other from {0} a join {0} b on a.who = b.who and a.record < b.record"
    mart, truth = pairs.format("matched"), pairs.format("real")
    joined, true = (
        number(warehouse, f"select count(*) from ({mart})"),
        number(warehouse, f"select count(*) from ({truth})"),
    )
    both = number(warehouse, f"select count(*) from ({mart}) semi join ({truth}) using (one, other)")
    assert true > 1000
    assert both / joined >= 0.99
    assert both / true >= 0.95
    assert differences(warehouse, "select record from matched", "select record from real") == []


def test_page_views_are_counted_exactly(warehouse: duckdb.DuckDBPyConnection) -> None:
    measures = "round(p95_load_ms), round(median_load_ms)"
    mart = f"select month_date, page_group, page_view_count, {measures} from marts.rpt_page_load_monthly"
    truth = (
        "select date_trunc('month', occurred_at)::date, page_group, count(*),"
        " round(quantile_cont(load_ms, 0.95)), round(median(load_ms)) from world.truth.page_views group by all"
    )
    assert differences(warehouse, mart, truth) == []


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_same_at_its_size(tmp_path: Path) -> None:
    company = built(tmp_path / "company", scale=1)
    test_second_load_loads_nothing(company)
    with company.connect() as con:
        test_order_lines_are_the_truth_row_for_row(con)
        test_regional_sales_to_the_cent(con)
        test_orders_lines_and_returns_are_counted_exactly(con)
        test_stale_rates_are_flagged(con)
        test_customers_are_matched_across_systems(con)
        test_page_views_are_counted_exactly(con)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_three_weeks_of_incremental_loads_equal_a_fresh_full_load(tmp_path: Path) -> None:
    advanced, fresh = Company(tmp_path / "advanced"), Company(tmp_path / "fresh")
    try:
        sandbox.up(advanced.home, scale=0.05)
        advanced.sluice("load")
        for _ in range(3):
            advanced.sluice("sandbox", "advance", "--days", "7")
            advanced.sluice("load")
            changed = rows_loaded(advanced.home)
            assert changed["shop.orders"] > 0
    finally:
        advanced.sluice("sandbox", "down")
    try:
        sandbox.up(fresh.home, scale=0.05, date=TODAY + timedelta(days=21))
        fresh.sluice("load")
    finally:
        fresh.sluice("sandbox", "down")
    advanced.sluice("build")
    fresh.sluice("build")

    with advanced.connect() as con:
        con.execute(f"attach '{fresh.home}/warehouse.duckdb' as fresh (read_only)")
        con.execute(f"attach '{fresh.home}/raw.duckdb' as fresh_raw (read_only)")
        deleted = "select count(*) from raw.shop.addresses where _deleted_at is not null"
        assert number(con, deleted) > 0, "no address was deleted in three weeks, so deletes are not tested"
        for mart in MARTS:
            assert differences(con, f"from marts.{mart}", f"from fresh.marts.{mart}") == [], mart
        tables = con.execute(
            "select distinct schema_name, table_name from duckdb_tables() where database_name = 'raw'"
            " and not starts_with(table_name, '_dlt') and not ends_with(schema_name, '_staging')"
            " and schema_name <> 'sluice'"  # the ledger tells of different runs
        ).fetchall()
        assert len(tables) >= 19
        for schema, table in tables:
            # a row found deleted stays in raw; a fresh load has never seen it
            alive = f"from {{}}.{schema}.{table} select columns(c -> c not in {STAMPS})"
            known = con.execute(f"describe raw.{schema}.{table}").fetchall()
            where = " where _deleted_at is null" if "_deleted_at" in [name for name, *_ in known] else ""
            left, right = (alive.format(database) + where for database in ("raw", "fresh_raw"))
            assert differences(con, left, right) == [], f"{schema}.{table}"
