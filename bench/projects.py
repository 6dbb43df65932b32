"""Projects to build: a copy of the example company, and generated ones of any size."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PARTS = (
    *("models", "sources", "macros", "seeds", "tests/generic", "tests/data", "docs/glossary.yml"),
    *("dbt_project.yml", "profiles.yml", "selectors.yml", "audiences.yml", "pipelines/reference.py"),
)
COLUMNS = {
    "id": "bigint",
    "customer_id": "bigint",
    "status": "varchar",
    "amount": "double",
    "ordered_at": "varchar",
    "updated_at": "varchar",
}
ROWS = """
    with recursive numbers (i) as (select 1 union all select i + 1 from numbers where i < {rows})
    insert into {table} select i, i * 7919 % 99991,
        case i % 4 when 0 then 'placed' when 1 then 'paid' when 2 then 'shipped' else 'delivered' end,
        i * 37 % 100000 / 100.0, datetime('2025-01-01', '+' || i * 17 || ' seconds'), '2026-01-01 00:00:00'
    from numbers
"""
PROJECT = {
    "name": "bench",
    "version": "1.0.0",
    "profile": "sluice",
    "model-paths": ["models", "sources"],
    "packages-install-path": "target/packages",
    "flags": {"send_anonymous_usage_stats": False},
    "models": {
        "bench": {
            "staging": {"+materialized": "view", "+schema": "staging"},
            "intermediate": {"+materialized": "table", "+schema": "intermediate"},
            "marts": {"+materialized": "table", "+schema": "marts"},
        }
    },
}


def copy_company(root: Path) -> Path:
    """The example company's project without its tests of Python, so that a run writes nothing into the repository."""
    for part in PARTS:
        target = root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target)
        else:
            shutil.copy(ROOT / part, target)
    return root


@dataclass
class Model:
    """A model of a generated project, with a key that has the tests `unique` and `not_null`."""

    name: str
    layer: str
    sql: str
    columns: Sequence[str]
    """The first is its key."""

    def by_hand(self, schema: str = "", kind: str = "table") -> list[str]:
        """SQL that makes it and runs its tests; what it refers to is in `schema`, written with its dot."""
        sql = re.sub(r"\{\{.*?'(\w+)'\) \}\}", rf"{schema}\1", self.sql)
        name, key = self.name, self.columns[0]
        return [
            f"create or replace {kind} {name} as {sql}",
            f"select count(*) from {name} where {key} is null",
            f"select {key} from {name} where {key} is not null group by {key} having count(*) > 1",
        ]

    def yaml(self) -> dict[str, Any]:
        columns: list[dict[str, Any]] = [
            {"name": name, "description": f"The {name.replace('_', ' ')} of the rows of {self.name}."}
            for name in self.columns
        ]
        columns[0]["data_tests"] = ["unique", "not_null"]
        return {"name": self.name, "description": f"One row per {self.columns[0]}.", "columns": columns}


