"""A small company with real databases, a manifest and a history: everything the catalog reads, without running dbt.

Personal columns hold canaries: texts that must never reach the page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from sluice.config.audiences import Treatment
from sluice.config.settings import Settings
from sluice.publish.versions import PublishedAudience, PublishedTable, Version
from sluice.runs.store import LoadRecord, RunStore
from sluice.workflow.build import record_build

CANARIES = ("canary-mail@private.example", "Canaria Kanarienvogel", "+49 171 5550199")
RAW = {
    "customers": (
        "select i as customer_id, 'canary-mail@private.example' as email, 'Canaria Kanarienvogel' as full_name,"
        " case when i % 3 = 0 then null else 'standard' end as segment,"
        " case when i < 5 then 'ask +49 171 5550199' else '+49 171 5550199' end as note from range(40) t(i)"
    ),
    "orders": (
        "select i as order_id, i % 40 as customer_id, cast(i * 1.5 as decimal(18,2)) as amount,"
        " case when i = 7 then 'lost' when i % 5 = 0 then 'open' else 'paid' end as status,"
        " date '2026-01-01' + cast(i % 90 as integer) as ordered_on from range(500) t(i)"
    ),
}
MODELS: dict[str, tuple[str, str, str]] = {
    "stg_shop__customers": (
        "staging",
        "One row per customer.",
        'select customer_id, email, full_name, segment from "raw"."shop"."customers"',
    ),
    "stg_shop__orders": (
        "staging",
        "One row per order.",
        'select order_id, customer_id, amount, status, ordered_on from "raw"."shop"."orders"',
    ),
    "dim_customers": (
        "marts",
        "One row per customer.\n\n**Nuance**: the first is there twice, so that a test fails.",
        (
            "select customer_id as customer_key, email, upper(full_name) as shouted_name, segment"
            ' from "warehouse"."staging"."stg_shop__customers"'
            ' union all select 0, email, full_name, segment from "warehouse"."staging"."stg_shop__customers"'
            " where customer_id = 0"
        ),
    ),
    "fct_orders": (
        "marts",
        "One row per order.",
        (
            "select o.order_id, o.customer_id as customer_key, o.status, cast(o.amount * 1.1 as decimal(18,2)) as amount_eur,"
            ' o.ordered_on as business_date from "warehouse"."staging"."stg_shop__orders" as o'
            ' left join "warehouse"."staging"."stg_shop__customers" as c on o.customer_id = c.customer_id'
        ),
    ),
    "rpt_sales_monthly": (
        "marts",
        "One row per month.",
        (
            "select cast(date_trunc('month', business_date) as date) as month_date, sum(amount_eur) as gross_sales_eur,"
            " sum(amount_eur) as net_sales_eur"
            ' from "warehouse"."marts"."fct_orders" where status <> \'open\' group by 1'
        ),
    ),
}
CLASSES = {"email": "email", "full_name": "name"}
TESTS: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "primary_key_dim_customers": (
        "dim_customers",
        "customer_key",
        "primary_key",
        {},
        (
            'select customer_key, count(*) as row_count from "warehouse"."marts"."dim_customers"'
            " group by 1 having count(*) > 1"
        ),
    ),
    "mails_are_lower_case": (
        "dim_customers",
        "email",
        "expression_is_true",
        {"expression": "email = upper(email)"},
        'select * from "warehouse"."marts"."dim_customers" where email <> upper(email)',
    ),
    "accepted_values_fct_orders_status": (
        "fct_orders",
        "status",
        "accepted_values",
        {"values": ["open", "paid"]},
        (
            'select status as value_field, count(*) as n_records from "warehouse"."marts"."fct_orders"'
            " where status not in ('open', 'paid') group by 1"
        ),
    ),
    "primary_key_fct_orders": (
        "fct_orders",
        "order_id",
        "primary_key",
        {},
        'select order_id from "warehouse"."marts"."fct_orders" group by 1 having count(*) > 1',
    ),
    "relationships_fct_orders_customer_key": (
        "fct_orders",
        "customer_key",
        "relationships",
        {"to": "ref('dim_customers')", "field": "customer_key"},
        (
            'select customer_key from "warehouse"."marts"."fct_orders" where customer_key not in'
            ' (select customer_key from "warehouse"."marts"."dim_customers")'
        ),
    ),
    "primary_key_rpt": (
        "rpt_sales_monthly",
        "month_date",
        "primary_key",
        {},
        'select month_date from "warehouse"."marts"."rpt_sales_monthly" group by 1 having count(*) > 1',
    ),
}
FAILING = {"primary_key_dim_customers": 1, "mails_are_lower_case": 41, "accepted_values_fct_orders_status": 1}
GLOSSARY = """
terms:
  - term: revenue
    meaning: What was sold, in EUR.
    synonyms: [turnover, umsatz, sell]
    words: [amount_eur, sales_eur]
    columns: [fct_orders.amount_eur, rpt_sales_monthly.net_sales_eur, rpt_sales_monthly.gross_sales_eur]
