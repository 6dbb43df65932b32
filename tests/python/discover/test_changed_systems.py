"""A system that changed since its file was written: the patch, and `sluice check --live`."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sluice.cli import app
from sluice.config.sources import load_sources
from sluice.discover.live import live_differences
from sluice.discover.run import scratch_database
from sluice.discover.yaml_text import block, comment, flow, joined
from sluice.errors import Exit
from tests.python.project import Project

FILE = """version: 2
sources:
- name: shop
  database: raw
  config: {meta: {load: {kind: database, connection: shop}}}
  tables:
  - name: orders   # ours
    description: >
      What people ordered,
      in words of our own.
    columns:
    - {name: order_id, data_type: smallint}
    # the status stays as it is
    - name: status
      description: |
        Ours.
    - name: amount
      data_type: integer  # cents

  - name: customers
    config:
      meta:
        owner: crm
    columns:
    - {name: customer_id, data_type: bigint}  # last line
# the end
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.connect("shop", url="sqlite:///shop.db")
    change(
        project,
        "create table orders (order_id smallint primary key, status text, amount int, placed date);"
        "create table customers (customer_id integer primary key, email text);"
        "create table refunds (refund_id integer primary key, reason text);"
        "insert into orders values (1, 'paid', 5, '2024-01-01')",
    )
    (project.settings.sources / "shop.yml").write_text(FILE)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return project


def change(project: Project, statements: str) -> None:
    with sqlite3.connect(project.root / "shop.db") as con:
        con.executescript(statements)


def sluice(project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("SLUICE_HOME", str(project.settings.home))
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout_bytes.decode(), done.stderr


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_patch_adds_what_is_new_and_keeps_what_people_wrote(
    project: Project, monkeypatch: pytest.MonkeyPatch, newline: str
) -> None:
    file = project.settings.sources / "shop.yml"
    file.write_text(FILE.rstrip("\n"), newline=newline)
    code, patch, said = sluice(project, monkeypatch, "discover", "shop")
    assert code == Exit.OK, said
    assert "shop.orders.placed: is new at the source" in said
    assert file.read_text() == FILE.rstrip("\n")
    (project.root / "new.patch").write_bytes(patch.encode())
    subprocess.run(["git", "apply", "new.patch"], cwd=project.root, check=True)
    applied = file.read_bytes()
    text = applied.decode().replace("\r\n", "\n")
    lines = iter(text.splitlines())
    assert [line for line in FILE.splitlines() if line not in lines] == []  # all are there, in their order
    tables = {t["name"]: t for t in yaml.safe_load(text)["sources"][0]["tables"]}
    assert list(tables) == ["orders", "customers", "refunds"]
    assert [c["name"] for c in tables["orders"]["columns"]] == ["order_id", "status", "amount", "placed"]
    assert tables["orders"]["config"]["meta"]["load"] == {"primary_key": "order_id"}
    assert tables["customers"]["config"]["meta"] == {"owner": "crm", "load": {"primary_key": "customer_id"}}
    assert (b"\r\n" in applied) == (newline == "\r\n")
    assert applied.count(b"\n") == applied.count(newline.encode())

    code, patch, _ = sluice(project, monkeypatch, "discover", "shop")
    assert patch == "sources/shop.yml: nothing to add\n"


def test_new_tables_get_names_that_no_declared_table_has(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`orders` reads purchases here; the system has orders of its own, which refer to them."""
    file = project.settings.sources / "shop.yml"
    file.write_text(FILE.split("  - name: customers")[0].replace(
        "  - name: orders   # ours", "  - name: orders\n    config: {meta: {load: {table: purchases}}}"
    ))  # fmt: skip
    change(
        project,
        "alter table orders rename to purchases;"
        "create table orders (id integer primary key, purchase_id smallint references purchases (order_id));"
        "insert into purchases values (2, 'paid', 7, '2024-01-02'), (3, 'open', 9, '2024-01-03');"
        "insert into orders values (7, 1), (8, 1), (9, 3)",
    )
    assert sluice(project, monkeypatch, "discover", "shop", "--write")[0] == Exit.OK
    (source,) = load_sources(project.settings.sources)
    tables = {table.name: table for table in source.declared}
    assert list(tables) == ["orders", "customers", "orders_2", "refunds"]
    assert (tables["orders"].load.table, tables["orders_2"].load.table) == ("purchases", "orders")
    assert "References `orders.order_id`" in file.read_text().split("name: orders_2")[1]
    assert sluice(project, monkeypatch, "discover", "shop")[1] == "sources/shop.yml: nothing to add\n"


def test_write_applies_the_patch(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sluice(project, monkeypatch, "discover", "shop", "--write")[0] == Exit.OK
    assert {t.name for t in load_sources(project.settings.sources)[0].declared} == {
        "orders",
        "customers",
        "refunds",
    }
    assert project.load().error == ""


def test_live_fails_for_what_is_gone_and_only_names_what_is_new(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said, wrong = sluice(project, monkeypatch, "check", "--live")
    assert (code, wrong) == (Exit.OK, "")
    assert "sources/shop.yml:7: shop.orders.placed: is new at the source: date" in said
    change(
        project,
        "drop table customers; alter table orders drop column status;"
        "alter table orders rename column amount to old; alter table orders add column amount text;"
        "update orders set amount = 'five'",
    )
    code, _, wrong = sluice(project, monkeypatch, "check", "--live")
    assert code == Exit.FAILED
    assert "shop.customers: is gone at the source" in wrong
    assert "shop.orders.status: is gone at the source" in wrong
    assert (
        "shop.orders.amount: is text at the source, and values do not fit the declared integer (1 of" in wrong
    )


def test_live_says_which_systems_cannot_be_reached(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.connect("shop", url="sqlite:///gone.db")
    code, _, wrong = sluice(project, monkeypatch, "check", "--live")
    assert code == Exit.CONNECTION
    assert "there is no SQLite file 'gone.db'" in wrong


def test_live_reads_files_as_a_load_would(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,name\n1,x\n")
    project.declare(
        "drop",
        {"kind": "files", "url": "in"},
        {"a": {"path": "a.csv", "format": "csv"}, "b": {"path": "a.csv", "format": "csv"}},
        {"a": {"id": "bigint"}, "b": {"id": "bigint", "total": "double", "name": "bigint"}},
    )
    (source,) = load_sources(project.settings.sources)
    with scratch_database() as con:
        found = live_differences(source, project.settings, con)
    assert [(d.what, d.place, d.breaks) for d in found] == [
        ("new column", "drop.a.name", False),
        ("gone column", "drop.b.total", True),
        ("new type", "drop.b.name", True),
    ]


@pytest.mark.parametrize(
    "value",
    ["no", "null", "1e3", "a: b", "it's \"quoted\"", "#", "a #b", "{x}", "- a", "", " a ", "ünï ☃", "\t\x07", "2024-01-01",
     "decimal(10,2)", "%", "@", "&a", "*a", "!x", "|", "a,b", "a]", "~", "0x1f", "12:30:45", "\u2028", "a\nb", "…: ", "a:"],
)  # fmt: skip
def test_any_text_comes_back_from_the_yaml(value: str) -> None:
    assert yaml.safe_load(f"[{flow(value)}, {flow({value: value})}]") == [value, {value: value}]
    text = joined(
        [
            "x:",
            *block("key", value, 2),
            *block("long", {"a" * 90: value, "b": [value]}, 2),
            *comment(value, 2),
        ]
    )
    assert yaml.safe_load(text)["x"] == {"key": value, "long": {"a" * 90: value, "b": [value]}}
