"""A source changes its shape between two loads: the second loads without loss, or is refused and leaves raw as it was.

All tables of a kind are loaded by one load, so that none gets in another's way.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import zipfile
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from servers import MariaDB, Postgres
from tests.python.extract.database.test_database import maria
from tests.python.extract.rest.api import Answer, Api
from tests.python.project import Outcome, Project

Rows = list[tuple[Any, ...]]
Expected = str | Rows
"""A part of the error, or the rows of raw after the second load."""
KEYED = {"primary_key": "id"}
UTC = dt.datetime(2024, 1, 5, 10, tzinfo=dt.UTC)


class Drift:
    """A project with a table a case, `t0`, `t1` and so on, of one source `s`."""

    def __init__(self, folder: Path, source: dict[str, Any]) -> None:
        self.project = Project(folder)
        self._source = source

    def declare(
        self, tables: Mapping[str, dict[str, Any]], columns: Mapping[str, dict[str, str | None]] | None = None
    ) -> None:
        self.project.declare("s", self._source, tables, columns=columns)

    def check(self, cases: Mapping[str, Expected], change: Callable[[], object]) -> Outcome:
        """Load, let the source change, load again, and hold each table to what is expected."""
        first = self.project.load()
        assert not first.errors
        before = {case: self.rows(number) for number, case in enumerate(cases)}
        change()
        second = self.project.load()
        wrong = {}
        for number, (case, expected) in enumerate(cases.items()):
            error, rows = second[f"t{number}"].error, self.rows(number)
            if isinstance(expected, str):
                if expected not in (error or "") or rows != before[case]:
                    wrong[case] = error or rows
            elif error or rows != expected:
                wrong[case] = error or rows
        assert not wrong, "\n".join(f"{case}: {found}" for case, found in wrong.items())
        again = self.project.load()
        assert again.rows == 0
        return second

    def rows(self, number: int) -> Rows:
        """All that raw has but the columns of ours; nothing while there is no table."""
        try:
            names = [n for n in self.project.types(f"s.t{number}") if n[0] != "_"]
            return self.project.raw(f"select {', '.join(names)} from s.t{number} order by all")
        except duckdb.CatalogException:
            return []


Case = tuple[str, str, dict[str, Any], Expected]
"""Columns and rows at first, what happens to them, load keys, and what is expected; {t} is the table."""

POSTGRES: dict[str, Case] = {
    "int to numeric": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} alter v type numeric(10,2); update {t} set v = 1.57", KEYED, "v: 1 value(s) of type decimal(10,2) are not integer"),
    "int to numeric with the same values": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} alter v type numeric(10,2); update {t} set v = 2.00", KEYED, [(1, 2)]),
    "int to bigint": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} alter v type bigint; update {t} set v = 5000000000", KEYED, "v: 1 value(s) of type bigint are not integer"),
    "int to text": ("(id int primary key, v int); insert into {t} values (1, 7)", "alter table {t} alter v type text; update {t} set v = '007'", KEYED, "v: 1 value(s) of type varchar are not integer"),
    "int to text with the same values": ("(id int primary key, v int); insert into {t} values (1, 7)", "alter table {t} alter v type text", KEYED, [(1, 7)]),
    "text to int": ("(id int primary key, v text); insert into {t} values (1, '7')", "alter table {t} alter v type int using v::int", KEYED, [(1, "7")]),
    "a scale that grows": ("(id int primary key, v numeric(10,2)); insert into {t} values (1, 1.25)", "alter table {t} alter v type numeric(12,3); update {t} set v = 1.255", KEYED, "v: 1 value(s) of type decimal(12,3) are not decimal(10,2)"),
    "a precision that grows": ("(id int primary key, v numeric(10,2)); insert into {t} values (1, 1.25)", "alter table {t} alter v type numeric(12,2); update {t} set v = 3.25", KEYED, [(1, Decimal("3.25"))]),
    "a dropped column": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} drop v; update {t} set id = 2", KEYED, "no longer has v, which raw has"),
    "a renamed column": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} rename v to w", KEYED, "no longer has v"),
    "a new column": ("(id int primary key); insert into {t} values (1), (2)", "alter table {t} add v text; update {t} set v = 'x' where id = 2", KEYED, [(1, None), (2, "x")]),
    "text to timestamp": ("(id int primary key, v text); insert into {t} values (1, '2024-01-05 10:00:00')", "alter table {t} alter v type timestamp using v::timestamp", KEYED, [(1, "2024-01-05 10:00:00")]),
    "a time zone that is gained": ("(id int primary key, v timestamp); insert into {t} values (1, '2024-01-05 10:00')", "alter table {t} alter v type timestamptz", KEYED, "the same digits name other instants"),
    "a time zone that is lost": ("(id int primary key, v timestamptz); insert into {t} values (1, '2024-01-05 10:00')", "alter table {t} alter v type timestamp", KEYED, "the same digits name other instants"),
    "a key that is null": ("(id int, v int); insert into {t} values (1, 1)", "insert into {t} values (null, 2)", KEYED, "1 row(s) have no value in the primary key"),
    "a key twice": ("(id int, v int); insert into {t} values (1, 1)", "insert into {t} values (1, 2)", KEYED, "stands for several different rows"),
    "equal rows": ("(id int, v int); insert into {t} values (1, 1)", "insert into {t} values (1, 1), (2, 2), (2, 2)", KEYED, [(1, 1), (2, 2)]),
    "an enum with one value more": ("(id int primary key, v {t}_mood); insert into {t} values (1, 'sad')", "alter type {t}_mood add value 'glad'; insert into {t} values (2, 'glad')", KEYED, [(1, "sad"), (2, "glad")]),
    "a value to an array": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} alter v type int[] using array[v]", KEYED, "v: 1 value(s) of type varchar are not integer, e.g. id 1, v '[1]'"),
    "a key of two columns": ("(a int, b text, v int, primary key (a, b)); insert into {t} values (1, 'x', 1), (1, 'y', 2)", "update {t} set v = 3 where b = 'y'; insert into {t} values (2, 'x', 4)", {"primary_key": ["a", "b"]}, [(1, "x", 1), (1, "y", 3), (2, "x", 4)]),
    "the first rows of an empty table": ("(id int primary key, v numeric(10,2), j jsonb)", "insert into {t} values (1, 1.5, '[]')", KEYED, [(1, Decimal("1.50"), "[]")]),
    "more rows without a key": ("(v int); insert into {t} values (1), (1), (2)", "insert into {t} values (3)", {}, [(1,), (1,), (2,), (3,)]),
    "the same rows without a key": ("(v int); insert into {t} values (1), (1), (2)", "update {t} set v = v", {}, [(1,), (1,), (2,)]),
    "the columns in another order": ("(id int primary key, a int, b int); insert into {t} values (1, 2, 3)", "alter table {t} rename a to c; alter table {t} rename b to a; alter table {t} rename c to b", KEYED, [(1, 3, 2)]),
}  # fmt: skip


WRITTEN = {
    "int to text with the same values": 0,
    "text to int": 0,
    "text to timestamp": 0,
    "a key of two columns": 2,
    "more rows without a key": 4,
    "the same rows without a key": 0,
}
"""Rows the second load writes, where they are not one."""


def test_drift_of_postgres(postgres_server: Postgres, tmp_path: Path) -> None:
    drift = Drift(tmp_path, {"kind": "database", "connection": "pg"})
    drift.project.connect("pg", url=postgres_server.url)
    server = postgres_server
    server.sql("drop schema if exists drift cascade; create schema drift")
    for number, (made, *_) in enumerate(POSTGRES.values()):
        if "_mood" in made:
            server.sql(f"create type drift.t{number}_mood as enum ('sad')")
        server.sql(f"create table drift.t{number} " + made.format(t=f"drift.t{number}"))
    tables = {
        f"t{n}": {"table": f"drift.t{n}", **keys} for n, (_, _, keys, _) in enumerate(POSTGRES.values())
    }
    drift.declare(tables)

    def change() -> None:
        for number, (_, then, _, _) in enumerate(POSTGRES.values()):
            for statement in then.format(t=f"drift.t{number}").split("; "):
                server.sql(statement)

    found = drift.check({case: expected for case, (*_, expected) in POSTGRES.items()}, change)
    numbers = {case: f"t{n}" for n, case in enumerate(POSTGRES)}
    for case, (*_, rows) in POSTGRES.items():  # what is the same is not written again
        if not isinstance(rows, str):
            assert found[numbers[case]].rows == WRITTEN.get(case, 1), case

    # a column that is gone may be named as left out
    tables[numbers["a dropped column"]]["columns"] = {"exclude": ["v"]}
    drift.declare(tables)
    assert drift.project.load(f"s.{numbers['a dropped column']}", keep_rows=True).rows == 1
    assert drift.project.raw(f"select id, v from s.{numbers['a dropped column']} order by id") == [
        (1, 1), (2, None),
    ]  # fmt: skip
    others = f"select v from s.{numbers['more rows without a key']} order by v"
    assert drift.project.raw(others) == [(1,), (1,), (2,), (3,)]


MARIADB: dict[str, Case] = {
    "int to decimal": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} modify v decimal(10,2); update {t} set v = 1.57", KEYED, "v: 1 value(s) of type decimal(10,2) are not integer"),
    "int to text": ("(id int primary key, v int); insert into {t} values (1, 7)", "alter table {t} modify v text; update {t} set v = '007'", KEYED, "v: 1 value(s) of type varchar are not integer"),
    "a scale that grows": ("(id int primary key, v decimal(10,2)); insert into {t} values (1, 1.25)", "alter table {t} modify v decimal(12,3); update {t} set v = 1.255", KEYED, "v: 1 value(s) of type decimal(12,3) are not decimal(10,2)"),
    "int to unsigned": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} modify v int unsigned; update {t} set v = 4294967295", KEYED, "are not integer"),
    "a dropped column": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} drop v", KEYED, "no longer has v, which raw has"),
    "a renamed column": ("(id int primary key, v int); insert into {t} values (1, 1)", "alter table {t} change v w int", KEYED, "no longer has v"),
    "a new column": ("(id int primary key); insert into {t} values (1), (2)", "alter table {t} add v text; update {t} set v = 'x' where id = 2", KEYED, [(1, None), (2, "x")]),
    "text to datetime": ("(id int primary key, v varchar(30)); insert into {t} values (1, '2024-01-05 10:00:00')", "alter table {t} modify v datetime", KEYED, [(1, "2024-01-05 10:00:00")]),
    "datetime to timestamp": ("(id int primary key, v datetime); insert into {t} values (1, '2024-01-05 10:00')", "alter table {t} modify v timestamp", KEYED, [(1, UTC.replace(tzinfo=None))]),
    "a key that is null": ("(id int, v int); insert into {t} values (1, 1)", "insert into {t} values (null, 2)", KEYED, "1 row(s) have no value in the primary key"),
    "a key twice": ("(id int, v int); insert into {t} values (1, 1)", "insert into {t} values (1, 2)", KEYED, "stands for several different rows"),
    "an enum with one value more": ("(id int primary key, v enum('a')); insert into {t} values (1, 'a')", "alter table {t} modify v enum('b', 'a'); insert into {t} values (2, 'b')", KEYED, [(1, "a"), (2, "b")]),
    "another character set": ("(id int primary key, v varchar(9) character set latin1); insert into {t} values (1, 'é')", "alter table {t} modify v varchar(9) character set utf8mb4; insert into {t} values (2, '😀')", KEYED, [(1, "é"), (2, "😀")]),
}  # fmt: skip


def test_drift_of_mariadb(mariadb_server: MariaDB, tmp_path: Path) -> None:
    drift = Drift(tmp_path, {"kind": "database", "connection": "my"})
    drift.project.connect("my", url=mariadb_server.url)
    for number, (made, *_) in enumerate(MARIADB.values()):
        name = f"drift_t{number}"
        maria(mariadb_server, f"drop table if exists {name}; create table {name} " + made.format(t=name))
    drift.declare(
        {f"t{n}": {"table": f"drift_t{n}", **keys} for n, (_, _, keys, _) in enumerate(MARIADB.values())}
    )

    def change() -> None:
        for number, (_, then, _, _) in enumerate(MARIADB.values()):
            maria(mariadb_server, then.format(t=f"drift_t{number}"))

    drift.check({case: expected for case, (*_, expected) in MARIADB.items()}, change)


SQLITE: dict[str, Case] = {
    "int to real": ("(id integer primary key, v integer); insert into {t} values (1, 1)", "drop table {t}; create table {t} (id integer primary key, v real); insert into {t} values (1, 1.5)", KEYED, "v: 1 value(s) of type double are not bigint"),
    "int to text": ("(id integer primary key, v integer); insert into {t} values (1, 7)", "drop table {t}; create table {t} (id integer primary key, v text); insert into {t} values (1, '007')", KEYED, "v: 1 value(s) of type varchar are not bigint"),
    "a dropped column": ("(id integer primary key, v integer); insert into {t} values (1, 1)", "alter table {t} drop column v", KEYED, "no longer has v, which raw has"),
    "a renamed column": ("(id integer primary key, v integer); insert into {t} values (1, 1)", "alter table {t} rename column v to w", KEYED, "no longer has v"),
    "a new column": ("(id integer primary key); insert into {t} values (1), (2)", "alter table {t} add v text; update {t} set v = 'x' where id = 2", KEYED, [(1, None), (2, "x")]),
    "text to timestamp": ("(id integer primary key, v text); insert into {t} values (1, '2024-01-05 10:00:00')", "drop table {t}; create table {t} (id integer primary key, v timestamp); insert into {t} values (1, '2024-01-05 10:00:00')", KEYED, [(1, "2024-01-05 10:00:00")]),
    "a key that is null": ("(id integer, v integer); insert into {t} values (1, 1)", "insert into {t} values (null, 2)", KEYED, "1 row(s) have no value in the primary key"),
    "a key twice": ("(id integer, v integer); insert into {t} values (1, 1)", "insert into {t} values (1, 2)", KEYED, "stands for several different rows"),
}  # fmt: skip


def test_drift_of_sqlite(tmp_path: Path) -> None:
    drift = Drift(tmp_path / "project", {"kind": "database", "connection": "lite"})
    drift.project.connect("lite", url=f"sqlite:///{tmp_path / 'drift.sqlite'}")

    def run(statements: str, number: int) -> None:
        with sqlite3.connect(tmp_path / "drift.sqlite") as there:
            there.executescript(statements.format(t=f"t{number}"))

    for number, (made, *_) in enumerate(SQLITE.values()):
        run("create table {t} " + made, number)
    drift.declare({f"t{n}": keys for n, (_, _, keys, _) in enumerate(SQLITE.values())})

    def change() -> None:
        for number, (_, then, _, _) in enumerate(SQLITE.values()):
            run(then, number)

    drift.check({case: expected for case, (*_, expected) in SQLITE.items()}, change)


def csv(text: str) -> bytes:
    return text.encode()


def lines(*records: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, records)).encode()


def parquet(**columns: Any) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), out)
    return bytes(out.getvalue())


FileCase = tuple[str, dict[str, str | None], bytes, bytes, Expected]
"""Format, declared columns, the first file, the one that comes then, and what is expected."""
ID_V: dict[str, str | None] = {"id": "bigint", "v": "text"}
NUMBER: dict[str, str | None] = {"id": "bigint", "v": "bigint"}
DAY: dict[str, str | None] = {"id": "bigint", "v": "date"}
MONEY: dict[str, str | None] = {"id": "bigint", "v": "decimal(10,2)"}
FILES: dict[str, FileCase] = {
    "CSV: a header in another order": ("csv", ID_V, csv("id,v\n1,x\n"), csv("v,id\ny,2\n"), [(1, "x"), (2, "y")]),
    "CSV: a header that is missing": ("csv", ID_V, csv("id,v\n1,x\n"), csv("2,y\n3,z\n"), "b has no column"),
    "CSV: a dropped column": ("csv", ID_V, csv("id,v\n1,x\n"), csv("id\n2\n"), "b has no column v"),
    "CSV: a renamed column": ("csv", ID_V, csv("id,v\n1,x\n"), csv("id,w\n2,y\n"), "b has no column v"),
    "CSV: a new column": ("csv", ID_V, csv("id,v\n1,x\n"), csv("id,v,w\n2,y,z\n"), [(1, "x", None), (2, "y", "z")]),
    "CSV: another delimiter": ("csv", ID_V, csv("id,v\n1,x\n"), csv("id;v\n2;y\n"), "b has no column"),
    "CSV: integers to decimals": ("csv", NUMBER, csv("id,v\n1,7\n"), csv("id,v\n2,7.5\n"), "v: 1 value(s) of type varchar are not bigint"),
    "CSV: integers to texts": ("csv", NUMBER, csv("id,v\n1,7\n"), csv("id,v\n2,seven\n"), "v: 1 value(s) of type varchar are not bigint"),
    "CSV: a scale that grows": ("csv", MONEY, csv("id,v\n1,1.25\n"), csv("id,v\n2,1.255\n"), "v: 1 value(s) of type varchar are not decimal(10,2)"),
    "CSV: dates written otherwise": ("csv", DAY, csv("id,v\n1,2024-01-05\n"), csv("id,v\n2,05.01.2024\n"), "v: 1 value(s) of type varchar are not date"),
    "CSV: another encoding": ("csv", ID_V, csv("id,v\n1,x\n"), "id,v\n2,é\n".encode("latin-1"), "b line 2"),
    "JSON: a new field": ("jsonl", {}, lines({"id": 1}), lines({"id": 2, "v": "x"}), [(1, None), (2, "x")]),
    "JSON: a field that is gone": ("jsonl", {}, lines({"id": 1, "v": "x"}), lines({"id": 2}), [(1, "x"), (2, None)]),
    "JSON: a new nested field": ("jsonl", {}, lines({"id": 1, "o": {"a": 1}}), lines({"id": 2, "o": {"a": 1, "b": {"c": [2]}}}), [(1, '{"a":1}'), (2, '{"a":1,"b":{"c":[2]}}')]),
    "JSON: a scalar to a list": ("jsonl", {}, lines({"id": 1, "v": 1}), lines({"id": 2, "v": [1]}), "v: 1 value(s) of type json are not bigint"),
    "JSON: a list to a scalar": ("jsonl", {}, lines({"id": 1, "v": [1]}), lines({"id": 2, "v": 1}), [(1, "[1]"), (2, "1")]),
    "JSON: an object to a text": ("jsonl", {}, lines({"id": 1, "v": {"a": 1}}), lines({"id": 2, "v": "x"}), [(1, '{"a":1}'), (2, '"x"')]),
    "JSON: integers to decimals": ("jsonl", {}, lines({"id": 1, "v": 1}), lines({"id": 2, "v": 1.5}), "v: 1 value(s) of type"),
    "JSON: integers to texts": ("jsonl", {}, lines({"id": 1, "v": 7}), lines({"id": 2, "v": "007"}), "v: 1 value(s) of type varchar are not bigint"),
    "JSON: texts to integers": ("jsonl", {}, lines({"id": 1, "v": "7"}), lines({"id": 2, "v": 7}), [(1, "7"), (2, "7")]),
    "JSON: a field that had no value": ("jsonl", {}, lines({"id": 1, "v": None}), lines({"id": 2, "v": 1.5}), [(1, None), (2, 1.5)]),
    "Parquet: int to decimal": ("parquet", {}, parquet(id=[1], v=[1]), parquet(id=[2], v=pa.array([Decimal("1.5")])), "v: 1 value(s) of type decimal(2,1) are not bigint"),
    "Parquet: int to text": ("parquet", {}, parquet(id=[1], v=[7]), parquet(id=[2], v=["007"]), "v: 1 value(s) of type varchar are not bigint"),
    "Parquet: a wider integer": ("parquet", {}, parquet(id=[1], v=pa.array([1], pa.int32())), parquet(id=[2], v=[2**40]), "v: 1 value(s) of type bigint are not integer"),
    "Parquet: a dropped column": ("parquet", {}, parquet(id=[1], v=[1]), parquet(id=[2]), "b has no column v"),
    "Parquet: a new column": ("parquet", {}, parquet(id=[1]), parquet(id=[2], v=["x"]), [(1, None), (2, "x")]),
    "Parquet: the columns in another order": ("parquet", {}, parquet(id=[1], v=[2]), parquet(v=[3], id=[2]), [(1, 2), (2, 3)]),
    "Parquet: a time zone that is gained": ("parquet", {}, parquet(id=[1], v=pa.array([UTC.replace(tzinfo=None)])), parquet(id=[2], v=pa.array([UTC])), "the same digits name other instants"),
    "Parquet: a scalar to a list": ("parquet", {}, parquet(id=[1], v=[1]), parquet(id=[2], v=[[1]]), "v: 1 value(s) of type json are not bigint"),
}  # fmt: skip


def test_drift_of_files(tmp_path: Path) -> None:
    drift = Drift(tmp_path, {"kind": "files", "url": "."})
    for number, (_, _, content, _, _) in enumerate(FILES.values()):
        (tmp_path / f"t{number}").mkdir()
        (tmp_path / f"t{number}" / "a").write_bytes(content)
    drift.declare(
        {f"t{n}": {"format": form, "path": f"t{n}/*"} for n, (form, *_) in enumerate(FILES.values())},
        {f"t{n}": columns for n, (_, columns, *_) in enumerate(FILES.values())},
    )

    def change() -> None:
        for number, (_, _, _, content, _) in enumerate(FILES.values()):
            (tmp_path / f"t{number}" / "b").write_bytes(content)

    drift.check({case: expected for case, (*_, expected) in FILES.items()}, change)


Sheet = list[list[Any]]
SheetCase = tuple[dict[str, Sheet], dict[str, Any], Expected]
"""Sheets of the second workbook, load keys, and what is expected."""
FIRST: Sheet = [["id", "v"], [1, "x"]]
SECOND: Sheet = [*FIRST, [2, "y"]]
OTHER: Sheet = [["other"], [9]]
SHEETS: dict[str, SheetCase] = {
    "Excel: an extra sheet": ({"S1": SECOND, "S2": OTHER}, {}, [("1", "x"), ("2", "y")]),
    "Excel: an extra sheet in front": ({"S0": OTHER, "S1": SECOND}, {}, "no longer has id, v, which raw has"),
    "Excel: an extra sheet in front of one that is named": ({"S0": OTHER, "S1": SECOND}, {"sheet": "S1"}, [("1", "x"), ("2", "y")]),
    "Excel: a named sheet that is renamed": ({"S2": SECOND}, {"sheet": "S1"}, "has no sheet 'S1'; it has 'S2'"),
    "Excel: a new column": ({"S1": [["id", "v", "w"], [1, "x", "z"]]}, {}, [("1", "x", "z")]),
    "Excel: a dropped column": ({"S1": [["id"], [1]]}, {}, "no longer has v, which raw has"),
    "Excel: the columns in another order": ({"S1": [["v", "id"], ["y", 2]]}, {}, [("2", "y")]),
}  # fmt: skip
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def workbook(file: Path, sheets: Mapping[str, Sheet]) -> None:
    """The least a workbook is; DuckDB writes no second sheet."""

    def cell(value: Any) -> str:
        text = isinstance(value, str)
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>' if text else f"<c><v>{value}</v></c>"

    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="application/'
        'vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r0" Type="{OFFICE}/officeDocument"'
        ' Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets, 1))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        + "".join(
            f'<Relationship Id="r{n}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
            for n in range(1, len(sheets) + 1)
        )
        + "</Relationships>",
    }
    for number, rows in enumerate(sheets.values(), 1):
        shown = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{MAIN}"><sheetData>{shown}</sheetData></worksheet>'
        )
    with zipfile.ZipFile(file, "w") as out:
        for name, text in parts.items():
            out.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')


def test_drift_of_excel(tmp_path: Path) -> None:
    drift = Drift(tmp_path, {"kind": "files", "url": "."})
    for number in range(len(SHEETS)):
        workbook(tmp_path / f"t{number}.xlsx", {"S1": FIRST})
    cases = list(SHEETS.values())
    drift.declare(
        {f"t{n}": {"format": "excel", "path": f"t{n}.xlsx", **keys} for n, (_, keys, _) in enumerate(cases)}
    )

    def change() -> None:
        for number, (sheets, _, _) in enumerate(cases):
            workbook(tmp_path / f"t{number}.xlsx", sheets)

    drift.check({case: expected for case, (*_, expected) in SHEETS.items()}, change)


API: dict[str, tuple[list[Any], list[Any], Expected]] = {
    "an API: a new field": ([{"id": 1}], [{"id": 1}, {"id": 2, "v": "x"}], [(1, None), (2, "x")]),
    "an API: a field that is gone": ([{"id": 1, "v": "x"}], [{"id": 1, "v": "x"}, {"id": 2}], [(1, "x"), (2, None)]),
    "an API: a new nested field": ([{"id": 1, "o": {"a": 1}}], [{"id": 1, "o": {"a": 1, "b": {"c": 2}}}], [(1, '{"a":1,"b":{"c":2}}')]),
    "an API: a scalar to a list": ([{"id": 1, "v": 1}], [{"id": 1, "v": [1]}], "v: 1 value(s) of type json are not bigint"),
    "an API: integers to decimals": ([{"id": 1, "v": 1}], [{"id": 1, "v": 1.5}], "v: 1 value(s) of type"),
    "an API: integers to texts": ([{"id": 1, "v": 7}], [{"id": 1, "v": "007"}], "v: 1 value(s) of type varchar are not bigint"),
    "an API: a key that is null": ([{"id": 1, "v": 1}], [{"id": 1, "v": 1}, {"id": None, "v": 2}], "1 row(s) have no value in the primary key"),
    "an API: a key twice": ([{"id": 1, "v": 1}], [{"id": 1, "v": 1}, {"id": 1, "v": 2}], "stands for several different rows"),
}  # fmt: skip


def test_drift_of_an_api(tmp_path: Path) -> None:
    api = Api()
    state = 0
    cases = list(API.values())
    api.answer = lambda request: Answer(cases[int(request.path.strip("/t"))][state])
    client = {"base_url": api.url, "paginator": "single_page"}
    drift = Drift(tmp_path, {"kind": "rest", "client": client})
    drift.declare({f"t{n}": {"endpoint": {"path": f"t{n}"}, "primary_key": "id"} for n in range(len(API))})

    def change() -> None:
        nonlocal state
        state = 1

    try:
        drift.check({case: expected for case, (*_, expected) in API.items()}, change)
    finally:
        api.server.shutdown()
        api.server.server_close()


def test_names_that_the_source_does_not_have(tmp_path: Path) -> None:
    """Also those of columns that are named to be loaded, and are gone later."""
    project = Project(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,v\n1,x\n")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "losing.py").write_text(
        "from pathlib import Path\n"
        "def rows():\n    yield {'id': 1} if Path(__file__).with_name('gone').exists() else {'id': 1, 'v': 'x'}\n"
    )
    with sqlite3.connect(tmp_path / "t.db") as con:
        con.execute("create table t (id integer, v text)")
    project.connect("t", url="sqlite:///t.db")
    both = {"columns": {"include": ["id", "v"]}}
    csv = {"path": "*.csv", "format": "csv"}
    some = {"columns": {"include": ["id", "vv"]}}
    project.declare(
        "f", {"kind": "files", "url": "in"}, {"key": {**csv, "primary_key": "no"}, "some": {**csv, **some}}
    )
    project.declare(
        "own", {"kind": "python"}, {"t": {"resource": "losing.rows", "primary_key": "id", **both}}
    )
    database: dict[str, dict[str, Any]] = {
        "none": {"table": "t", "columns": {"exclude": ["id", "v"]}},
        "filtered": {"table": "t", "filter": "no = 1"},
        "alive": {"table": "t", "filter": "no = 1", "primary_key": "id", "deletes": "compare_keys"},
    }
    project.declare("t", {"kind": "database", "connection": "t"}, database)
    outcome = project.load()
    said = {
        "key": "f.key: primary_key names no, which is not among the columns that are loaded: id, v",
        "some": "f.some: columns includes 'vv', which the source does not have; it has 'id', 'v'",
        "none": "t.none: columns leaves none of the source's out of id, v",
    }
    for table in ("filtered", "alive"):
        text = f"t.{table}: the filter 'no = 1' is not a condition over the table's columns"
        said[table] = f'{text}: Referenced column "no" not found in FROM clause!'
    assert {table: outcome[table].error for table in said} == said
    (tmp_path / "pipelines" / "gone").touch()
    assert "columns includes 'v', which the source does not have" in project.load("own").error
    assert project.raw("select id, v from own.t") == [(1, "x")]