@dataclass
class Generated:
    """A project of models over tables of a SQLite file, which is its source `bench`."""

    root: Path
    tables: Sequence[str]
    rows: int
    """Of each table."""
    models: list[Model] = field(default_factory=list)

    @property
    def database(self) -> Path:
        return self.root / "bench.sqlite"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"SLUICE_HOME": "warehouse", "CONNECTIONS__BENCH__URL": f"sqlite:///{self.database}"}

    def write(self) -> None:
        """The source's tables and all files."""
        for folder in ("sources", "models"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "profiles.yml", self.root)
        self._yaml("dbt_project.yml", PROJECT)
        self._source()
        for model in self.models:
            self.write_model(model)
        for layer in sorted({model.layer for model in self.models}):
            entries = [model.yaml() for model in self.models if model.layer == layer]
            self._yaml(f"models/{layer}/_{layer}__models.yml", {"version": 2, "models": entries})
        self._fill()

    def write_model(self, model: Model) -> None:
        file = self.root / "models" / model.layer / f"{model.name}.sql"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(model.sql + "\n", encoding="utf-8")

    def change(self, table: str, turn: int) -> None:
        """One row in a hundred of a table, another hundredth each turn, with a new `updated_at`."""
        with sqlite3.connect(self.database) as there:
            there.execute(
                f"update {table} set amount = amount + 1, updated_at = datetime('2026-06-01', '+' || ? || ' hours')"
                " where id % 100 = ?",
                [turn, turn % 100],
            )
        there.close()

    def sums(self, table: str) -> tuple[int, float]:
        """Rows and amounts at the source."""
        with sqlite3.connect(self.database) as there:
            count, amount = there.execute(f"select count(*), sum(amount) from {table}").fetchone()
        there.close()
        return int(count), round(float(amount), 2)

    def _source(self) -> None:
        columns = [
            {"name": name, "data_type": kind, "description": f"The {name}."} for name, kind in COLUMNS.items()
        ]
        load = {"primary_key": "id", "cursor": "updated_at"}
        source = {
            "name": "bench",
            "description": "Generated tables.",
            "database": "raw",
            "schema": "bench",
            "config": {
                "meta": {
                    "owner": "bench@anycompany.example",
                    "load": {"kind": "database", "connection": "bench"},
                }
            },
            "tables": [
                {
                    "name": table,
                    "description": "One row per id.",
                    "config": {"meta": {"load": load}},
                    "columns": columns,
                }
                for table in self.tables
            ],
        }
        self._yaml("sources/bench.yml", {"version": 2, "sources": [source]})

    def _fill(self) -> None:
        self.database.unlink(missing_ok=True)
        with sqlite3.connect(self.database) as there:
            for table in self.tables:
                there.execute(
                    f"create table {table} (id integer primary key, customer_id integer, status text, amount real,"
                    " ordered_at text, updated_at text)"
                )
                there.execute(ROWS.format(table=table, rows=self.rows))
                there.execute(f"create index {table}_updated on {table} (updated_at)")
        there.close()

    def _yaml(self, file: str, content: object) -> None:
        text = yaml.dump(content, Dumper=_Plain, sort_keys=False)
        (self.root / file).write_text(text, encoding="utf-8")


class _Plain(yaml.SafeDumper):
    """Writes a list that several tables share in full, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def many_tables(root: Path, tables: int, rows: int) -> Generated:
    """Each table with a staging view and a mart over it, a table."""
    project = Generated(root, [f"t{number:03}" for number in range(1, tables + 1)], rows)
    for table in project.tables:
        staging = (
            "select id, customer_id, status, amount, ordered_at::timestamp as ordered_at"
            f" from {{{{ source('bench', '{table}') }}}}"
        )
        mart = (
            "select id, customer_id, status, amount, ordered_at, date_trunc('month', ordered_at) as month,"
            " row_number() over (partition by customer_id order by ordered_at) as number"
            f" from {{{{ ref('stg_{table}') }}}}"
        )
        plain = ("id", "customer_id", "status", "amount", "ordered_at")
        project.models.append(Model(f"stg_{table}", "staging", staging, plain))
        project.models.append(Model(f"fct_{table}", "marts", mart, (*plain, "month", "number")))
    return project


def many_models(root: Path, models: int, rows: int) -> Generated:
    """One table, a staging view, a tenth as many tables over it, and marts over these."""
    project = Generated(root, ["orders"], rows)
    columns = ("id", "customer_id", "status", "amount", "ordered_at")
    staging = (
        "select id, customer_id, status, amount, ordered_at::timestamp as ordered_at"
        " from {{ source('bench', 'orders') }}"
    )
    project.models.append(Model("stg_orders", "staging", staging, columns))
    middle = max(models // 10 - 1, 1)
    for number in range(middle):
        sql = f"select * from {{{{ ref('stg_orders') }}}} where id % {middle} = {number}"
        project.models.append(Model(f"int_orders_{number:04}", "intermediate", sql, columns))
    project.models += [leaf(number, middle) for number in range(models - middle - 1)]
    return project


def leaf(number: int, middle: int, edit: int = 0) -> Model:
    """A mart of a project of many models; `edit` makes another one of it, with other values in `edition`."""
    sql = (
        "select status, count(*) as orders, count(distinct customer_id) as customers, sum(amount) as amount,"
        " min(ordered_at) as first_ordered_at, max(ordered_at) as last_ordered_at,"
        f" {number} as report, {edit} as edition from {{{{ ref('int_orders_{number % middle:04}') }}}} group by all"
    )
    columns = "status orders customers amount first_ordered_at last_ordered_at report edition".split()
    return Model(f"rpt_orders_{number:04}", "marts", sql, columns)
