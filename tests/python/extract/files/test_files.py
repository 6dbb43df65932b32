"""Files of every format arrive once and whole, again when they change, and never with a row less than they hold."""

from __future__ import annotations

import gzip
import io
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
import zstandard

from sluice.engine.duckdb import load_extension
from sluice.extract import files
from sluice.extract.contract import MemoryBudget
from sluice.extract.files import appended, reader, text
from tests.python.project import Outcome, Project

CSV = {"format": "csv"}
SEMICOLON = {**CSV, "delimiter": ";", "decimal": ",", "encoding": "windows-1252"}
LINES = {"format": "lines", "pattern": r"(?P<ip>\S+) (?P<n>\d+)( (?P<rest>.*))?"}
Row = tuple[Any, ...]

READ: dict[str, tuple[dict[str, Any], dict[str, str | None], bytes, list[Row]]] = {
    # table: load keys, declared columns, content, rows as (_line, columns …)
    "csv": (CSV, {}, b'id,name\n1,x\n\n2,"a\nb"\r\n3,\n4,""\n5,"x,""y"""\n6,\xc3\xbc', [(2, "1", "x"), (4, "2", "a\nb"), (6, "3", None), (7, "4", ""), (8, "5", 'x,"y"'), (9, "6", "ü")]),
    "bom": (CSV, {}, b"\xef\xbb\xbfid\n1\n", [(2, "1")]),
    "leading_zeros": (CSV, {}, b"ean,n\n0012,1.50\n", [(2, "0012", "1.50")]),
    "semicolon": (SEMICOLON, {"id": "bigint", "v": "decimal(10,2)", "n": "text"}, "id;v;n\n1;1.234,50;ü€\n".encode("cp1252"), [(2, 1, Decimal("1234.50"), "ü€")]),
    "no_header": ({**CSV, "header": False}, {"a": "bigint", "b": None}, b"1,x\n2,y\n", [(1, 1, "x"), (2, 2, "y")]),
    "no_header_empty": ({**CSV, "header": False}, {"a": "bigint"}, b"", []),
    "skip": ({**CSV, "skip_lines": 2, "nulls": ["", "NULL"]}, {}, b'# "open\n#\nid,v\n1,NULL\n2,"NULL"\n', [(4, "1", None), (5, "2", "NULL")]),
    "header_only": (CSV, {}, b"id,v\n", []),
    "crlf": (CSV, {}, b'id,v\r\n1,"a\r\nb"\r\n2,c\r\n', [(2, "1", "a\r\nb"), (4, "2", "c")]),
    "no_quote": ({**CSV, "quote": ""}, {}, b'id,v\n1,a"b\n2,"c"\n', [(2, "1", 'a"b'), (3, "2", '"c"')]),
    "inner_quote": (CSV, {}, b'id,v\n1,a"b\n2,c\n', [(2, "1", 'a"b'), (3, "2", "c")]),
    "utf16": ({**CSV, "encoding": "utf-16"}, {}, "id,v\n1,ü\n".encode("utf-16"), [(2, "1", "ü")]),
    "gz": ({**CSV, "ending": ".csv.gz"}, {}, gzip.compress(b"id\n1\n"), [(2, "1")]),
    "zst": ({**CSV, "ending": ".zst"}, {}, zstandard.compress(b"id\n1\n") + zstandard.compress(b"2\n"), [(2, "1"), (3, "2")]),
    "header_names": (CSV, {"order_id": "bigint"}, b" Order ID ,Seller SKU\n1,x\n", [(2, 1, "x")]),
    "excluded": ({**CSV, "columns": {"exclude": ["Secret Name"]}}, {}, b"id,Secret Name\n1,x\n", [(2, "1")]),
    "included": ({**CSV, "columns": {"include": ["id"]}}, {}, b"id,v\n1,x\n", [(2, "1")]),
    "lines": (LINES, {"n": "bigint"}, b"::1 5 x\n\n::2 6\n::3 7 \n", [(1, "::1", 5, "x"), (3, "::2", 6, None), (4, "::3", 7, None)]),
    "lines_gz": ({**LINES, "ending": ".log.gz"}, {}, gzip.compress(b"::1 5 \xc3\xbc\n"), [(1, "::1", "5", "ü")]),
    "jsonl": ({"format": "jsonl"}, {}, b'{"a":1,"B b":true}\n\n{"a":2,"c":{"d":[1.10]},"e":null}\n', [(1, True, 1, None), (3, None, 2, '{"d":[1.1]}')]),
    "jsonl_types": ({"format": "jsonl"}, {"at": "timestamp with time zone", "t": "text"}, b'{"t":1.50,"f":0.30000000000000004,"i":9223372036854775807}\n{"t":"x","f":1}\n', [(1, 0.30000000000000004, 2**63 - 1, "1.5", None), (2, 1.0, None, "x", None)]),
    "jsonl_exact": ({"format": "jsonl"}, {"d": "decimal(38,6)", "t": "text"}, b'{"d":12345678901234567890.123456,"t":0.1000000000000000055511151231257827,"n":{"s":": 1.2345678901234567890\\"","x":[1.00000000000000000001]}}\n{"d":1.5,"t":1}\n', [(1, Decimal("12345678901234567890.123456"), '{"s":": 1.2345678901234567890\\"","x":[1.00000000000000000001]}', "0.1000000000000000055511151231257827"), (2, Decimal("1.5"), None, "1")]),
    "jsonl_mixed": ({"format": "jsonl"}, {}, b'{"v":1}\n{"v":"x"}\n{"v":true}\n{"v":1.5}\n', [(1, "1"), (2, "x"), (3, "true"), (4, "1.5")]),
    "jsonl_scalar_or_list": ({"format": "jsonl"}, {}, b'{"v":1}\n{"v":[1]}\n', [(1, "1"), (2, "[1]")]),
    "jsonl_unsigned": ({"format": "jsonl"}, {}, b'{"v":18446744073709551615}\n{"v":1}\n', [(1, Decimal(18446744073709551615)), (2, Decimal(1))]),
    "jsonl_latin": ({"format": "jsonl", "encoding": "latin-1"}, {}, '{"v":"ü"}\n'.encode("latin-1"), [(1, "ü")]),
    "json": ({"format": "json", "records": "data.items"}, {"x": "decimal(38,2)"}, b'{"data":{"items":[{"x":12345678901234567890.12},\n{"x":1,"y":[{"z":1.10}]}]}}', [(1, Decimal("12345678901234567890.12"), None), (2, Decimal("1.00"), '[{"z":1.1}]')]),
    "json_list": ({"format": "json"}, {}, b'[{"x":1},{"x":2}]', [(1, 1), (2, 2)]),
    "json_one": ({"format": "json"}, {}, b'{"x":1}', [(1, 1)]),
}  # fmt: skip

