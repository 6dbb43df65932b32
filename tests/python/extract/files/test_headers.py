"""Headers as people write them: every column gets a name, the message says which to declare, no name moves later."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sluice.config import declaration
from sluice.config.column_names import earlier_name
from sluice.engine.duckdb import load_extension
from tests.python.project import Project

KEYS = {"format": "csv", "path": "t/*"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "in" / "t").mkdir(parents=True)
    return Project(tmp_path)


def columns(project: Project) -> list[str]:
    found = project.raw(
        "select column_name from duckdb_columns() where table_name = 't' order by column_index"
    )
    return [name for (name,) in found if name[0] != "_" or name[1].isdigit()]


def load(
    project: Project, text: str, keys: dict[str, Any] | None = None, types: Any = None, name: str = "a"
) -> str:
    (project.root / "in" / "t" / name).write_text(text)
    project.declare("f", {"kind": "files", "url": "in"}, {"t": {**KEYS, **(keys or {})}}, {"t": types or {}})
    return project.load().error


def test_headers_with_signs_and_in_other_scripts(project: Project) -> None:
    header = "#,Amount (EUR),Price ($),Price (€),Margin,Margin %,Größe,Сумма"
    assert not load(project, f"{header}\n1,2,3,4,5,6,7,8\n", types={"amount_eur": "bigint"})
    names = [
        "number",
        "amount_eur",
        "price_dollar",
        "price_eur",
        "margin",
        "margin_percent",
        "grosse",
        "summa",
    ]
    assert columns(project) == names
    assert project.raw("select amount_eur, price_eur, summa from f.t") == [(2, "4", "8")]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (",id,name", ["column_1", "id", "name"]),  # pandas' index
        ("id,,x,", ["id", "column_2", "x", "column_4"]),
        ("a,a,b,a", ["a", "a_2", "b", "a_3"]),
        ("a,a,a_2", ["a", "a_3", "a_2"]),
        ("Amount (EUR),Amount (EUR)", ["amount_eur", "amount_eur_2"]),
        ("column_2,", ["column_2", "column_3"]),
    ],
)
@pytest.mark.sample(2)
def test_empty_and_repeated_headers_are_called_by_their_place(
    project: Project, header: str, names: list[str]
) -> None:
    values = ",".join(map(str, range(len(names))))
    assert not load(project, f"{header}\n{values}\n")
    assert columns(project) == names
    assert project.raw(f"select {', '.join(names)} from f.t") == [tuple(map(str, range(len(names))))]
    assert not load(project, f"{header}\n{values}\n", name="b")
    assert project.raw("select count(*) from f.t") == [(2,)]


def test_an_excel_sheet_with_such_headers(project: Project) -> None:
    rows = "values (null, 'Amount (EUR)', 'Amount (EUR)'), ('0', '1', '2')"
    with duckdb.connect() as con:
        load_extension(con, "excel")
        con.execute(f"copy ({rows}) to '{project.root}/in/t/a.xlsx' (format xlsx)")
    project.declare("f", {"kind": "files", "url": "in"}, {"t": {"format": "excel", "path": "t/*"}})
    assert not project.load().errors
    assert columns(project) == ["column_1", "amount_eur", "amount_eur_2"]


def test_headers_of_one_name_are_refused_until_one_is_renamed(project: Project) -> None:
    text = "Order ID,order_id\n1,2\n"
    error = load(project, text)
    assert "'Order ID' and 'order_id' would both be called 'order_id'" in error
    assert "columns: {rename: {'order_id': order_id_2}}" in error
    assert not load(project, text, {"columns": {"rename": {"order_id": "order_id_2"}}})
    assert project.raw("select order_id, order_id_2 from f.t") == [("1", "2")]


def test_what_is_no_header_says_what_to_declare(project: Project) -> None:
    assert "begins with Excel's line 'sep=;'" in load(project, "sep=;\nid;v\n1;x\n")
    assert 'has "\\x1f" in its header; nothing was loaded. Declare it as delimiter' in load(
        project, "id\x1fv\n1\x1fx\n"
    )
    assert not load(project, "id;v\n1;x\n")
    ((said,),) = project.raw("select message from sluice.loads order by ended_at desc limit 1")
    assert "f.t: t/a has one column, 'id;v'; if ';' separates fields, declare it as delimiter" in said


def test_names_that_the_source_does_not_have(project: Project) -> None:
    content = "id,v\n1,x\n"
    error = load(project, content, {"primary_key": "idd"})
    assert "primary_key names idd, which is not among the columns that are loaded: id, v" in error
    error = load(project, content, {"columns": {"include": ["id", "idd"]}})
    assert "columns includes 'idd', which the source does not have; it has 'id', 'v'" in error


def test_a_missing_column_is_reported_with_headers_and_names(project: Project) -> None:
    error = load(project, "Id,Amount (EUR)\n1,2\n", types={"amount": "bigint"})
    assert "has no column amount (its header: 'Id' → id, 'Amount (EUR)' → amount_eur)" in error


def test_a_name_that_is_chosen(project: Project) -> None:
    rename = {"columns": {"rename": {"Preis (CHF)": "price_chf", "column_2": "row"}, "exclude": ["Geheim"]}}
    text = "Preis (CHF),,Geheim\n1.50,2,x\n"
    error = load(project, text, {"columns": {"rename": {"Pries": "price"}}})
    assert "renames 'Pries', which the source does not have; it has 'Preis (CHF)', 'column_2'" in error
    assert not load(project, text, rename, {"price_chf": "decimal(9,2)"})
    assert columns(project) == ["price_chf", "row"]


@pytest.mark.parametrize("name", ["_file", "Price", "a__b", ""])
def test_a_chosen_name_is_snake_case(project: Project, name: str) -> None:
    with pytest.raises(Exception, match="is not a name in snake_case"):
        load(project, "id\n1\n", {"columns": {"rename": {"id": name}}})


def test_names_of_earlier_versions_stay(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw of version 0.2 has dlt's names; neither a new file nor a refresh renames a column under its readers."""
    with monkeypatch.context() as earlier:
        earlier.setattr(declaration, "normalized", earlier_name)
        assert not load(project, "Order #,Amount (EUR)\n1,2\n")
    more = "Order #,Amount (EUR),Fee (EUR)\n3,4,5\n"
    assert not load(project, more, {"columns": {"exclude": ["Fee (EUR)"]}}, name="b")
    assert project.raw("select orderx, amount_eurx from f.t order by all") == [("1", "2"), ("3", "4")]
    assert columns(project) == ["orderx", "amount_eurx"]
    assert not project.load(full_refresh=True).errors
    assert columns(project) == ["orderx", "amount_eurx"]


