"""A small warehouse with dbt's artefacts, made without dbt: three marts, two of them with personal columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sluice.config.settings import Settings
from sluice.publish import publish
from sluice.publish.publication import Published
from sluice.sql import quoted

PARQUET = """
audiences:
  - name: analysts
    description: They read with other engines.
    masks: {email: hash}
    format: parquet
    key: ${publish_analysts.key}
    WHERE
  - {name: support, description: s}
  - {name: dach, description: d}
"""
"""One audience reads Parquet files; WHERE is a line for the place they go to."""
AUDIENCES = """
publish:
  keep: 3
audiences:
  - name: analysts
    description: They read everything, and nothing personal.
    masks: {email: hash, phone: partial, birth_date: generalise}
  - name: support
    description: They call customers.
    clear: [email, phone, name]
    key: ${publish_support.key}
  - name: dach
    description: Regional managers.
    masks: {email: partial, name: hash}
    row_filter: {condition: "region = 'DACH'", unfiltered: [dim_products]}
"""

CUSTOMERS = {
    "customer_key": ("varchar", None),
    "name": ("varchar", "name"),
    "email": ("varchar", "email"),
    "phone": ("varchar", "phone"),
    "born_on": ("date", "birth_date"),
    "region": ("varchar", None),
}
ORDERS = {
    "order_id": ("bigint", None),
    "customer_key": ("varchar", None),
    "contact_email": ("varchar", "email"),
    "amount": ("decimal(18,2)", None),
    "region": ("varchar", None),
}
PRODUCTS = {"sku": ("varchar", None), "title": ("varchar", None)}


class Company:
    """A project folder and a SLUICE_HOME whose warehouse the test changes."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(root=root, home=root / "home")
        (root / "target").mkdir(parents=True)
        self.settings.home.mkdir()
        self.tests: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, tuple[str, str, int]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.policy(AUDIENCES)
        self.model("dim_customers", CUSTOMERS, ["analysts", "support", "dach"], depends_on=["stg_customers"])
        self.model("fct_orders", ORDERS, ["analysts", "support", "dach"], depends_on=["dim_customers"])
        self.model("dim_products", PRODUCTS, ["analysts", "dach"])
        self.model("stg_customers", {"email": ("varchar", "email")}, [])
        self.model("secret_salaries", {"salary": ("bigint", None)}, [])
        self.test(
            "relationships_fct_orders_customer_key",
            "fct_orders",
            "select customer_key as from_field from warehouse.marts.fct_orders where customer_key not in "
            "(select customer_key from warehouse.marts.dim_customers)",
            name="relationships",
            reads="dim_customers",
            kwargs={"column_name": "customer_key", "to": "ref('dim_customers')", "field": "customer_key"},
        )
        self.fill(1000)

    @property
    def published(self) -> Path:
        return self.settings.home / "published"

    def path(self, audience: str) -> Path:
        return self.published / "current" / f"{audience}.duckdb"

    def policy(self, text: str) -> None:
        (self.settings.root / "audiences.yml").write_text(text)

    def model(
        self,
        name: str,
        columns: Mapping[str, tuple[str, str | None]],
        grants: list[str],
        depends_on: list[str] | None = None,
        meta: dict[str, Any] | None = None,
        sql: str | None = None,
    ) -> None:
        constants = ", ".join(f"cast(null as {t}) as {quoted(c)}" for c, (t, _) in columns.items())
        self.models[f"model.t.{name}"] = {
            "unique_id": f"model.t.{name}",
            "database": "warehouse",
            "compiled_code": sql or f"select {constants}",
            "resource_type": "model",
            "name": name,
            "alias": name,
            "schema": "marts",
            "config": {
                "grants": {"select": grants} if grants else {},
                "contract": {"enforced": True},
                "meta": meta or {},
            },
            "columns": {
                c: {"name": c, "data_type": t, "config": {"meta": {"data_class": k} if k else {}}}
                for c, (t, k) in columns.items()
            },
            "depends_on": {"nodes": [f"model.t.{d}" for d in depends_on or []]},
        }

    def test(
        self,
        test: str,
        model: str,
        sql: str,
        name: str | None = None,
        reads: str | None = None,
        **metadata: Any,
    ) -> None:
        self.tests[f"test.t.{test}"] = {
            "unique_id": f"test.t.{test}",
            "resource_type": "test",
            "name": test,
            "attached_node": f"model.t.{model}",
            "config": {"severity": "ERROR"},
            "columns": {},
            "test_metadata": {"name": name, "kwargs": {}, **metadata},
            "depends_on": {"nodes": [f"model.t.{m}" for m in (reads, model) if m]},
            "compiled_code": sql,
        }

    def sql(self, *statements: str) -> None:
        with duckdb.connect(str(self.settings.warehouse)) as con:
            con.execute("create schema if not exists marts")
            for statement in statements:
                con.execute(statement)

    def fill(self, rows: int, tag: str = "CANARY") -> None:
        """`rows` customers, three orders each; every personal value begins with `tag`."""
        self.sql(
            f"""create or replace table marts.dim_customers as
            select 'c' || i as customer_key, '{tag}-name-' || i as name, '{tag}-' || i || '@example.com' as email,
            '{tag}+49-30-' || i as phone, date '1970-01-01' + i::int as born_on,
            case i % 3 when 0 then 'DACH' when 1 then 'Nordics' else 'Southern Europe' end as region
            from range({rows}) t(i)""",
            f"""create or replace table marts.fct_orders as
            select i as order_id, 'c' || i % {rows} as customer_key,
            '{tag}-' || i % {rows} || '@example.com' as contact_email, (i % 997)::decimal(18,2) as amount,
            case (i % {rows}) % 3 when 0 then 'DACH' when 1 then 'Nordics' else 'Southern Europe' end as region
            from range({rows} * 3) t(i)""",
            "create or replace table marts.dim_products as select 'p' || i as sku, 'Title ' || i as title from range(40) t(i)",
            f"create or replace table marts.secret_salaries as select {rows}::bigint as salary, '{tag}-secret' as whose",
        )

    def built(self, **statuses: tuple[str, str, int]) -> None:
        """Write dbt's artefacts of a build that just ended; `statuses` of tests or models that did not succeed."""
        now = datetime.now(UTC)
        results = []
        for unique_id, node in (self.models | self.tests).items():
            fine = "pass" if unique_id.startswith("test.") else "success"
            status, message, failures = statuses.get(unique_id.split(".")[-1], (fine, "", 0))
            ended = now + timedelta(milliseconds=unique_id.startswith("test."))
            results.append(
                {
                    "unique_id": unique_id,
                    "status": status,
                    "message": message,
                    "compiled_code": node.get("compiled_code"),
                    "failures": failures,
                    "timing": [{"name": "execute", "completed_at": ended.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}],
                }
            )
        target = self.settings.root / "target"
        metadata = {"generated_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        nodes: dict[str, Any] = {**self.models, **self.tests}
        manifest = {
            "nodes": {key: node for key, node in nodes.items() if node["resource_type"] != "source"},
            "sources": {key: node for key, node in nodes.items() if node["resource_type"] == "source"},
        }
        (target / "manifest.json").write_text(json.dumps(manifest))
        (target / "run_results.json").write_text(
            json.dumps({"metadata": metadata, "args": {"which": "build"}, "results": results})
        )

    def publish(self, **options: Any) -> Published:
        self.built()
        return publish(self.settings, **options)

    def read(self, audience: str, query: str, key: str | None = None) -> list[Any]:
        with duckdb.connect() as con:
            option = f", encryption_key '{key}'" if key else ""
            con.execute(f"attach '{self.path(audience)}' as p (read_only{option})")
            con.execute("use p")
            return con.execute(query).fetchall()


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "project")
