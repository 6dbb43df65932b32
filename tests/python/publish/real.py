"""A small project that is loaded, built and published by the commands people use.

shop = RealProject(tmp_path)
shop.turn(7)      # the shop's tables say 7; sluice load, build, publish
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
COPIED = ("profiles.yml", "macros/generate_schema_name.sql", "macros/duckdb__apply_grants.sql")
ORDERS = 20_000
PRODUCTS = 50

FILES = {
    "dbt_project.yml": """
name: shop
version: "1.0.0"
profile: sluice
model-paths: ["models", "sources"]
flags: {send_anonymous_usage_stats: false}
models:
  shop:
    +materialized: table
    +schema: marts
    +contract: {enforced: true}
    +grants: {select: [analysts]}
""",
    "audiences.yml": """
publish: {keep: 3}
audiences:
  - {name: analysts, description: They read all the time.}
""",
    "sources/shop.yml": """
version: 2
sources:
  - name: shop
    description: A shop whose tables change all at once.
    database: raw
    schema: shop
    config:
      loaded_at_field: _loaded_at
      freshness: {warn_after: {count: 1, period: day}, error_after: {count: 2, period: day}}
      meta: {owner: shop@anycompany.example, load: {kind: database, connection: shop}}
    tables:
      - name: orders
        config: {meta: {load: {primary_key: order_id, cursor: step}}}
      - name: products
        config: {meta: {load: {primary_key: sku}}}
""",
    "models/dim_products.sql": """
select sku, step from {{ source("shop", "products") }}
""",
    "models/fct_orders.sql": """
select order_id, sku, step, amount from {{ source("shop", "orders") }}
""",
    "models/_models.yml": """
version: 2
models:
  - name: dim_products
    description: One row per product.
    columns:
      - {name: sku, data_type: bigint, data_tests: [unique, not_null]}
      - {name: step, data_type: bigint, data_tests: [not_null]}
  - name: fct_orders
    description: One row per order.
    columns:
      - {name: order_id, data_type: bigint, data_tests: [unique, not_null]}
      - name: sku
        data_type: bigint
        data_tests:
          - relationships: {arguments: {to: ref('dim_products'), field: sku}}
      - {name: step, data_type: bigint, data_tests: [not_null]}
      - {name: amount, data_type: double}
""",
}


class RealProject:
    """A project folder, its SLUICE_HOME, and a SQLite shop that changes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "warehouse"
        self._shop = root / "shop.sqlite"
        for name in COPIED:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text.lstrip())
        with sqlite3.connect(self._shop) as con:
            con.execute("create table products (sku integer primary key, step integer not null)")
            con.execute(
                "create table orders (order_id integer primary key, sku integer not null, step integer not null,"
                " amount real not null)"
            )
            con.executemany("insert into products values (?, 0)", [[i] for i in range(PRODUCTS)])
            con.executemany(
                "insert into orders values (?, ?, 0, ?)", [[i, i % PRODUCTS, i % 997] for i in range(ORDERS)]
            )
        con.close()

    @property
    def path(self) -> Path:
        """What the readers open."""
        return self.home / "published" / "current" / "analysts.duckdb"

    def turn(self, step: int) -> None:
        """Every row of the shop gets `step`; load, build, publish."""
        with sqlite3.connect(self._shop) as con:
            con.execute("update products set step = ?", [step])
            con.execute("update orders set step = ?", [step])
        con.close()
        for command in ("load", "build", "publish"):
            self.sluice(command)

    def sluice(self, *arguments: str) -> str:
        """What the command says; it must succeed."""
        with self.running("sluice", *arguments) as process:
            said, _ = process.communicate()
        assert process.returncode == 0, f"sluice {' '.join(arguments)}:\n{said}"
        return said

    def running(self, tool: str, *arguments: str) -> subprocess.Popen[str]:
        """A tool of the environment, just started in the project."""
        environment = {
            **os.environ,
            "SLUICE_HOME": str(self.home),
            "CONNECTIONS__SHOP__URL": f"sqlite:///{self._shop}",
        }
        command = [str(Path(sys.executable).with_name(tool)), *arguments]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
