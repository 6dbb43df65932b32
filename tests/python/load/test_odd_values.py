"""Values, names and answers beyond the ordinary arrive as they are, or are refused with what they are.

Each table says what raw then holds, or what the load says; all tables of a kind are loaded by one load, so that none
gets in another's way.
"""

from __future__ import annotations

import datetime as dt
import gzip
import sqlite3
import zipfile
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from servers import MariaDB, Postgres
from sluice.engine.duckdb import load_extension
from sluice.extract import retries
from tests.python.extract.database.test_database import maria
from tests.python.extract.rest.api import Answer, Api, Request
from tests.python.project import Project

Expected = str | list[tuple[Any, ...]]
"""A part of the error, or the rows of raw."""


def check(
    project: Project, source: str, cases: Mapping[str, Expected], only: Iterable[str] | None = None
) -> None:
    """Load, and hold each table to what is expected of it; a second load brings nothing."""
    outcome = project.load()
    assert not [s.error for s in outcome.sources if s.error]
    for number, (case, expected) in enumerate(cases.items()):
        table = f"t{number}"
        error = outcome[table].error
        if isinstance(expected, str):
            assert expected in (error or "no error"), case
            continue
        assert error is None, f"{case}: {error}"
        names = [n for n in project.types(f"{source}.{table}") if n[0] != "_"]
        shown = ", ".join(f'"{n}"' for n in names) or "null"
        rows = project.raw(f"select {shown} from {source}.{table} order by all")
        assert rows == expected, case
    assert not project.load().rows


CSV: dict[str, Any] = {"format": "csv", "path": "a.csv"}
JSONL: dict[str, Any] = {"format": "jsonl", "path": "a.jsonl"}
JSON: dict[str, Any] = {"format": "json", "path": "a.json"}
DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000
FILES: dict[str, tuple[dict[str, Any], bytes, Expected]] = {
    "a CSV with a byte order mark and CRLF": (CSV, b"\xef\xbb\xbfa,b\r\n1,x\r\n", [("1", "x")]),
    "a CSV with lines inside of quotes": (CSV, b'a,b\n1,"x\ny"\n2,"p\r\nq"\n', [("1", "x\ny"), ("2", "p\r\nq")]),
    "a CSV in UTF-16": ({**CSV, "encoding": "utf-16"}, "a,b\n1,€\n".encode("utf-16"), [("1", "€")]),
    "a CSV in UTF-16 with a mark, not declared": (CSV, "a,b\n1,€\n".encode("utf-16"), [("1", "€")]),
    "a CSV in UTF-16 without a mark, not declared": (CSV, "a,b\n1,x\n".encode("utf-16-le"), "zero bytes in its header"),
    "a header with an undecodable byte, within the tolerance": ({**CSV, "tolerance": 5}, b"a,\xe4\n1,x\n", "no header that can be read"),
    "a packed CSV without its ending": (CSV, gzip.compress(b"a,b\n1,x\n"), "no header that can be read"),
    "empty texts and no values": (CSV, b'a,b\n1,""\n"",x\n', [("", "x"), ("1", "")]),
    "headers that differ in case only": (CSV, b"a,A\n1,2\n", "would both be called 'a'"),
    "headers that differ in their Unicode form only": (CSV, "é,e\u0301\n1,2\n".encode(), "would both be called 'e'"),
    "headers in other scripts": (CSV, "имя,名前\n1,2\n".encode(), [("1", "2")]),
    "a header with the name of a column of ours": (CSV, b"_loaded_at,a\n1,2\n", "'_loaded_at', which is one of ours"),
    "rows with a comma too many": (CSV, b"a,b\n1,2,\n", "3 fields instead of 2"),
    "JSON integers beyond a double beside reals": (JSONL, b'{"a":9007199254740993}\n{"a":1.5}\n', "a '9007199254740993'"),
    "JSON integers beside reals": (JSONL, b'{"a":9007199254740992}\n{"a":1.5}\n', [(1.5,), (9007199254740992.0,)]),
    "JSON integers beyond 64 bits": (JSONL, b'{"a":18446744073709551616}\n', "a '18446744073709551616'"),
    "JSON numbers beyond a double": (JSONL, b'{"a":1e400}\n', "a '1e400'"),
    "JSON keys without a name": (JSONL, b'{"":1,"a":2}\n', "a key without a name"),
    "JSON records without the key": ({**JSONL, "primary_key": "id"}, b'{"id":null}\n{"x":1}\n', "2 row(s) have no value in the primary key"),
    "a JSON document with NaN": (JSON, b'[{"a":Infinity}]', [(float("inf"),)]),
    "a JSON document nested 5000 deep": (JSON, b"[" + DEEP + b"]", "nested too deeply"),
    "a JSON document with a key twice": (JSON, b'[{"a":1,"a":2}]', "the key 'a' occurs twice"),
}  # fmt: skip