"""


class Company:
    """The company in a folder; `settings` leads the catalog there."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(root=folder, home=folder / "warehouse")
        self.settings.home.mkdir(parents=True)
        (folder / "docs").mkdir()
        (folder / "docs" / "glossary.yml").write_text(GLOSSARY, encoding="utf-8")
        (folder / "dbt_project.yml").write_text("name: small\n", encoding="utf-8")
        (folder / "audiences.yml").write_text(
            "audiences:\n  - name: analysts\n    description: They count.\n    masks: {email: hash}\n"
            "  - name: support\n    description: They call.\n",
            encoding="utf-8",
        )
        self.manifest = _manifest()
        self.write_manifest()
        self._databases()

    def write_manifest(self) -> None:
        self.settings.target.mkdir(parents=True, exist_ok=True)
        (self.settings.target / "manifest.json").write_text(json.dumps(self.manifest), encoding="utf-8")

    def _databases(self) -> None:
        with duckdb.connect(str(self.settings.raw)) as raw:
            raw.execute("create schema shop")
            for name, sql in RAW.items():
                raw.execute(f"create table shop.{name} as {sql}")
        with duckdb.connect(":memory:") as con:
            con.execute(f"attach '{self.settings.raw}' as raw (read_only)")
            con.execute(f"attach '{self.settings.warehouse}' as warehouse")
            for name, (layer, _, sql) in MODELS.items():
                con.execute(f"create schema if not exists warehouse.{layer}")
                con.execute(
                    f"create {'view' if layer == 'staging' else 'table'} warehouse.{layer}.{name} as {sql}"
                )

    def build(
        self, name: str, at: datetime, failing: dict[str, int], errors: Sequence[dict[str, Any]] = ()
    ) -> bool:
        """What dbt leaves behind after a build at `at`, kept in the ledger."""
        results: list[dict[str, Any]] = [
            {
                "unique_id": f"model.small.{model}",
                "status": "success",
                "execution_time": 0.1,
                "timing": [],
                "failures": None,
                "message": "OK",
            }
            for model in MODELS
        ]
        for test, facts in TESTS.items():
            failures = failing.get(test, 0)
            results.append(
                {
                    "unique_id": f"test.small.{test}",
                    "status": "fail" if failures else "pass",
                    "failures": failures,
                    "execution_time": 0.1,
                    "timing": [],
                    "message": f"Got {failures} results, configured to fail if != 0" if failures else None,
                    "compiled_code": facts[4],
                }
            )
        results += errors
        stamp = at.isoformat()
        run = {
            "metadata": {"invocation_id": name, "generated_at": stamp, "invocation_started_at": stamp},
            "args": {"which": "build"},
            "results": results,
        }
        (self.settings.target / "run_results.json").write_text(json.dumps(run), encoding="utf-8")
        return record_build(self.settings)

    def live(self) -> Company:
        """Three days of loads and builds; on the last day tests fail, and texts of errors quote values."""
        ledger = RunStore(self.settings.ledger)
        now = datetime.now(UTC)
        for days in (3, 2, 1):
            at = now - timedelta(days=days)
            for table in RAW:
                quoting = f"shop.{table}: row 3: '{CANARIES[0]}' does not fit bigint, of {CANARIES[1]!r}"
                bad = table == "customers" and days == 2
                ledger.record(
                    LoadRecord(
                        f"run-{days}",
                        "shop",
                        table,
                        at,
                        at,
                        "failed" if bad else "loaded",
                        rows_loaded=100 // days,
                        bytes=9_999,
                        error=quoting if bad else None,
                    )
                )
            error = {
                "unique_id": "test.small.relationships_fct_orders_customer_key",
                "status": "error",
                "execution_time": 0.1,
                "timing": [],
                "failures": None,
                "message": "Runtime Error in test relationships_fct_orders_customer_key (models/x.yml)\n"
                f"  Conversion Error: Could not convert string '{CANARIES[0]}' to INT32 when casting {CANARIES[2]}",
            }
            self.build(f"build-{days}", at, FAILING if days == 1 else {}, [error] if days == 1 else [])
        return self

    def publish(self, rows: int = 480) -> None:
        """A version published two days ago, when there were fewer rows.

        Its file holds canaries in clear, as if a mask had been forgotten: the page must not open those columns.
        """
        orders = {
            "order_id": "BIGINT",
            "status": "VARCHAR",
            "amount_eur": "DECIMAL(18,2)",
            "business_date": "DATE",
        }
        orders["gone"] = "VARCHAR"
        people = {
            "customer_key": "BIGINT",
            "email": "VARCHAR",
            "shouted_name": "VARCHAR",
            "segment": "VARCHAR",
        }
        masked: dict[str, tuple[str, Treatment]] = {"email": ("email", "hash")}
        tables = {
            name: PublishedTable(
                model=f"model.small.{name}",
                rows=count,
                fingerprint="1",
                classed=classed,
                condition=None,
                rows_in_warehouse=count,
                columns=columns,
            )
            for name, columns, classed, count in (
                ("fct_orders", orders, {}, rows),
                ("dim_customers", people, masked, 41),
            )
        }
        version = Version(
            version="20260101T000000Z",
            created_at=datetime.now(UTC) - timedelta(days=2),
            run_id=None,
            git_commit=None,
            load_packages={},
            tests={},
            models={f"model.small.{name}": _checksum(sql) for name, (_, _, sql) in MODELS.items()},
            audiences={"analysts": PublishedAudience(format="duckdb", is_encrypted=False, tables=tables)},
        )
        folder = self.settings.home / "published" / "versions" / version.version
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(version.model_dump_json(), encoding="utf-8")
        with duckdb.connect(str(folder / "analysts.duckdb")) as con:
            con.execute(f"attach '{self.settings.raw}' as raw (read_only)")
            con.execute(f"attach '{self.settings.warehouse}' as warehouse (read_only)")
            con.execute(
                f"create table fct_orders as select *, 'x' as gone from warehouse.marts.fct_orders"
                f" order by order_id limit {rows}"
            )
            con.execute("create table dim_customers as from warehouse.marts.dim_customers")
            con.execute("create table rpt_sales_monthly as from warehouse.marts.rpt_sales_monthly")
        (self.settings.home / "published" / "current").symlink_to(Path("versions") / version.version)


