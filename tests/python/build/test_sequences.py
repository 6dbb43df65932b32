"""A project that is edited, loaded, damaged and killed at random: each build leaves what a whole one would make."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.python.small_project import SmallProject

MODELS = {
    "stg_orders": "select order_id, sku, step, amount {{ extra() }} from {{ source('shop', 'orders') }}",
    "stg_products": "select sku, step from {{ source('shop', 'products') }}",
    "int_prices": "select sku, sum(amount)::decimal(18, 2) as amount from {{ ref('stg_orders') }} group by all",
    "even_products": "select sku, step from {{ ref('stg_products') }} where sku % 2 = 0",
    "rates": "select p.sku, r.rate from {{ ref('stg_products') }} p join {{ ref('seed_rates') }} r on p.sku % 2 = r.parity",
    "report": "select sku, amount * rate as amount from {{ ref('int_prices') }} join {{ ref('rates') }} using (sku)",
    "total": "select count(*) as skus, max(step) as step from {{ ref('even_products') }}",
    "history": "{{ config(materialized='incremental', unique_key='sku') }} select sku, step from {{ ref('stg_products') }}"
    "{% if is_incremental() %} where step >= (select max(step) from {{ this }}){% endif %}",
}
VIEWS = ("stg_orders", "stg_products", "rates")
TESTS = """version: 2
models:
  - name: report
    columns: [{name: sku, data_tests: [unique, not_null]}]
  - name: int_prices
    columns: [{name: sku, data_tests: [{relationships: {arguments: {to: ref('stg_products'), field: sku}}}]}]