def test_odd_files(tmp_path: Path) -> None:
    project = Project(tmp_path)
    tables = {}
    for number, (keys, content, _) in enumerate(FILES.values()):
        (tmp_path / f"t{number}").mkdir()
        (tmp_path / f"t{number}" / keys["path"]).write_bytes(content)
        tables[f"t{number}"] = {**keys, "path": f"t{number}/{keys['path']}"}
    project.declare("f", {"kind": "files", "url": "."}, tables)
    check(project, "f", {case: expected for case, (_, _, expected) in FILES.items()})


NANO = 1704067200123456789
PARQUET: dict[str, tuple[list[pa.Table], Expected]] = {
    "decimals of more than 38 digits": ([pa.table({"a": pa.array([Decimal("1.5")], pa.decimal256(50, 5))})], [(Decimal("1.5"),)]),
    "decimals of more than 38 digits that do not fit": ([pa.table({"a": pa.array([Decimal(10**45)], pa.decimal256(50, 0))})], "a '1000000000"),
    "decimals of more than 38 digits in lists": ([pa.table({"a": pa.array([[Decimal("1.5")]], pa.list_(pa.decimal256(50, 5)))})], "within nested values"),
    "nanoseconds with a time zone": ([pa.table({"a": pa.array([NANO], pa.timestamp("ns", "UTC"))})], "a '2024-01-01 00:00:00.123456789Z'"),
    "whole microseconds in nanoseconds": (
        [pa.table({"a": pa.array([NANO - 789], pa.timestamp("ns", "UTC"))})],
        [(dt.datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=dt.UTC),)],
    ),
    "nanoseconds of a time of day": ([pa.table({"a": pa.array([1], pa.time64("ns"))})], "a '00:00:00.000000001'"),
    "nanoseconds within nested values": ([pa.table({"a": pa.array([[NANO]], pa.list_(pa.timestamp("ns", "UTC")))})], "within nested values"),
    "unsigned integers of 64 bits": ([pa.table({"a": pa.array([2**64 - 1], pa.uint64())})], [(Decimal(2**64 - 1),)]),
    "a column without a type": ([pa.table({"a": pa.nulls(1), "b": [1]})], [(1,)]),
    "names that differ in case only": ([pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "A"])], "would both be called 'a'"),
    "a column called _file": ([pa.table({"_file": ["x"], "a": [1]})], "'_file', which is one of ours"),
    "a column called _loaded_at": ([pa.table({"_loaded_at": ["x"], "a": [1]})], "'_loaded_at', which is one of ours"),
    "a second file without a column of the first": ([pa.table({"a": [1], "b": [2]}), pa.table({"b": [3]})], "1.parquet has no column a"),
    "a second file with one more column": ([pa.table({"a": [1]}), pa.table({"a": [2], "b": [3]})], [(1, None), (2, 3)]),
}  # fmt: skip


