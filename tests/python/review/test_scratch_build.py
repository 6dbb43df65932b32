"""Builds and compares tables of a project of three models, written down as a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sluice.config.settings import Settings
from sluice.dbt.build_state import BuildState, NodeState, keep_state
from sluice.review import Level, Review, compare, html, markdown
from sluice.review.revision import Revision

SECRET = "anna@example.com"
ORDERS = 'select * from "raw"."shop"."orders" where amount is not null'
SALES = 'select id, email, amount, day from "memory"."s"."orders"'
REPORT = 'select day, sum(amount) as amount, count(*) as n from "memory"."s"."sales" group by day'


def _node(name: str, sql: str, parents: list[str], columns: list[str], **config: Any) -> dict[str, Any]:
    return {
        "unique_id": f"model.x.{name}",
        "resource_type": "model",
        "name": name,
        "alias": name,
        "schema": "s",
        "database": "memory",
        "relation_name": f'"memory"."s"."{name}"',
        "compiled_code": sql,
        "raw_code": sql,
        "access": "public",
        "language": "sql",
        "depends_on": {"nodes": parents},
        "config": {"materialized": "table", **config},
        "columns": {c: {"name": c, "data_type": None, "config": {}, "meta": {}} for c in columns},
        "original_file_path": f"models/{name}.sql",
    }


def _test(name: str, columns: list[str]) -> dict[str, Any]:
    return {
        "resource_type": "test",
        "name": f"key_{name}",
        "attached_node": f"model.x.{name}",
        "column_name": None,
        "test_metadata": {"name": "primary_key", "kwargs": {"columns": columns}},
        "depends_on": {"nodes": [f"model.x.{name}"]},
        "original_file_path": "models/_models.yml",
        "config": {"severity": "error"},
    }


def revision(root: Path, name: str, **queries: str) -> Revision:
    """A side of the review, with other queries than the usual ones for some models."""
    orders = _node(
        "orders",
        queries.get("orders", ORDERS),
        ["source.x.shop.orders"],
        ["id", "email", "amount", "day"],
        materialized="view",
    )
    orders["columns"]["email"]["config"] = {"meta": {"data_class": "email"}}
    nodes = [
        orders,
        _node("sales", queries.get("sales", SALES), ["model.x.orders"], ["id", "email", "amount", "day"]),
        _node("report", queries.get("report", REPORT), ["model.x.sales"], ["day", "amount", "n"]),
    ]
    tests = [_test("orders", ["id"]), _test("sales", ["id"]), _test("report", ["day"])]
    source = {
        "unique_id": "source.x.shop.orders",
        "resource_type": "source",
        "name": "orders",
        "source_name": "shop",
        "schema": "shop",
        "database": "raw",
        "identifier": "orders",
        "relation_name": '"raw"."shop"."orders"',
        "config": {},
        "meta": {},
        "columns": {
            c: {"name": c, "data_type": None, "config": {}} for c in ("id", "email", "amount", "day")
        },
    }
    exposure = {
        "unique_id": "exposure.x.board",
        "name": "board",
        "label": "Board",
        "owner": {"name": "Ann", "email": "ann@example.com"},
        "depends_on": {"nodes": ["model.x.report"]},
        "config": {},
        "meta": {},
    }
    manifest: Mapping[str, Any] = {
        "nodes": {**{n["unique_id"]: n for n in nodes}, **{f"test.x.{t['name']}": t for t in tests}},
        "sources": {"source.x.shop.orders": source},
        "exposures": {"exposure.x.board": exposure},
        "unit_tests": {},
    }
    return Revision(root, name, manifest)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = tmp_path / "home"
    home.mkdir()
    with duckdb.connect(str(home / "raw.duckdb")) as con:
        con.execute(
            "create schema shop; create table shop.orders as select i as id, ? || i as email, "
            "case when i % 10 <> 0 then i end as amount, date '2026-01-01' + cast(i % 4 as integer) as day "
            "from range(1, 101) as t(i)",
            [SECRET],
        )
    with duckdb.connect(str(home / "warehouse.duckdb")) as con:
        con.execute("create schema s")  # nothing is built yet: parents are made on the way
    return Settings(root=tmp_path, home=home)


def reviewed(settings: Settings, **queries: str) -> Review:
    """The review of a change of queries."""
    root = settings.root
    return compare(settings, revision(root, "base"), revision(root, "head", **queries), root / "scratch")


def test_rows_that_a_condition_costs(settings: Settings) -> None:
    found = reviewed(settings, orders=ORDERS + " and id > 50")
    tables = {t.name: t for t in found.data.tables}
    assert (tables["orders"].rows, tables["orders"].removed, tables["orders"].added) == ((90, 45), 45, 0)
    assert tables["report"].rows == (4, 4)
    assert tables["report"].changed == 4
    assert {c.name: c.changed for c in tables["report"].columns} == {"amount": 4, "n": 4}
    assert found.models[0].clauses[0].rows == (90, 45)
    assert found.verdict is Level.STOP  # a public table lost half of its rows
    assert "90 → 45 rows" in markdown(found)
    assert "ask" in markdown(found) or "Ann" in markdown(found)


def test_what_turns_out_equal_ends_the_chain(settings: Settings) -> None:
    found = reviewed(settings, orders=ORDERS + " and id > 0")
    assert [t.name for t in found.data.tables] == ["orders"]
    assert found.data.tables[0].is_equal
    assert found.data.untouched == ["sales", "report"]
    assert found.models[0].clauses[0].rows == (90, 90)


def test_a_comment_builds_nothing(settings: Settings) -> None:
    found = reviewed(settings, orders=ORDERS + " -- of the shop")
    assert [m.how for m in found.models] == ["text"]
    assert found.data.tables == []
    assert found.verdict is Level.SAFE


def test_a_join_that_fans_out_breaks_the_key(settings: Settings) -> None:
    sales = SALES + " inner join (values (1), (2)) as twice(x) on true"
    found = reviewed(settings, sales=sales)
    assert "key-not-unique:sales" in {f.id for f in found.findings}
    assert found.verdict is Level.STOP


def test_examples_show_values_but_no_personal_ones(settings: Settings) -> None:
    changed = SALES.replace("email, amount", "upper(email) as email, amount + 1 as amount")
    found = reviewed(settings, sales=changed)
    columns = {c.name: c for t in found.data.tables if t.name == "sales" for c in t.columns}
    assert columns["amount"].examples[0] == "1: 1 → 2"
    assert columns["email"].changed == 90
    assert columns["email"].examples == [f"{i}: ••• → •••" for i in (1, 11, 12)]
    for text in (markdown(found), html(found)):
        assert SECRET not in text.lower()


def test_errors_quote_no_value(settings: Settings) -> None:
    found = reviewed(settings, sales=SALES.replace("amount,", "cast(email as integer) as amount,"))
    assert [f.id for f in found.findings if f.level is Level.STOP] == ["build:sales"]
    assert SECRET not in markdown(found)


def test_the_warehouse_may_be_of_the_branch(settings: Settings) -> None:
    with duckdb.connect(str(settings.warehouse)) as con:  # somebody has built the branch already
        con.execute(f"attach '{settings.raw}' as raw (read_only)")
        con.execute(f"create table s.orders as {ORDERS} and id > 50")
    found = reviewed(settings, orders=ORDERS + " and id > 50")
    assert next(t for t in found.data.tables if t.name == "orders").removed == 45


@pytest.mark.parametrize(("built", "rows"), [(ORDERS + " and id > 50", 90), (ORDERS + " -- all", 45)])
def test_a_table_of_another_branch_is_no_input(settings: Settings, built: str, rows: int) -> None:
    """The warehouse has 45 orders: the last build says whether that is what this branch makes of the same raw."""
    with duckdb.connect(str(settings.warehouse)) as con:
        con.execute(f"attach '{settings.raw}' as raw (read_only)")
        con.execute(f"create table s.orders as {ORDERS} and id > 50")
        con.execute("create table s.sales as from s.orders")
    nodes = {
        "model.x.orders": NodeState(built, "", {}, "1", ""),
        "model.x.sales": NodeState(
            SALES.replace('"memory"."s"."orders"', '"model.x.orders"'), "", {}, "1", ""
        ),
    }
    keep_state(settings, BuildState(nodes=nodes))
    found = reviewed(settings, report=REPORT.replace("count(*)", "count(*) + 1"))
    (report,) = found.data.tables
    assert report.rows == (4, 4)
    with duckdb.connect(str(settings.warehouse)) as con:
        con.execute(
            "update s.orders set amount = 0"
        )  # by another hand: the build says nothing of it any more
    found = reviewed(settings, sales=SALES.replace("amount,", "amount + 1 as amount,"))
    assert {t.name: t.rows for t in found.data.tables}["sales"] == (45, 45)
    keep_state(settings, BuildState(nodes=nodes))
    found = reviewed(settings, sales=SALES.replace("amount,", "amount + 1 as amount,"))
    assert {t.name: t.rows for t in found.data.tables}["sales"] == (rows, rows)


def test_seconds_and_bytes_of_each_table(settings: Settings) -> None:
    """Text that hardly compresses fills some thirty blocks, so that one block more or less does not matter."""
    with duckdb.connect(str(settings.raw)) as con:
        con.execute(
            "insert into shop.orders select i, md5(i::text), i, '2026-01-01' from range(101, 400001) t(i)"
        )
    found = reviewed(settings, orders=ORDERS + " and id % 2 = 0")
    tables = {t.name: t for t in found.data.tables}
    before, after = tables["sales"].bytes
    assert 400_000 * 12 < before < 400_000 * 80
    assert 0.3 < after / before < 0.7
    assert sum(t.bytes[0] for t in tables.values()) <= found.data.bytes[0]
    assert all(t.seconds[0] > 0 and t.seconds[1] > 0 for t in tables.values())
    assert f"| {before / 1e6:,.2f} MB → {after / 1e6:,.2f} MB |" in markdown(found)


def test_a_plan_that_got_worse(settings: Settings) -> None:
    with duckdb.connect(str(settings.raw)) as con:
        con.execute("insert into shop.orders select i, 'x', i, '2026-01-01' from range(101, 301) t(i)")
    joined = 'select a.id, a.email, a.amount, a.day from "memory"."s"."orders" as a inner join "memory"."s"."orders" as b on '
    base = revision(settings.root, "base", sales=f"{joined} a.id = b.id")
    worse = revision(settings.root, "head", sales=f"{joined} a.id = b.id or a.id = -b.id")
    scratch = settings.root / "scratch"
    found = compare(settings, base, worse, scratch)
    assert {f.kind for f in found.findings} >= {"plan", "join-condition"}
    assert "`sales`: the plan has a" in markdown(found)
    assert "plan" not in {f.kind for f in compare(settings, worse, base, scratch).findings}


def test_without_a_warehouse(settings: Settings) -> None:
    settings.warehouse.unlink()
    found = reviewed(settings, orders=ORDERS + " and id > 50")
    assert [f.id for f in found.findings] == ["where-added:orders"]
    assert [r.name for r in found.reach if r.kind == "exposure"] == ["board"]
    assert "no warehouse" in markdown(found)


def test_the_scratch_is_gone_and_the_inputs_are_untouched(settings: Settings) -> None:
    before = settings.raw.read_bytes(), settings.warehouse.read_bytes()
    reviewed(settings, orders=ORDERS + " and id > 50")
    assert not (settings.root / "scratch").exists()
    assert (settings.raw.read_bytes(), settings.warehouse.read_bytes()) == before


def test_a_seed_that_is_read_otherwise(settings: Settings, tmp_path: Path) -> None:
    """Its file is the same: the types of its columns, or what separates them, changed."""
    (tmp_path / "rates.csv").write_text("day;rate\n1;0.125\n2;0.25\n")

    def side(name: str, **config: Any) -> Revision:
        seed = _node("rates", "", [], ["day", "rate"], materialized="seed", delimiter=";", **config)
        seed |= {"unique_id": "seed.x.rates", "resource_type": "seed", "checksum": {"checksum": "1"}}
        seed["original_file_path"] = "rates.csv"
        reader = _node(
            "total", 'select sum(rate) as rate from "memory"."s"."rates"', ["seed.x.rates"], ["rate"]
        )
        nodes = {n["unique_id"]: n for n in (seed, reader)}
        return Revision(tmp_path, name, {"nodes": nodes, "sources": {}, "exposures": {}, "unit_tests": {}})

    types = [{"day": "integer", "rate": kind} for kind in ("decimal(9,3)", "decimal(9,1)")]
    same = compare(
        settings, side("base", column_types=types[0]), side("head", column_types=types[0]), tmp_path / "a"
    )
    assert same.models == []
    found = compare(
        settings, side("base", column_types=types[0]), side("head", column_types=types[1]), tmp_path / "b"
    )
    assert [(m.name, m.how, m.why) for m in found.models] == [("rates", "seed", "column_types changed")]
    assert "seed-changed:rates" in {f.id for f in found.findings}
    assert {t.name for t in found.data.tables if not t.is_equal} == {"rates", "total"}
