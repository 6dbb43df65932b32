"""A project over a SQLite system with odd tables, declared and loaded; its models are proposed, not written by hand."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import yaml

from sluice.config.column_names import normalized
from sluice.discover.contract import DiscoveredColumn, DiscoveredSource, DiscoveredTable, Relationship
from sluice.sql import quoted
from tests.python.project import Project

REPOSITORY = Path(__file__).parents[3]
SMALL_PROJECT = REPOSITORY / "tests" / "python" / "small_project"
DBT_PROJECT = """
name: odd
version: "1.0.0"
profile: sluice
model-paths: ["models", "sources"]
macro-paths: ["macros", "tests/generic"]
test-paths: ["tests/data"]
flags: {send_anonymous_usage_stats: false}
models:
  odd:
    staging: {+materialized: view, +schema: staging}
    marts: {+materialized: table, +schema: marts, +access: public, +contract: {enforced: true}}
"""
AUDIENCES = """
audiences:
  - name: readers
    description: Everybody here.
    masks: {name: hash}
"""
WIDE = [f"measure_{n}" for n in range(200)]
RESERVED = [
    "order",
    "group",
    "select",
    "by",
    "table",
    "count",
    "values",
    "date",
    "timestamp",
    "minus",
    "type",
]
TABLES: dict[str, tuple[dict[str, str], list[str]]] = {
    "customers": (
        {
            "id": "bigint",
            "name": "text",
            "email": "text",
            "city": "text",
            "active": "boolean",
            "tags": "json",
        },
        ["id"],
    ),
    "orders": (
        {
            "order_id": "bigint",
            "customer_id": "bigint",
            "billing_customer_id": "bigint",
            "coupon_code": "text",
            "status": "text",
            "is_gift": "integer",
            "is_late": "text",
            "order_date": "timestamp",
            "paid_date": "timestamp",
            "shipped_at": "date",
            "updated_at": "timestamp with time zone",
            "freight": "decimal(10,2)",
        },
        ["order_id"],
    ),
    "order_items": (
        {
            "order_id": "bigint",
            "line": "integer",
            "id": "bigint",
            "order_item_id": "text",
            "quantity": "integer",
        },
        ["order_id", "line"],
    ),
    "coupons": ({"code": "text", "percent": "integer", "gone": "boolean"}, ["code"]),
    "log": ({"message": "text", "2nd_line": "text"}, []),
    "group": ({"id": "bigint", **dict.fromkeys(RESERVED, "text")}, ["id"]),
    "wide": ({"wide_id": "bigint", **dict.fromkeys(WIDE, "double")}, ["wide_id"]),
    "nothing": ({"nothing_id": "bigint", "note": "text"}, ["nothing_id"]),
}
"""Columns with their types, and the key."""
CLASSES = {"name": "name", "email": "email"}


def source_text() -> str:
    """The source file, as discovery would write it."""
    tables = []
    for name, (columns, key) in TABLES.items():
        load: dict[str, Any] = {"primary_key": key} if key else {}
        if name == "coupons":
            load["soft_delete"] = "gone"
        described: list[dict[str, Any]] = []
        for column, data_type in columns.items():
            raw = normalized(column)
            entry: dict[str, Any] = {
                "name": raw,
                "data_type": data_type,
                "description": f"The {raw} as the system has it.",
            }
            if column in CLASSES and name == "customers":
                entry["config"] = {"meta": {"data_class": CLASSES[column]}}
            described.append(entry)
        described[0]["data_tests"] = ["not_null"]
        entry = {
            "name": name,
            "description": f"The {name} {{{{ odd }}}} of the system.",
            "columns": described,
        }
        tables.append({**entry, "config": {"meta": {"load": load}}})
    source = {
        "name": "odd_shop",
        "description": "A shop whose tables are odd.",
        "database": "raw",
        "schema": "odd_shop",
        "config": {
            "loaded_at_field": "_loaded_at",
            "freshness": {"warn_after": {"count": 1, "period": "day"}},
            "meta": {"owner": "someone", "load": {"kind": "database", "connection": "odd_shop"}},
        },
        "tables": tables,
    }
    return yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False)


TIMES = ("2026-01-05 00:00:00", "2026-01-05 10:30:00", "2026-01-06", "2026-01-07 00:00:00+00")


def fill(file: Path) -> None:
    """The system: 400 orders of 20 customers; a tenth of the coupon codes is unknown."""
    rows: Mapping[str, Sequence[Sequence[object]]] = {
        "customers": [
            (n, f"Name {n}", f"{n}@example.com", f"City {n % 5}", n % 2, '["a"]') for n in range(20)
        ],
        "orders": [
            (
                n,
                n % 20,
                (n + 1) % 20,
                f"C{n % 10}",
                ("open", "paid")[n % 2],
                n % 2,
                "yn"[n % 2],
                *TIMES,
                "1.25",
            )
            for n in range(400)
        ],
        "order_items": [(n // 2, n % 2 + 1, n, str(n), n % 7) for n in range(800)],
        "coupons": [(f"C{n}", n, 0) for n in range(9)],
        "log": [("same", "x")] * 3,
        "group": [(n, *("v" for _ in RESERVED)) for n in range(3)],
        "wide": [(1, *(0.5 for _ in WIDE))],
        "nothing": [],
    }
    with closing(sqlite3.connect(file)) as con, con:
        for name, (columns, _) in TABLES.items():
            declared = ", ".join(f'"{column}" {data_type}' for column, data_type in columns.items())
            con.execute(f'create table "{name}" ({declared})')
            if rows[name]:
                con.executemany(f'insert into "{name}" values ({", ".join("?" * len(columns))})', rows[name])


SHOP = "odd_shop"
RELATIONSHIPS = [
    Relationship(
        (SHOP, "orders"), ("customer_id",), (SHOP, "customers"), ("id",), 1.0, "constraint", declared=True
    ),
    Relationship(
        (SHOP, "orders"), ("billing_customer_id",), (SHOP, "customers"), ("id",), 1.0, "all found", 0.95
    ),
    Relationship(
        (SHOP, "orders"), ("coupon_code",), (SHOP, "coupons"), ("code",), 0.9, "9 of 10 found", 0.92
    ),
    Relationship(
        (SHOP, "order_items"),
        ("order_id",),
        (SHOP, "orders"),
        ("order_id",),
        1.0,
        "constraint",
        declared=True,
    ),
    Relationship((SHOP, "order_items"), ("quantity",), (SHOP, "customers"), ("id",), 1.0, "by chance", 0.3),
]


class OddProject:
    """The project in `root`, with raw loaded unless `load` is false."""

    def __init__(self, root: Path, *, load: bool = True) -> None:
        shop = root.with_name("odd_shop.sqlite")
        self.project = Project(root)
        self.settings = self.project.settings
        self.project.connect(SHOP, url=f"sqlite:///{shop}")
        for name, text in {
            "dbt_project.yml": DBT_PROJECT,
            "audiences.yml": AUDIENCES,
            "sources/odd_shop.yml": source_text(),
        }.items():
            (root / name).write_text(text)
        shutil.copy(SMALL_PROJECT / "profiles.yml", root)
        shutil.copytree(SMALL_PROJECT / "macros", root / "macros")
        shutil.copytree(REPOSITORY / "tests" / "generic", root / "tests" / "generic")
        if load:
            fill(shop)
            loaded = self.project.load()
            assert not loaded.errors, loaded.error

    def keep_only(self, table: str) -> None:
        """Declare one table alone."""
        file = self.settings.sources / f"{SHOP}.yml"
        content = yaml.safe_load(source_text())
        (source,) = content["sources"]
        source["tables"] = [entry for entry in source["tables"] if entry["name"] == table]
        file.write_text(yaml.safe_dump(content))

    @contextmanager
    def seen(
        self, *, is_whole: bool = True, tables: Sequence[str] = tuple(TABLES)
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, DiscoveredSource]]:
        """The source as discovery sees it, here by the rows of raw; without raw, its tables are empty."""
        found = []
        with duckdb.connect(":memory:") as con:
            if self.settings.raw.is_file():
                con.execute(f"attach '{self.settings.raw}' as raw (read_only)")
            for name in tables:
                columns = [DiscoveredColumn(column, kind) for column, kind in TABLES[name][0].items()]
                relation = f'raw.odd_shop."{name}"'
                if not self.settings.raw.is_file():
                    relation = quoted(name)
                    declared = ", ".join(f"{quoted(c.name)} {c.data_type}" for c in columns)
                    con.execute(f"create table {relation} ({declared})")
                (count,) = con.execute(f"select count(*) from {relation}").fetchall()[0]
                for column in columns:
                    column.name = normalized(column.name)
                found.append(DiscoveredTable(name, columns, relation, is_whole, count))
            yield con, DiscoveredSource(SHOP, {"kind": "database"}, found)

    def tool(self, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A tool of the environment, run in the project."""
        return subprocess.run(
            [str(Path(sys.executable).with_name(name)), *arguments],
            cwd=self.settings.root,
            env=self.project.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
        )