def test_odd_parquet(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for number, (files, _) in enumerate(PARQUET.values()):
        (tmp_path / f"t{number}").mkdir()
        for place, content in enumerate(files):
            pq.write_table(content, tmp_path / f"t{number}" / f"{place}.parquet")
    (tmp_path / "old").mkdir()
    old = pa.table({"a": pa.array([NANO], pa.timestamp("ns"))})
    pq.write_table(old, tmp_path / "old" / "0.parquet", use_deprecated_int96_timestamps=True)
    (tmp_path / "malformed").mkdir()
    whole = bytearray((tmp_path / "t0" / "0.parquet").read_bytes())
    whole[8:24] = b"\xff" * 16
    (tmp_path / "malformed" / "0.parquet").write_bytes(whole)
    names = [*(f"t{number}" for number in range(len(PARQUET))), "old", "malformed"]
    project.declare(
        "f",
        {"kind": "files", "url": "."},
        {n: {"path": f"{n}/*.parquet", "format": "parquet"} for n in names},
    )
    outcome = project.load()
    assert "nanoseconds in the old form INT96" in (outcome["old"].error or "")
    assert "malformed/0.parquet" in (outcome["malformed"].error or "")
    check(project, "f", {case: expected for case, (_, expected) in PARQUET.items()})


at = dt.datetime  # without a zone, as SQLite has them
SQLITE: dict[str, tuple[str, Expected]] = {
    "a text in a column of integers": ("(id integer, v integer); insert into {t} values (1, 7), (2, 'abc')", "v 'abc'"),
    "a real in a column of integers": ("(id integer, v integer); insert into {t} values (1, 1.5)", "v '1.5'"),
    "bytes in a column of integers": ("(id integer, v integer); insert into {t} values (1, x'00ff')", "v 'X00FF'"),
    "an integer no double holds in a column of numbers": ("(id integer, v numeric); insert into {t} values (1, 9007199254740993)", "v '9007199254740993'"),
    "a text that is not valid UTF-8": ("(id integer, v text); insert into {t} values (1, cast(x'ff41' as text))", "not valid UTF-8"),
    "a time with a zone": ("(id integer, v datetime); insert into {t} values (1, '2024-01-01T10:00:00+02:00')", "v '2024-01-01T10:00:00+02:00'"),
    "a time of seconds since 1970": ("(id integer, v datetime); insert into {t} values (1, 1704067200)", "v '1704067200'"),
    "a time with nanoseconds": ("(id integer, v datetime); insert into {t} values (1, '2024-01-01 10:00:00.123456789')", "00.123456789'"),
    "a date with a time": ("(id integer, v date); insert into {t} values (1, '2024-01-01 10:00:00')", "v '2024-01-01 10:00:00'"),
    "a date that is none": ("(id integer, v date); insert into {t} values (1, '2024-02-30')", "v '2024-02-30'"),
    "times as SQLite writes them": (
        "(id integer, v datetime, d date); insert into {t} values (1, '2024-01-01 10:00:00', '2024-01-01'), (2, '2024-01-01T10:00:00.123456', null)",
        [(1, at(2024, 1, 1, 10), dt.date(2024, 1, 1)), (2, at(2024, 1, 1, 10, 0, 0, 123456), None)],
    ),
    "zero bytes in a text": ("(id integer, v text); insert into {t} values (1, 'a' || char(0) || 'b')", [(1, "a\0b")]),
    "a column called _loaded_at": ("(id integer, _loaded_at integer); insert into {t} values (1, 1)", "_loaded_at, which is one of ours"),
}  # fmt: skip


def test_odd_sqlite(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with sqlite3.connect(tmp_path / "odd.sqlite") as there:
        for number, (statements, _) in enumerate(SQLITE.values()):
            there.executescript(f"create table t{number} {statements.format(t=f't{number}')}")
    project.connect("lite", url="sqlite:///odd.sqlite")
    source = {"kind": "database", "connection": "lite"}
    tables: dict[str, dict[str, Any]] = {f"t{number}": {} for number in range(len(SQLITE))}
    project.declare("lite", source, tables)
    check(project, "lite", {case: expected for case, (_, expected) in SQLITE.items()})
    # within the tolerance the other rows are loaded, each value as it is
    (case,) = [n for n, name in enumerate(SQLITE) if name == "a text in a column of integers"]
    project.declare("lite", source, {f"t{case}": {"tolerance": 1}})
    assert project.load().rows == 1
    assert project.raw(f"select id, v from lite.t{case}") == [(1, 7)]
    assert project.raw(f"select _record from lite.t{case}__quarantine") == [('{"id":2,"v":"abc"}',)]


POSTGRES: dict[str, tuple[str, Expected]] = {
    "NaN in a numeric with a scale": ("(id int primary key, v numeric(10,2)); insert into {t} values (1, 'NaN'), (2, 0)", "v 'NaN'"),
    "zero in a numeric with a scale": ("(id int primary key, v numeric(10,2)); insert into {t} values (2, 0)", [(2, Decimal(0))]),
    "Infinity in a numeric": ("(id int primary key, v numeric); insert into {t} values (1, 'Infinity')", "v 'Infinity'"),
    "a timestamp beyond DuckDB's": ("(id int primary key, v timestamptz); insert into {t} values (1, '294276-12-31 00:00:00+00')", "v '294276-12-31"),
    "a column called _load_id": ("(id int primary key, _load_id int); insert into {t} values (1, 1)", "_load_id, which is one of ours"),
}  # fmt: skip


def test_odd_postgres(postgres_server: Postgres, tmp_path: Path) -> None:
    project = Project(tmp_path)
    postgres_server.sql("drop schema if exists odd cascade; create schema odd")
    for number, (statements, _) in enumerate(POSTGRES.values()):
        postgres_server.sql(f"create table odd.t{number} {statements.format(t=f'odd.t{number}')}")
    project.connect("pg", url=postgres_server.url)
    tables = {f"t{n}": {"table": f"odd.t{n}", "primary_key": "id"} for n in range(len(POSTGRES))}
    project.declare("pg", {"kind": "database", "connection": "pg"}, tables)
    check(project, "pg", {case: expected for case, (_, expected) in POSTGRES.items()})
    declared = {"t0": {"id": "bigint", "v": "double"}}
    project.declare("pg", {"kind": "database", "connection": "pg"}, {"t0": tables["t0"]}, columns=declared)
    assert project.load().rows == 2
    assert project.raw("select id, isnan(v) from pg.t0 order by id") == [(1, True), (2, False)]


SHEET = """<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c><c r="B1" t="inlineStr"><is><t>b</t></is></c></row>
<row r="2"><c r="A2"><v>1</v></c><c r="B2" t="e"><v>#DIV/0!</v></c></row>
<row r="3"><c r="A3"><v>2</v></c><c r="B3"><f>A3*2</f></c></row>
<row r="4"><c r="A4"><v>3</v></c><c r="B4"><f>A4*2</f><v>6</v></c></row>
<row r="5"><c r="A5"><v>4</v></c><c r="B5" t="str"><f>""</f><v></v></c></row>
<row r="6"><c r="A6"><v>9007199254740993</v></c></row><row r="7"><c r="A7"><v>9007199254740992</v></c></row>
</sheetData></worksheet>"""


def test_cells_of_excel_without_a_value_are_bad_rows(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with duckdb.connect() as con:
        load_extension(con, "excel")
        con.execute(f"copy (select 1 as a) to '{tmp_path / 'whole.xlsx'}' (format xlsx)")
    with zipfile.ZipFile(tmp_path / "whole.xlsx") as whole, zipfile.ZipFile(tmp_path / "a.xlsx", "w") as odd:
        for name in whole.namelist():
            odd.writestr(name, SHEET if name.startswith("xl/worksheets/") else whole.read(name))
    keys = {"path": "a.xlsx", "format": "excel", "tolerance": 3}
    project.declare("f", {"kind": "files", "url": "."}, {"t": keys})
    assert project.load().rows == 3
    assert project.raw("select a, b from f.t order by a") == [
        ("3", "6"),
        ("4", None),
        ("9007199254740992", None),
    ]
    assert project.raw("select _line, _reason, _record from f.t__quarantine order by all") == [
        (2, "B2 is the error #DIV/0!", '{"a": "1", "b": null}'),
        (
            3,
            "B3 is a formula without a value: let Excel compute it, and save the file",
            '{"a": "2", "b": null}',
        ),
        (
            6,
            "A6 is 9007199254740993, a number of more digits than a cell holds: write it as text",
            '{"a": "9007199254740992", "b": null}',
        ),
    ]


def test_zero_dates_of_mariadb_are_kept_apart(mariadb_server: MariaDB, tmp_path: Path) -> None:
    project = Project(tmp_path)
    maria(
        mariadb_server,
        "drop table if exists odd_dates; create table odd_dates (id int primary key, day date, at datetime);"
        "set sql_mode = ''; insert into odd_dates values (1, '0000-00-00', null), (2, '2024-00-05', null),"
        "(3, '2024-01-01', '2024-01-01 10:00:00'), (4, null, '0000-00-00 00:00:00')",
    )
    project.connect("my", url=mariadb_server.url)
    project.declare(
        "my",
        {"kind": "database", "connection": "my"},
        {"odd_dates": {"primary_key": "id", "tolerance": 3}},
    )
    assert project.load().rows == 1
    kept = project.raw("select _reason, _record from my.odd_dates__quarantine order by _record")
    assert [reason for reason, _ in kept] == ["day: varchar is not date"] * 2 + [
        "at: varchar is not timestamp"
    ]
    assert '"day":"0000-00-00"' in kept[0][1]


def paged(request: Request, *pages: Any) -> Answer:
    """Pages that are counted from 1, of four."""
    number = int(request.query.get("page", 1))
    return Answer({"rows": pages[number - 1], "pages": len(pages)})


COUNTED = {"paginator": {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": "pages"}}
ANSWERS: dict[str, tuple[Any, dict[str, Any], Expected]] = {
    "an empty page in the middle": (lambda r: paged(r, [{"a": 1}], [], [{"a": 2}]), {"data_selector": "rows", **COUNTED}, [(1,), (2,)]),
    "fewer records a page than the limit": (
        lambda r: Answer([{"a": n} for n in range(10)][int(r.query.get("offset", 0)) :][:2]),
        {"paginator": {"type": "offset", "limit": 3, "total_path": None}}, "fewer records per page than the limit of 3",
    ),
    "an error with status 200 beside no records": (lambda _: Answer({"error": "quota", "rows": []}), {"data_selector": "rows"}, "there was an error, with status 200"),
    "an error with status 200 beside records": (lambda _: Answer({"errors": ["x"], "rows": [{"a": 1}]}), {"data_selector": "rows"}, "there was an error, with status 200"),
    "nothing but an error with status 200": (lambda _: Answer({"error": "quota", "message": "no"}), {}, "there was an error, with status 200"),
    "no success with status 200": (lambda _: Answer({"success": False}), {"data_selector": "rows"}, "there was an error, with status 200"),
    "a record that has an error": (lambda _: Answer({"id": 7, "error": "e"}), {}, [("e", 7)]),
    "nothing where the records should be": (lambda _: Answer({"items": [{"a": 1}]}), {"data_selector": "rows"}, "nothing at data_selector 'rows'; it has items"),
    "records that may be left out": (lambda _: Answer({"count": 0}), {"data_selector": "rows[*]"}, []),
    "no content": (lambda _: Answer(b"", 204), {}, []),
    "a byte order mark": (lambda _: Answer(b'\xef\xbb\xbf[{"a": 1}]'), {}, [(1,)]),
    "another charset": (
        lambda _: Answer(b'[{"a": "\xe9"}]', headers={"Content-Type": "application/json; charset=iso-8859-1"}), {}, [("é",)],
    ),
    "a key twice in a record": (lambda _: Answer(b'[{"a": 1, "a": 2}]'), {}, "the key 'a' occurs twice"),
    "a key twice in a nested value": (lambda _: Answer(b'[{"a": {"b": "x", "b": "y"}}]'), {}, "the key 'b' occurs twice"),
    "a quotation mark written as a code": (lambda _: Answer(b'[{"a": "\\u0022"}]'), {}, [('"',)]),
    "the secret in the answer": (lambda r: Answer({"bad": r.headers["x-key"]}, 400), {"auth": {"type": "api_key", "name": "X-Key", "api_key": "${api.mine}"}}, '{"bad": "***"}'),
}  # fmt: skip


def test_odd_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    project, api = Project(tmp_path), Api()
    answers = [answer for answer, _, _ in ANSWERS.values()]
    api.answer = lambda request: answers[int(request.path.strip("/"))](request)
    tables = {
        f"t{n}": {"endpoint": {"path": str(n), "paginator": {"type": "single_page"}, **keys}}
        for n, (_, keys, _) in enumerate(ANSWERS.values())
    }
    project.connect("api", mine="x4711-not-for-you")
    project.declare("api", {"kind": "rest", "client": {"base_url": api.url}}, tables)
    try:
        check(project, "api", {case: expected for case, (_, _, expected) in ANSWERS.items()})
        assert "x4711" not in project.load().error
    finally:
        api.server.shutdown()
        api.server.server_close()


def test_a_function_that_exits_ends_its_table_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    project = Project(tmp_path)
    (tmp_path / "odd_functions.py").write_text(
        "import sys\n\n\ndef leaves():\n    sys.exit(3)\n\n\ndef stays():\n    yield {'a': 1}\n\n\n"
        "def ours():\n    yield {'_loaded_at': 1, 'a': 1}\n"
    )
    names = ("leaves", "stays", "ours")
    project.declare("p", {"kind": "python"}, {n: {"resource": f"odd_functions.{n}"} for n in names})
    outcome = project.load()
    assert "raised SystemExit: 3 (odd_functions.py:5)" in (outcome["leaves"].error or "")
    assert "_loaded_at, which is one of ours" in (outcome["ours"].error or "")
    assert project.raw("select a from p.stays") == [(1,)]


def test_a_text_of_sqlite_that_is_declared_as_json(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with sqlite3.connect(tmp_path / "odd.sqlite") as there:
        there.execute("create table t (id bigint, name text, tags text)")
        there.execute("""insert into t values (1, 'x', '["a"]')""")
    project.connect("lite", url="sqlite:///odd.sqlite")
    types = {"id": "bigint", "name": "text", "tags": "json"}
    load = {"kind": "database", "connection": "lite"}
    project.declare("lite", load, {"t": {"primary_key": "id"}}, {"t": types})
    assert project.load().error == ""
    assert project.raw("select name, tags ->> '$[0]' from lite.t") == [("x", "a")]