def _checksum(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()


def _manifest() -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    for name, (layer, description, sql) in MODELS.items():
        parents = [f"source.small.shop.{t}" for t in RAW if f'"shop"."{t}"' in sql]
        parents += [f"model.small.{m}" for m in MODELS if f'"{m}"' in sql]
        nodes[f"model.small.{name}"] = {
            "unique_id": f"model.small.{name}",
            "resource_type": "model",
            "name": name,
            "alias": name,
            "relation_name": f'"warehouse"."{layer}"."{name}"',
            "fqn": ["small", layer, "sales", name],
            "description": description,
            "raw_code": sql,
            "compiled_code": sql,
            "language": "sql",
            "columns": _columns(sql),
            "group": "sales",
            "depends_on": {"nodes": parents},
            "config": {
                "materialized": "view" if layer == "staging" else "table",
                "contract": {"enforced": layer == "marts"},
                "grants": {"select": ["analysts"]} if layer == "marts" else {},
            },
            "checksum": {"name": "sha256", "checksum": _checksum(sql)},
            "original_file_path": f"models/{layer}/sales/of_all_channels_and_regions/{name}.sql",
            "access": "public",
        }
    for name, (model, column, kind, kwargs, sql) in TESTS.items():
        parents = [f"model.small.{m}" for m in MODELS if f'"{m}"' in sql]
        nodes[f"test.small.{name}"] = {
            "unique_id": f"test.small.{name}",
            "resource_type": "test",
            "name": name,
            "column_name": column,
            "test_metadata": {"name": kind, "kwargs": {"column_name": column, **kwargs}},
            "attached_node": f"model.small.{model}",
            "depends_on": {"nodes": parents},
            "compiled_code": sql,
            "config": {"severity": "ERROR"},
        }
    sources = {
        f"source.small.shop.{name}": {
            "unique_id": f"source.small.shop.{name}",
            "resource_type": "source",
            "name": name,
            "identifier": name,
            "source_name": "shop",
            "relation_name": f'"raw"."shop"."{name}"',
            "columns": _columns(sql),
            "description": f"One row per {name[:-1]} of the shop.",
            "database": "raw",
            "schema": "shop",
            "meta": {},
            "source_meta": {
                "owner": "shop@anycompany.example",
                "load": {"kind": "database", "connection": "shop"},
            },
            "config": {},
            "freshness": {"warn_after": {"count": 12, "period": "hour"}},
            "original_file_path": "sources/shop.yml",
        }
        for name, sql in RAW.items()
    }
    return {
        "metadata": {"project_name": "small", "generated_at": "2026-11-01T00:00:00Z"},
        "nodes": nodes,
        "sources": sources,
        "exposures": {
            "exposure.small.sales": {
                "unique_id": "exposure.small.sales",
                "name": "sales",
                "label": "Sales report",
                "type": "dashboard",
                "description": "Read every month.",
                "url": "https://reports.anycompany.example/sales",
                "owner": {"name": "Controlling", "email": "controlling@anycompany.example"},
                "depends_on": {"nodes": ["model.small.rpt_sales_monthly"]},
            }
        },
        "groups": {
            "group.small.sales": {
                "name": "sales",
                "owner": {"name": "Sales", "email": "sales@anycompany.example"},
            }
        },
        "unit_tests": {},
    }


def _columns(sql: str) -> dict[str, Any]:
    """Every column of a query with a description, and a class where its name says so."""
    with duckdb.connect(":memory:") as con:
        con.execute("attach ':memory:' as raw; attach ':memory:' as warehouse; create schema raw.shop")
        for name, raw in RAW.items():
            con.execute(f"create table raw.shop.{name} as {raw}")
        for name, (layer, _, model) in MODELS.items():
            con.execute(f"create schema if not exists warehouse.{layer}")
            if f'"{name}"' not in sql and sql != model:
                con.execute(f"create view warehouse.{layer}.{name} as {model}")
                continue
            if sql == model:
                break
            con.execute(f"create view warehouse.{layer}.{name} as {model}")
        rows = con.execute(f"describe {sql}").fetchall()
    return {
        name: {
            "name": name,
            "data_type": str(kind).lower(),
            "description": f"The {name.replace('_', ' ')}.",
            "meta": {"data_class": CLASSES[name]} if name in CLASSES else {},
        }
        for name, kind, *_ in rows
    }