"""
EXTRA = "{% macro extra() %}, 1 as %s{% endmacro %}"


class Warehouse:
    """The project, what can happen to it, and a whole build of it beside it."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.project = SmallProject(root / "project")
        self.root, self.rng, self.steps, self.said = self.project.root, rng, 0, ""
        self.beside = root / "whole"
        shutil.rmtree(self.root / "models")
        (self.root / "models").mkdir()
        for name, sql in MODELS.items():
            self.model(name, sql)
        self.write("models/tests.yml", TESTS)
        self.write("macros/extra.sql", EXTRA.replace("%s", "one"))
        self.write("seeds/seed_rates.csv", "parity,rate\n0,1.5\n1,2.5\n")
        self.write("models/int_ephemeral.sql", "{{ config(materialized='ephemeral') }} select 1 as n")
        project = self.root / "dbt_project.yml"
        project.write_text(
            project.read_text()
            .replace("    +contract: {enforced: true}\n", "")
            .replace("    +grants: {select: [analysts]}\n", "")
        )
        self.project.sluice("load")

    def write(self, file: str, text: str) -> None:
        (self.root / file).parent.mkdir(exist_ok=True)
        (self.root / file).write_text(text, encoding="utf-8")

    def model(self, name: str, sql: str) -> None:
        view = "{{ config(materialized='view') }} " if name in VIEWS else ""
        self.write(f"models/{name}.sql", f"{view}{sql}\n")

    def build(self) -> None:
        self.said = self.project.sluice("build", "--explain")

    def compare(self) -> None:
        """Raise AssertionError unless every table and view holds what plain dbt makes of it in a new warehouse."""
        shutil.rmtree(self.beside, ignore_errors=True)
        self.beside.mkdir()
        shutil.copy(self.project.home / "raw.duckdb", self.beside)
        home, self.project.home = self.project.home, self.beside
        try:
            with self.project.running(
                "dbt", "--quiet", "build", "--target-path", str(self.beside / "target")
            ) as process:
                said, _ = process.communicate()
            assert process.returncode == 0, said
        finally:
            self.project.home = home
        assert self.contents(home) == self.contents(self.beside), self.said

    def contents(self, home: Path) -> dict[str, list[tuple[object, ...]]]:
        with duckdb.connect() as con:
            con.execute(f"attach '{home / 'raw.duckdb'}' as raw (read_only)")
            con.execute(f"attach '{home / 'warehouse.duckdb'}' as warehouse (read_only)")
            names = [*MODELS, "seed_rates"]
            found = {}
            for name in names:
                schema = con.execute(
                    "select table_schema from information_schema.tables where table_name = ? and table_catalog = 'warehouse'",
                    [name],
                ).fetchone()
                assert schema, f"{name} is missing"
                found[name] = sorted(con.execute(f"from warehouse.{schema[0]}.{name}").fetchall())
            return found

    def execute(self, statement: str) -> None:
        with duckdb.connect(str(self.project.home / "warehouse.duckdb")) as con:
            con.execute(f"attach '{self.project.home / 'raw.duckdb'}' as raw (read_only)")
            con.execute(statement)

    # -- what happens ---------------------------------------------------------------------------------------

    def new_rows(self) -> None:
        self.steps += 1
        with sqlite3.connect(self.project._shop) as con:
            con.execute("update products set step = ? where sku % 7 = ?", [self.steps, self.rng.randrange(7)])
            if self.rng.random() < 0.5:
                con.execute(
                    "update orders set amount = amount + 1, step = ? where order_id < 9", [self.steps]
                )
        con.close()
        self.project.sluice("load")

    def empty_load(self) -> None:
        self.project.sluice("load")

    def other_layout(self) -> None:
        name = self.rng.choice([n for n in MODELS if n != "history"])
        self.model(name, MODELS[name].replace("select", f"select -- {self.rng.random()}\n"))

    def other_meaning(self) -> None:
        self.model("even_products", MODELS["even_products"].replace("= 0", f"<= {self.rng.randrange(2)}"))
        self.model("int_prices", MODELS["int_prices"].replace("sum", self.rng.choice(["sum", "max"])))

    def other_macro(self) -> None:
        self.write("macros/extra.sql", EXTRA.replace("%s", self.rng.choice(["one", "another"])))

    def other_seed(self) -> None:
        self.write("seeds/seed_rates.csv", f"parity,rate\n0,1.5\n1,{self.rng.randrange(9)}.5\n")

    def edited_by_hand(self) -> None:
        self.execute(
            self.rng.choice(
                [
                    "update marts.total set skus = 0",
                    "delete from marts.report",
                    "drop table marts.int_prices",
                    "create or replace view marts.rates as select 1 as sku, 2.5 as rate",
                ]
            )
        )

    def restored(self) -> None:
        """An earlier copy of the warehouse takes its place, or one is made."""
        kept, file = self.root.parent / "backup.duckdb", self.project.home / "warehouse.duckdb"
        if kept.is_file():
            shutil.copy2(kept, file)
        shutil.copy2(file, kept)

    def killed(self) -> None:
        self.other_meaning()
        with self.project.running("sluice", "build", "--force") as process:
            time.sleep(self.rng.uniform(3, 9))
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()

    def plain_dbt(self) -> None:
        with self.project.running("dbt", "--quiet", "build", "--select", "total", "report") as process:
            process.communicate()

    def failure(self) -> None:
        self.model("total", "select 1 / 'x' as skus, 1 as step")
        with self.project.running("sluice", "build") as process:
            process.communicate()
        self.model("total", MODELS["total"])

    @property
    def happenings(self) -> list[Callable[[], None]]:
        return [self.new_rows, self.empty_load, self.other_layout, self.other_meaning, self.other_macro,
                self.other_seed, self.edited_by_hand, self.restored, self.killed, self.plain_dbt, self.failure]  # fmt: skip


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.sample(1)
def test_a_build_leaves_what_a_whole_build_makes(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    (tmp_path / "project").mkdir()
    warehouse = Warehouse(tmp_path, rng)
    warehouse.build()
    for happening in rng.sample(warehouse.happenings, 5):
        for one in (happening, rng.choice(warehouse.happenings)):
            one()
        warehouse.build()
        warehouse.compare()
    warehouse.build()
    assert "Nothing was built" in warehouse.said