def test_a_declared_earlier_name_stays(project: Project) -> None:
    keys = {"primary_key": ["orderx"]}
    assert not load(project, "Order #,Fee %\n1,2\n", keys, {"orderx": "bigint", "feex": "bigint"})
    assert project.raw("select orderx, feex from f.t") == [(1, 2)]


def test_columns_of_a_database_and_keys_of_records(project: Project) -> None:
    file = project.root / "shop.sqlite"
    with sqlite3.connect(file) as con:
        con.execute('create table t ("Order #" integer primary key, "Amount (€)" text, "имя" text)')
        con.execute("insert into t values (1, 'a', 'b')")
    project.connect("shop", url=f"sqlite:///{file}")
    keys = {"t": {"primary_key": ["Order #"], "columns": {"rename": {"имя": "first_name"}}}}
    project.declare("f", {"kind": "database", "connection": "shop"}, keys)
    assert not project.load().errors
    assert columns(project) == ["order_number", "amount_eur", "first_name"]
    (project.root / "in" / "t" / "a").write_text(json.dumps({"@id": 1, "id": 2, "Ümlaut %": 3}))
    project.declare("g", {"kind": "files", "url": "in"}, {"r": {"format": "json", "path": "t/*"}})
    assert not project.load().errors
    assert project.raw("select at_id, id, umlaut_percent from g.r") == [(1, 2, 3)]