REFUSED: dict[str, tuple[dict[str, Any], dict[str, str | None], bytes, str]] = {
    # table: load keys, declared columns, content, what the message says
    "malformed": (CSV, {}, b"id,v\n1,x\n2\n", "line 3: 1 fields instead of 2"),
    "malformed_after_quotes": (CSV, {}, b'id,v\n1,"x\ny"\n2,z,w\n', "line 4: 3 fields instead of 2"),
    "open_quote": (CSV, {}, b'id,v\n1,x\n2,"y\n3,z\n', "line 3: unexpected end of data"),
    "open_quotes": (CSV, {}, b'id,v\n1,x\n2,"y\n3,z\n4,"q\n', "line 3: ',' expected after '\"'"),
    "bad_byte": (CSV, {}, b"id,v\n1,x\n2,\xff\n", "line 3: byte 0xff is not utf-8"),
    "cut_byte": (CSV, {}, b"id,v\n1,\xc3", "line 2: byte 0xc3 is not utf-8"),
    "no_line": (CSV, {}, b"", "no_line/a (empty), and no file before had any"),
    "same_header": (CSV, {}, b"Id,id\n1,2\n", "'Id' and 'id' would both be called 'id'"),
    "our_header": (CSV, {}, b"id,_file\n1,2\n", "which is one of ours"),
    "absent": (CSV, {"id": "bigint", "v": "text"}, b"id,w\n1,x\n", "has no column v (its header: id, w)"),
    "no_header_width": ({**CSV, "header": False}, {"a": None}, b"1,2\n", "2 fields a line, but 1 columns are declared"),
    "bad_number": (CSV, {"n": "bigint"}, b"n\n1\n1.7\n", "e.g. _file 'bad_number/a', _line 3, n '1.7'"),
    "decimal_point": (SEMICOLON, {"v": "decimal(10,2)"}, b"v\n1.5\n", "v '1.5'"),
    "rounded": (CSV, {"v": "decimal(10,2)"}, b"v\n1.239\n", "v '1.239'"),
    "not_gz": ({**CSV, "ending": ".gz"}, {}, b"id\n1\n", "is not a whole .gz file"),
    "cut_gz": ({**CSV, "ending": ".gz"}, {}, gzip.compress(b"id\n1\n" * 99)[:-12], "is not a whole .gz file"),
    "not_zst": ({**CSV, "ending": ".zst"}, {}, b"id\n1\n", "is not a whole .zst file"),
    "cut_zst": ({**CSV, "ending": ".zst"}, {}, zstandard.compress(os.urandom(999))[:-99], "is not a whole .zst file"),
    "unmatched": (LINES, {}, b"::1 5\nfoo\n", "line 2: does not match the pattern"),
    "unmatched_tail": ({**LINES, "pattern": r"(?P<a>\w+)"}, {}, b"a b\n", "line 1: does not match the pattern"),
    "jsonl_broken": ({"format": "jsonl"}, {}, b'{"a":1}\n[1]\n{"b":\n', "2 record(s) are not JSON objects, e.g. jsonl_broken/a line 2"),
    "jsonl_key_twice": ({"format": "jsonl"}, {}, b'{"a":1,"a":2}\n', "1 record(s) have a key twice"),
    "jsonl_keys_collide": ({"format": "jsonl"}, {}, b'{"userId":1,"user_id":2}\n', "would both be the column 'user_id'"),
    "jsonl_our_key": ({"format": "jsonl"}, {}, b'{"_line":1}\n', "has the name of a column of ours"),
    "jsonl_long_real": ({"format": "jsonl"}, {}, b'{"v":1}\n{"v":12345678901234567890.5}\n', "_line 2, v '12345678901234567890.5'"),
    "jsonl_huge": ({"format": "jsonl"}, {}, b'{"v":123456789012345678901234567890}\n', "are not double"),
    "jsonl_infinite": ({"format": "jsonl"}, {}, b'{"v":1e400}\n', "v '1e400'"),
    "jsonl_object_as_number": ({"format": "jsonl"}, {"v": "bigint"}, b'{"v":{}}\n', "are not bigint"),
    "json_lines": ({"format": "json"}, {}, b'{"a":1}\n{"a":2}\n', "If each line is a record, declare format: jsonl"),
    "json_elsewhere": ({"format": "json", "records": "d"}, {}, b'{"data":[]}', "has no list of records at 'd'; it has 'data'"),
    "json_null": ({"format": "json"}, {}, b"null", "has no list of records in it"),
    "json_broken": ({"format": "json"}, {}, b'{"a":', "cannot be read as JSON"),
    "json_key_twice": ({"format": "json"}, {}, b'{"a":{"b":1,"b":2}}', "the key 'b' occurs twice"),
    "json_half_a_character": ({"format": "json"}, {}, b'{"a":"\\ud800"}', "json_half_a_character/a has a text that is not valid"),
    "json_no_list": ({"format": "json", "records": "data"}, {}, b'{"a":1}', "has no list of records at 'data'"),
    "not_parquet": ({"format": "parquet"}, {}, b"abc", "cannot be read as Parquet"),
    "not_excel": ({"format": "excel"}, {}, b"abc", "cannot be read as Excel"),
    "nothing": ({**CSV, "ending": ".nothing"}, {}, b"", "no file matches"),
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    (tmp_path / "in").mkdir()
    return made


def write(project: Project, name: str, content: bytes | str) -> None:
    """A file that looks old, so that its time says whether it changed."""
    file = project.root / "in" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    write.clock += 10  # type: ignore[attr-defined]
    os.utime(file, (write.clock, write.clock))  # type: ignore[attr-defined]


write.clock = 1_700_000_000  # type: ignore[attr-defined]


def declare(project: Project, tables: dict[str, dict[str, Any]], columns: Any = None) -> None:
    project.declare("f", {"kind": "files", "url": "in"}, tables, columns)


def shown(project: Project, table: str) -> list[Row]:
    return project.raw(f"select * exclude (_file, _loaded_at, _load_id) from f.{table} order by _file, _line")


def prepare(project: Project, cases: dict[str, Any]) -> None:
    tables, columns = {}, {}
    for name, (keys, declared, content, _) in cases.items():
        keys = dict(keys)
        ending = keys.pop("ending", "")
        if ending != ".nothing":
            write(project, f"{name}/a{ending}", content)
        tables[name] = {"path": f"{name}/*{ending}", **keys}
        columns[name] = declared
    declare(project, tables, columns)


@pytest.mark.parametrize("memory", [pytest.param(MemoryBudget().bytes_left, marks=pytest.mark.full), 60])
def test_every_format_and_option(project: Project, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryBudget.__init__, "__defaults__", (memory,))
    prepare(project, READ)
    outcome = project.load()
    assert not outcome.errors
    for name, (*_, rows) in READ.items():
        assert (name, shown(project, name)) == (name, rows)
        assert outcome[name].rows == len(rows)
    assert project.load().rows == 0


def test_what_cannot_be_read_says_where(project: Project) -> None:
    """Each table fails on its own, and nothing of it is in raw."""
    prepare(project, REFUSED)
    write(project, "fine/a", "id\n1\n")
    write(project, "header_lost/a", "id,v\n1,x\n")
    write(project, "header_lost/b", "id\n1\n")
    tables = {
        name: {"path": f"{name}/*{keys.get('ending', '')}", **keys} for name, (keys, *_) in REFUSED.items()
    }
    for keys in tables.values():
        keys.pop("ending", None)
    tables["fine"] = tables["header_lost"] = {**CSV, "path": ""}
    tables |= {name: {**CSV, "path": f"{name}/*"} for name in ("fine", "header_lost")}
    declare(project, tables, {name: declared for name, (_, declared, *_) in REFUSED.items()})
    outcome = project.load()
    for name, (*_, message) in REFUSED.items():
        assert message in str(outcome[name].error), name
        assert f"f.{name}" in str(outcome[name].error), name
    assert "header_lost/b has no column v" in str(outcome["header_lost"].error)
    assert outcome["fine"].rows == 1
    made = "select table_name from duckdb_tables() where schema_name = 'f' and not regexp_matches(table_name, '^_|__')"
    assert project.raw(made) == [("fine",)]
    assert (
        sum("error" in str(t.error) or bool(t.error) for t in project.load().sources[0].tables)
        == len(REFUSED) + 1
    )


def test_a_file_is_loaded_once_and_replaced_when_it_changes(project: Project) -> None:
    declare(project, {"t": {**CSV, "path": "**/*.csv"}}, {"t": {"id": "bigint"}})
    write(project, "a.csv", "id,v\n1,x\n2,y\n")
    write(project, "deep/er/b.csv", "v,id\nz,3\n")

    def content() -> list[Row]:
        return project.raw("select _file, id, v from f.t order by _file, _line")

    assert project.load().rows == 3
    write(project, "a.csv", "id,v\n1,x\n2,y\n")  # touched, but equal
    assert project.load().rows == 0
    before = project.raw("select _loaded_at from f.t where _file = 'deep/er/b.csv'")
    write(project, "a.csv", "id,v\n2,Y\n")  # changed: its old rows go
    write(project, "c.csv", "id,v\n2,Y\n")  # the same content under another name
    assert project.load().rows == 2
    assert content() == [("a.csv", 2, "Y"), ("c.csv", 2, "Y"), ("deep/er/b.csv", 3, "z")]
    assert project.raw("select _loaded_at from f.t where _file = 'deep/er/b.csv'") == before
    write(project, "a.csv", "id,v\n")  # emptied: only its header is left
    project.load()
    assert content() == [("c.csv", 2, "Y"), ("deep/er/b.csv", 3, "z")]
    write(project, "c.csv", "id,v\n2,Y\n5,\n")
    (project.root / "in" / "deep" / "er" / "b.csv").unlink()  # gone at the source: its rows stay
    assert project.load().rows == 1
    assert content() == [("c.csv", 2, "Y"), ("c.csv", 5, None), ("deep/er/b.csv", 3, "z")]
    write(project, "d.csv", "id,v,w\n6,n,new\n")  # a column is added
    assert project.load().rows == 1
    write(project, "e.csv", "id,v\n7,n\n")  # and lost again
    assert "e.csv has no column w" in project.load().error
    declare(
        project, {"t": {**CSV, "path": "**/*.csv", "columns": {"exclude": ["w"]}}}, {"t": {"id": "bigint"}}
    )
    assert project.load(keep_rows=True).rows == 1
    write(project, "c.csv", "id,v\nx,n\n")  # what fails is not remembered as loaded
    assert "id 'x'" in project.load().error
    assert "id 'x'" in project.load().error
    assert content()[0] == ("c.csv", 2, "Y")
    write(project, "c.csv", "id,v\n9,n\n")
    assert project.load().rows == 1
    assert content()[0] == ("c.csv", 9, "n")
    assert project.load(full_refresh=True).rows == 3  # not those of the file that is gone


def test_a_file_changed_within_the_clocks_resolution_is_seen(project: Project) -> None:
    declare(project, {"t": {**CSV, "path": "*.csv"}})
    file = project.root / "in" / "a.csv"
    file.write_text("id\n1\n")
    at = time.time() + 1  # a slow machine's load must still see it as just written
    os.utime(file, (at, at))
    assert project.load().rows == 1
    file.write_text("id\n2\n")
    os.utime(file, (at, at))
    assert project.load().rows == 1
    assert project.raw("select id from f.t") == [("2",)]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_touched_file_loads_nothing_and_says_nothing(project: Project, form: str) -> None:
    """Also where only some of its columns are declared: the others are known from raw."""
    declare(project, {"t": {"format": form, "path": "*"}}, {"t": {"id": "bigint"}})
    content = b"id,v\n1,x\n" if form == "csv" else parquet("select 1 as id, 2 as v")
    write(project, "a", content)
    assert project.load().rows == 1
    write(project, "a", content)
    for _ in range(2):
        outcome = project.load()
        assert (outcome.rows, outcome.errors) == (0, [])


def test_files_that_shrink_too_much_are_refused(project: Project) -> None:
    declare(project, {"t": {**CSV, "path": "*.csv"}})
    write(project, "a.csv", "id\n1\n2\n3\n")
    write(project, "b.csv", "id\n4\n")
    project.load()
    write(project, "a.csv", "id\n")
    assert "the source now has 1 rows, raw has 4" in project.load().error
    assert project.raw("select count(*) from f.t") == [(4,)]
    write(project, "a.csv", "id\n1\n")
    assert project.load().rows == 0
    assert project.raw("select count(*) from f.t") == [(2,)]
    declare(project, {"t": {**CSV, "path": "*.csv", "shrink_limit": 0}})
    write(project, "a.csv", "id\n")
    write(project, "b.csv", "id\n")
    assert project.load().errors == []
    assert project.raw("select count(*) from f.t") == [(0,)]


def test_a_file_of_bad_rows_only_takes_its_old_rows_along(project: Project) -> None:
    keys = {**CSV, "path": "*.csv", "tolerance": 1}
    declare(project, {"t": keys}, {"t": {"id": "bigint"}})
    write(project, "a.csv", "id\n1\n")
    write(project, "b.csv", "id\n2\n")
    project.load()
    write(project, "a.csv", "id\nx\n")
    assert project.load().errors == []
    assert project.raw("select id from f.t") == [(2,)]


def test_a_range_of_files_is_refused(project: Project) -> None:
    declare(project, {"t": {**CSV, "path": "*.csv"}})
    write(project, "a.csv", "id\n1\n")
    assert "f.t: has no cursor, so a range of it cannot be loaded" in project.load(window=("1", "2")).error
    assert project.load().rows == 1


def test_nested_values_in_a_column_of_text_or_json(project: Project) -> None:
    """What comes in another shape than before is written as JSON; a text stays a text among JSON."""
    declare(
        project,
        {"p": {"format": "parquet", "path": "*.parquet"}, "j": {"format": "jsonl", "path": "*.jsonl"}},
    )
    write(project, "a.parquet", parquet("select 1 as id, 'a' as v"))
    write(project, "a.jsonl", '{"id":1,"v":{"a":1}}\n')
    project.load()
    write(project, "b.parquet", parquet("select 2 as id, {'k': 'a, b', 'n': null} as v"))
    write(project, "b.jsonl", '{"id":2,"v":"null"}\n{"id":3,"v":"x"}\n')
    assert project.load().errors == []
    assert project.raw("select v from f.p order by id") == [("a",), ('{"k":"a, b","n":null}',)]
    assert project.raw("select v from f.j order by id") == [('{"a":1}',), ('"null"',), ('"x"',)]


def test_keys_across_files(project: Project) -> None:
    """With a primary key a row of a later file replaces the same row of an earlier one."""
    declare(project, {"t": {**CSV, "path": "*.csv", "primary_key": "id", "write_disposition": "merge"}})
    write(project, "a.csv", "id,v\n1,x\n2,y\n")
    outcome = project.load()
    assert outcome.rows == 2, outcome.error
    write(project, "b.csv", "id,v\n,z\n")
    assert "no value in the primary key" in project.load().error


def sheets(folder: Path, file: str, query: str, sheet: str) -> bytes:
    with duckdb.connect() as con:
        load_extension(con, "excel")
        con.execute(f"copy ({query}) to '{folder / file}' (format xlsx, header true, sheet '{sheet}')")
    return (folder / file).read_bytes()


def test_excel(project: Project, tmp_path: Path) -> None:
    query = (
        "select 1 as id, 1234.5 as amount, 0.00001 as small, date '2024-01-05' as day,"
        " timestamp '2024-01-05 10:30:00' as at, true as flag, '007' as code, null as nothing, 'ü' as \"Order ID\""
        " union all select 2, 2.0, 1e15, null, null, false, '', null, null"
    )
    write(project, "typed/a.xlsx", sheets(tmp_path, "a.xlsx", query, "Data"))
    keys = {"format": "excel", "path": "typed/*.xlsx"}
    declare(
        project,
        {
            "typed": keys,
            "comma": {**keys, "decimal": ",", "sheet": "Data"},
            "part": {**keys, "range": "A1:B2"},
            "rows": {**keys, "range": "A2:B3", "header": False},
            "absent": {**keys, "sheet": "Other"},
            "short": {**keys, "range": "A1:B3", "skip_lines": 1, "header": False},
        },
        {
            "comma": {"amount": "decimal(10,2)", "small": "decimal(38,5)", "day": "date", "at": "timestamp", "id": "bigint"},
            "rows": {"a": "bigint", "b": "decimal(10,1)"},
            "short": {"a": "bigint", "b": "double"},
        },
    )  # fmt: skip
    outcome = project.load()
    assert "has no sheet 'Other'; it has 'Data'" in str(outcome["absent"].error)
    assert len(outcome.errors) == 1
    assert shown(project, "typed") == [
        (2, "1", "1234.5", "0.00001", "2024-01-05", "2024-01-05 10:30:00", "true", "007", None, "ü"),
        (3, "2", "2", "1000000000000000", None, None, "false", None, None, None),
    ]
    assert project.raw("select id, amount, small, day::varchar, at::varchar from f.comma where id = 1".replace(" at:", ' "at":')) == [
        (1, Decimal("1234.50"), Decimal("0.00001"), "2024-01-05", "2024-01-05 10:30:00")
    ]  # fmt: skip
    assert shown(project, "part") == [(2, "1", "1234.5")]
    assert shown(project, "rows") == [(2, 1, Decimal("1234.5")), (3, 2, Decimal("2.0"))]
    assert shown(project, "short") == [(2, 1, 1234.5), (3, 2, 2.0)]
    assert project.load("f.typed").rows == 0
    with duckdb.connect() as con:
        load_extension(con, "excel")
        con.execute(f"copy (select 1 as a limit 0) to '{tmp_path / 'b.xlsx'}' (format xlsx, header false)")
    write(project, "typed/a.xlsx", (tmp_path / "b.xlsx").read_bytes())
    assert "the source now has 0 rows" in project.load("f.typed").error


def parquet(query: str) -> bytes:
    with duckdb.connect() as con:
        return_to = io.BytesIO()
        import pyarrow.parquet as pq

        pq.write_table(con.execute(query).to_arrow_table(), return_to)
        return return_to.getvalue()


def test_parquet(project: Project) -> None:
    write(
        project,
        "a/1.parquet",
        parquet("select 1::int as id, 1.25::decimal(10,2) as v, {'x': [1.5]} as n, 'ü' as t"),
    )
    write(
        project,
        "a/2.parquet",
        parquet("select 2::int as id, 2.50::decimal(10,2) as v, {'x': [2.5]} as n, 'b' as t"),
    )
    write(project, "mixed/1.parquet", parquet("select 1::int as v"))
    write(project, "mixed/2.parquet", parquet("select 1.57::decimal(10,2) as v"))
    write(project, "changed/1.parquet", parquet("select 1::int as v"))
    write(project, "empty/1.parquet", parquet("select 1::int as v where false"))
    formats = {"format": "parquet"}
    names = ("a", "mixed", "changed", "empty", "declared")
    tables = {name: {**formats, "path": f"{name}/*"} for name in names}
    tables["declared"]["path"] = "mixed/*"
    declare(project, tables, {"declared": {"v": "decimal(10,2)"}})
    outcome = project.load()
    assert "mixed.v: is integer in mixed/1.parquet, but decimal(10,2) in mixed/2.parquet" in outcome.error
    assert len(outcome.errors) == 1
    assert shown(project, "a") == [
        (1, 1, Decimal("1.25"), '{"x":[1.5]}', "ü"),
        (1, 2, Decimal("2.50"), '{"x":[2.5]}', "b"),
    ]
    assert shown(project, "declared") == [(1, Decimal("1.00")), (1, Decimal("1.57"))]
    assert project.types("f.empty")["v"] == "INTEGER"
    write(project, "changed/2.parquet", parquet("select 1.57::decimal(10,2) as v"))
    write(project, "a/3.parquet", parquet("select 3::int as id, 'c' as t"))
    again = project.load("f.changed", "f.a")
    assert "v: 1 value(s) of type decimal(10,2) are not integer" in str(again["changed"].error)
    assert "no longer has" in str(again["a"].error) or "has no column" in str(again["a"].error)


def test_thousands_of_small_files(project: Project) -> None:
    for number in range(2000):
        write(project, f"many/{number % 20}/{number}.csv", f"id,v\n{number},x\n")
    declare(project, {"many": {**CSV, "path": "many/**/*.csv"}})
    started = time.monotonic()
    assert project.load().rows == 2000
    first = time.monotonic() - started
    assert project.raw("select count(*) from f.many where _file not like 'many/%/' || id || '.csv'") == [(0,)]
    started = time.monotonic()
    assert project.load().rows == 0
    assert (first < 40, time.monotonic() - started < 15) == (True, True)


def test_files_are_not_held_open(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may open a thousand, as a rule; reading their content may be slower than unpacking it."""
    for number in range(60):
        write(project, f"many/{number}.csv", f"id\n{number}\n")
    declare(project, {"many": {**CSV, "path": "many/*.csv"}})
    opened: list[int] = []
    digests_of = appended.digests_of

    def slowly(content: Any, beginning: int) -> Any:
        time.sleep(0.01)
        opened.append(psutil.Process().num_fds())
        return digests_of(content, beginning)

    monkeypatch.setattr(reader, "digests_of", slowly)
    assert project.load().rows == 60
    assert max(opened) - min(opened) < 20


def s3_client(s3: dict[str, str]) -> Any:
    import s3fs

    return s3fs.S3FileSystem(
        key=s3["access_key_id"],
        secret=s3["secret_access_key"],
        endpoint_url=s3["endpoint_url"],
        skip_instance_cache=True,
    )


def test_s3(project: Project, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(files.S3, "retries", {"total_max_attempts": 1})  # the last server of all is not there
    store = s3_client(s3)
    place = f"{s3['bucket']}/files-test"
    store.pipe(
        {
            f"{place}/in/a.csv.gz": gzip.compress(b"id\n1\n"),
            f"{place}/in/x/b.csv.gz": gzip.compress(b"id\n2\n"),
        }
    )
    keys = {k: v for k, v in s3.items() if k != "bucket"}
    project.connect("store", **keys)
    source = {"kind": "files", "connection": "store", "url": f"s3://{place}"}
    tables = {"t": {**CSV, "path": "in/**/*.csv.gz"}, "none": {**CSV, "path": "other/*"}}
    project.declare("f", source, tables)
    outcome = project.load()
    assert outcome["t"].rows == 2
    assert "no file matches 'other/*'" in str(outcome["none"].error)
    assert project.raw("select _file, id from f.t order by id") == [
        ("in/a.csv.gz", "1"),
        ("in/x/b.csv.gz", "2"),
    ]
    store.pipe({f"{place}/in/a.csv.gz": gzip.compress(b"id\n3\n")})
    project.declare("f", source, {"t": tables["t"]})
    assert project.load().rows == 1
    assert project.load().rows == 0
    project.connect("store", **{**keys, "secret_access_key": "canary-wrong-secret"})
    error = project.load().error
    assert "f.t: cannot list" in error
    assert "canary-wrong-secret" not in error
    project.connect("store", **{**keys, "endpoint_url": "http://127.0.0.1:9"})
    assert "f.t: cannot list" in project.load().error


def test_an_object_that_changes_while_it_is_fetched(
    project: Project, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3_client(s3)
    place = f"{s3['bucket']}/files-replaced"
    store.pipe({f"{place}/a.csv": b"id\n0\n"})
    project.connect("store", **{k: v for k, v in s3.items() if k != "bucket"})
    project.declare(
        "f", {"kind": "files", "connection": "store", "url": f"s3://{place}"}, {"t": {**CSV, "path": "*.csv"}}
    )
    copy, left, fetched = files._copy, [1], 0

    def copying(*rest: Any) -> None:
        nonlocal fetched
        copy(*rest)
        fetched += 1
        if fetched <= left[0]:
            store.pipe({f"{place}/a.csv": b"id\n%d\n" % fetched})

    monkeypatch.setattr(files, "_copy", copying)
    outcome = project.load()
    assert project.raw("select id from f.t") == [("1",)]
    assert outcome["t"].retries == 1
    left[0], fetched = 9, 1
    store.pipe({f"{place}/a.csv": b"id\n77\n"})
    assert "a.csv changed each of 3 times while it was fetched" in str(project.load()["t"].error)
    assert project.raw("select id from f.t") == [("1",)]


def test_sftp(project: Project, sftp: dict[str, str | int]) -> None:
    import paramiko

    transport = paramiko.Transport((str(sftp["host"]), int(sftp["port"])))
    transport.connect(username=str(sftp["username"]), password=str(sftp["password"]))
    client = paramiko.SFTPClient.from_transport(transport)
    assert client is not None
    for folder in ("bank", "bank/in"):
        client.mkdir(folder)
    with client.open("bank/in/a.csv", "w") as file:
        file.write(b"id;v\n1;1,50\n")
    project.connect("bank", **sftp)
    source = {"kind": "files", "connection": "bank", "url": "sftp://files.bank.example/bank"}
    project.declare("f", source, {"t": {**SEMICOLON, "path": "in/*.csv"}}, {"t": {"v": "decimal(10,2)"}})
    outcome = project.load()
    assert (outcome.rows, outcome.errors) == (1, [])
    assert project.raw("select _file, v from f.t") == [("in/a.csv", Decimal("1.50"))]
    assert project.load().rows == 0
    with client.open("bank/in/a.csv", "w") as file:
        file.write(b"id;v\n1;2,50\n")
    assert project.load().rows == 1
    transport.close()
    project.connect("bank", **{**sftp, "password": "canary-wrong"})
    error = project.load().error
    assert "f: cannot reach the SFTP server" in error
    assert "canary-wrong" not in error


def test_a_folder_that_is_not_there(project: Project) -> None:
    project.declare("f", {"kind": "files", "url": "nowhere"}, {"t": {**CSV, "path": "*"}})
    outcome: Outcome = project.load()
    assert "f: there is no folder 'nowhere'" in outcome.error


def test_a_sign_on_the_border_of_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "signs"
    monkeypatch.setattr(text, "READ_BYTES", 4)
    for content, sign, found in [("abc§", "§", True), ("abc§", "b", True), ("abcdefg", "§", False), ("abcd§", "d§", True)]:  # fmt: skip
        file.write_text(content, encoding="utf-8")
        assert text.occurs(file, b"\0", sign.encode()) is found, (content, sign)
