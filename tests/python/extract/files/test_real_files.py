"""Files as people have them: empty ones, several bad ones at once."""

from __future__ import annotations

import codecs
import gzip
import os
import resource
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import zstandard

from sluice.config.sources import read_sources
from sluice.extract.files import archives
from tests.python.extract.files.test_files import parquet, s3_client, sheets, write
from tests.python.project import Project

CSV: dict[str, Any] = {"format": "csv"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    (tmp_path / "in").mkdir()
    return made


def declare(project: Project, tables: dict[str, dict[str, Any]], columns: Any = None) -> None:
    project.declare("f", {"kind": "files", "url": "in"}, tables, columns)


def workbook(cells: dict[str, list[list[Any]]], **hidden: str) -> bytes:
    """An Excel file of sheets by name; `hidden` says which are, and how: hidden or veryHidden."""
    sheets, relations, content = "", "", {}
    for number, (name, rows) in enumerate(cells.items(), 1):
        state = f' state="{hidden[name]}"' if name in hidden else ""
        sheets += f'<sheet name="{name}" sheetId="{number}"{state} r:id="rId{number}"/>'
        relations += (
            f'<Relationship Id="rId{number}" Target="worksheets/sheet{number}.xml" '
            'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"/>'
        )
        written = "".join(
            "<row>" + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>"
            for row in rows
        )
        content[f"xl/worksheets/sheet{number}.xml"] = (
            '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            f"<sheetData>{written}</sheetData></worksheet>"
        )
    content["_rels/.rels"] = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
        'Target="xl/workbook.xml" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>'
    )
    content["xl/workbook.xml"] = (
        '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
        f"<sheets>{sheets}</sheets></workbook>"
    )
    content["xl/_rels/workbook.xml.rels"] = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f"{relations}</Relationships>"
    )
    book = BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return book.getvalue()


def test_files_without_rows_are_named_and_loaded(project: Project) -> None:
    sheet = workbook({"Data": [["id"], ["1"]]})
    none = parquet("select '1' as id where false")
    cases: dict[str, tuple[str, str, bytes, dict[str, bytes]]] = {
        # table: format, ending, a file with a row, files without one
        "csv": ("csv", ".csv", b"id\n1\n", {"a": b"", "b": codecs.BOM_UTF8, "c": b"id\n", "d": b"\n\r\n \n"}),
        "gz": ("csv", ".csv.gz", gzip.compress(b"id\n1\n"), {"a": b"", "b": gzip.compress(b"")}),
        "zst": ("csv", ".csv.zst", zstandard.compress(b"id\n1\n"), {"a": b"", "b": zstandard.compress(b"")}),
        "jsonl": ("jsonl", ".jsonl", b'{"id":"1"}\n', {"a": b"", "b": codecs.BOM_UTF8, "c": b"\n\n"}),
        "json": ("json", ".json", b'[{"id":"1"}]', {"a": b"", "b": b"[]", "c": b" \n"}),
        "parquet": ("parquet", ".parquet", parquet("select '1' as id"), {"a": b"", "b": none}),
        "excel": ("excel", ".xlsx", sheet, {"a": b"", "b": workbook({"Data": []}), "c": workbook({"Data": [["id"]]})}),
        "lines": ("lines", ".log", b"1\n", {"a": b"", "b": b"\n"}),
    }  # fmt: skip
    tables = {}
    for name, (kind, ending, full, empty) in cases.items():
        write(project, f"{name}/x{ending}", full)
        for file, content in empty.items():
            write(project, f"{name}/{file}{ending}", content)
        tables[name] = {"format": kind, "path": f"{name}/*{ending}"}
    tables["lines"]["pattern"] = r"(?P<id>\d+)"
    declare(project, tables)
    for _ in range(2):
        outcome = project.load()
        assert outcome.errors == []
    outcome = project.load(full_refresh=True)
    for name, (_, ending, _, empty) in cases.items():
        assert project.raw(f"select _file, id from f.{name}") == [(f"{name}/x{ending}", "1")]
        said = outcome[name].message or ""
        assert f"f.{name}: {len(empty)} file(s) without rows: {name}/a{ending} (empty)" in said
        assert all(f"{name}/{file}{ending}" in said for file in empty), said
    for name, (_, ending, full, _) in cases.items():
        write(project, f"{name}/x{ending}", full)
        write(project, f"{name}/z{ending}", b"")
    outcome = project.load()
    assert (outcome.rows, outcome.errors) == (0, [])
    assert "z.csv (empty)" in (outcome["csv"].message or "")


def test_a_table_of_empty_files_begins_with_the_first_row(project: Project) -> None:
    kinds = {"csv": b"id\n1\n", "jsonl": b'{"id":"1"}', "parquet": parquet("select '1' as id")}
    for kind in kinds:
        write(project, f"{kind}/a", b"")
    declare(project, {kind: {"format": kind, "path": f"{kind}/*"} for kind in kinds})
    outcome = project.load()
    for kind in kinds:
        said = outcome[kind].error or outcome[kind].message or ""
        assert f"f.{kind}: 1 file(s) without rows: {kind}/a (empty)" in said
        assert ("and no file before had any" in said) == (kind != "jsonl")
    for kind, content in kinds.items():
        write(project, f"{kind}/b", content)
    assert project.load().errors == []
    assert [project.raw(f"select id from f.{kind}") for kind in kinds] == [[("1",)]] * 3


def test_a_file_that_becomes_empty_loses_its_rows(project: Project) -> None:
    declare(project, {"t": {**CSV, "path": "*.csv"}})
    write(project, "a.csv", "id\n1\n2\n")
    write(project, "b.csv", "id\n3\n")
    project.load()
    write(project, "b.csv", "")
    outcome = project.load()
    assert "b.csv (empty) (those it had before are removed)" in (outcome["t"].message or "")
    assert project.raw("select id from f.t order by id") == [("1",), ("2",)]
    write(project, "a.csv", "")
    assert "shrink_limit" in project.load().error
    assert project.raw("select id from f.t order by id") == [("1",), ("2",)]


def test_all_bad_files_are_named(project: Project) -> None:
    tables = {
        "t": {**CSV, "path": "t/*"},
        "many": {**CSV, "path": "many/*"},
        "rows": {**CSV, "path": "rows/*"},
    }
    tables |= {"p": {"format": "parquet", "path": "p/*"}, "j": {"format": "jsonl", "path": "j/*"}}
    declare(project, tables, {"t": {"id": "bigint", "v": None}, "rows": {"id": "bigint"}})
    write(project, "t/1.csv", "id,v\n1,x\n")
    write(project, "t/2.csv", "id\n1\n")
    write(project, "t/3.csv", "id,v\n1\n")
    write(project, "t/4.csv", "id,v\nx,x\n")
    write(project, "t/5.csv.gz", b"id,v\n1,x\n")
    write(project, "t/6.csv", "id,_file\n")
    for number in range(24):
        write(project, f"many/{number:02}", "a,A\n1,2\n")
        write(project, f"rows/{number:02}", "id\n1,2\nx\n")
        write(project, f"j/{number:02}", '{"a":1}\n[]\n')
    write(project, "p/1", b"abc")
    write(project, "p/2", parquet("select 1 as a"))
    write(project, "p/3", b"abc")
    outcome = project.load()
    error = str(outcome["t"].error)
    for said in (
        "t/2.csv has no column v",
        "t/3.csv line 2: 1 fields instead of 2",
        "_file 't/4.csv', _line 2, id 'x'",
        "t/5.csv.gz is not a whole .gz file",
        "t/6.csv has the column '_file'",
        "f.t: 3 files cannot be read",
    ):
        assert said in error
    error = str(outcome["many"].error)
    assert all(f"f.many: many/{number:02}: the columns" in error for number in range(20))
    assert "many/20" not in error
    assert outcome["many"].message is None
    assert "and 4 more file(s)\nf.many: 24 files cannot be read; nothing was loaded" in error
    error = str(outcome["rows"].error)
    assert all(f"rows/{number:02} line 2: 2 fields instead of 1" in error for number in range(20))
    assert all(f"_file 'rows/{number:02}', _line 3, id 'x'" in error for number in range(20))
    assert error.count("and 4 more file(s)") == 2
    error = str(outcome["j"].error)
    assert all(f"j/{number:02} line 2" in error for number in range(20))
    error = str(outcome["p"].error)
    assert "p/1 cannot be read as Parquet" in error
    assert "p/3 cannot be read as Parquet" in error
    assert outcome["p"].message is None  # they are not files without rows
    for name in tables:
        assert not project.raw(
            f"select table_name from duckdb_tables() where schema_name = 'f' and table_name = '{name}'"
        )


def test_all_files_that_cannot_be_fetched_are_named(project: Project) -> None:
    """Two are larger than this process may write."""
    write(project, "t/2.csv", "id\n1\n")
    for name in "13":
        write(project, f"t/{name}.csv", b"")
        os.truncate(project.root / f"in/t/{name}.csv", 2**25)
    declare(project, {"t": {**CSV, "path": "t/*"}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, limits[1]))
    try:
        error = project.load().error
        (project.root / "in/t/3.csv").unlink()
        second = project.load().error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for name in "13":
        assert f"f.t: cannot fetch t/{name}.csv: OSError: [Errno 27] File too large" in error
    assert error.endswith("\nf.t: 2 files cannot be fetched; nothing was loaded. Load again")
    assert second.startswith("f.t: cannot fetch t/1.csv: OSError")
    assert second.endswith("; nothing was loaded. Load again")
    assert "t/2.csv" not in error + second


def zipped(**members: bytes | str) -> bytes:
    """A zip archive; `__` in a name stands for a slash, and names without an ending get `.csv`."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            path = name.replace("__", "/")
            out.writestr(path if "." in path or path.endswith("/") else f"{path}.csv", content)
    return archive.getvalue()


def encrypted(archive: bytes) -> bytes:
    """The archive, marked as encrypted."""
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = archive.index(header) + flags
        archive = archive[:at] + bytes([archive[at] | 1]) + archive[at + 1 :]
    return archive


ZIPS: dict[str, tuple[dict[str, Any], bytes, str | list[tuple[str, str]]]] = {
    # table: load keys, archive, (_file within it, id) or what the message says
    "one": (CSV, zipped(a="id\n1\n"), [("a.csv", "1")]),
    "several": (
        CSV,
        zipped(**{"x__": "", "x__a": "id\n1\n", "y__z__a": "id\n2\n", "__MACOSX__x__._a": "junk", "x__.DS_Store": "junk", "x__~$a.csv": "junk"}),
        [("x/a.csv", "1"), ("y/z/a.csv", "2")],
    ),
    "gz": (CSV, zipped(**{"a.csv.gz": gzip.compress(b"id\n1\n")}), [("a.csv.gz", "1")]),
    "utf16": (CSV, zipped(a="id\n1\n".encode("utf-16"), b="\ufeffid\n2\n".encode("utf-16-be")), [("a.csv", "1"), ("b.csv", "2")]),
    "pattern": ({**CSV, "members": "*.csv"}, zipped(**{"in__a": "id\n1\n", "read.txt": "x"}), [("in/a.csv", "1")]),
    "jsonl": ({"format": "jsonl"}, zipped(**{"a.jsonl": '{"id":"1"}'}), [("a.jsonl", "1")]),
    "parquet": ({"format": "parquet"}, zipped(**{"a.parquet": parquet("select '1' as id")}), [("a.parquet", "1")]),
    "excel": ({"format": "excel"}, zipped(**{"a.xlsx": workbook({"S": [["id"], ["1"]]})}), [("a.xlsx", "1")]),
    "kinds": (CSV, zipped(**{"a": "id\n1\n", "read.txt": "x"}), "has members of several kinds (a.csv, read.txt)"),
    "no_member": ({**CSV, "members": "*.tsv"}, zipped(a="id\n1\n"), "no member that matches '*.tsv'; it has a.csv"),
    "no_zip": (CSV, b"id\n1\n", "is not a whole .zip file"),
    "cut": (CSV, zipped(a="id\n1\n" * 99)[:-40], "is not a whole .zip file"),
    "spoilt": (CSV, zipped(a="id\n1\n").replace(b"PK\x03\x04", b"PK\x03\x05"), "is not a whole .zip file"),
    "locked": (CSV, encrypted(zipped(a="id\n1\n")), "is encrypted (a.csv)"),
    "nested": (CSV, zipped(**{"b.zip": zipped(a="id\n1\n")}), "has another archive in it (b.zip)"),
    "bomb": (CSV, zipped(a="id\n" + "1\n" * 100_000), "bomb/x.zip unpacks to more than"),
    "bomb_within": (CSV, zipped(**{"a.gz": gzip.compress(b"id\n" + b"1\n" * 100_000)}), "a.gz unpacks to more than"),
    "bombs_within": (
        CSV,
        zipped(**{f"{n}.gz": gzip.compress(b"id\n" + b"1\n" * 450) for n in range(9)}),
        ".gz unpacks to more than",
    ),
    "bad_member": (CSV, zipped(a="id\n1\n", b="id\n1,2\n"), "bad_member/x.zip/b.csv line 2: 2 fields instead of 1"),
}  # fmt: skip


def test_zip(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 1000)
    monkeypatch.setattr(archives, "LARGEST_RATIO", 5)
    for name, (_, content, _) in ZIPS.items():
        write(project, f"{name}/x.zip", content)
    declare(project, {name: {**keys, "path": f"{name}/*.zip"} for name, (keys, *_) in ZIPS.items()})
    outcome = project.load()
    for name, (_, _, expected) in ZIPS.items():
        if isinstance(expected, str):
            assert expected in str(outcome[name].error), name
            assert f"f.{name}" in str(outcome[name].error)
            continue
        assert outcome[name].error is None, (name, outcome[name].error)
        found = project.raw(f"select _file, id from f.{name} order by _file")
        assert found == [(f"{name}/x.zip/{file}", value) for file, value in expected]
    assert project.load("f.several", "f.one").rows == 0


def test_a_zip_that_changes_replaces_all_of_its_members(project: Project) -> None:
    declare(
        project, {"t": {**CSV, "path": "*.zip", "tolerance": 1, "shrink_limit": 0}}, {"t": {"id": "bigint"}}
    )
    write(project, "a.zip", zipped(x="id\n1\n", y="id\n2\n", bad="id\nz\n"))
    write(project, "b.zip", zipped(x="id\n3\n"))
    project.load()
    assert project.raw("select _file from f.t__quarantine") == [("a.zip/bad.csv",)]
    write(project, "a.zip", zipped(y="id\n4\n", new="id\n5\n"))
    outcome = project.load()
    assert outcome.errors == []
    rows = [("a.zip/new.csv", 5), ("a.zip/y.csv", 4), ("b.zip/x.csv", 3)]
    assert project.raw("select _file, id from f.t order by _file") == rows
    assert project.raw("select _file from f.t__quarantine") == []
    write(project, "a.zip", zipped())
    assert "a.zip (empty)" in (project.load()["t"].message or "")
    assert project.raw("select _file, id from f.t") == [("b.zip/x.csv", 3)]


ENCODED = {
    # table: declared encoding, content
    "le": (None, "\ufeffid,v\n1,ü\n".encode("utf-16-le")),
    "be": (None, "\ufeffid,v\r\n1,ü\r\n".encode("utf-16-be")),
    "utf32": (None, "id,v\n1,ü\n".encode("utf-32")),
    "utf8_declared_otherwise": ("windows-1252", "\ufeffid,v\n1,ü\n".encode()),
    "le_declared": ("utf-16-le", "\ufeffid,v\n1,ü\n".encode("utf-16-le")),
    "be_without_a_mark": ("utf-16-be", "id,v\n1,ü\n".encode("utf-16-be")),
    "either_without_a_mark": ("utf-16", "id,v\n1,ü\n".encode("utf-16-be")),
    "little_without_a_mark": ("utf-16", "id,v\n1,ü\n".encode("utf-16-le")),
}


def test_the_byte_order_mark_says_the_encoding(project: Project) -> None:
    tables = {}
    for name, (encoding, content) in ENCODED.items():
        write(project, f"{name}/a.csv", content)
        tables[name] = {**CSV, "path": f"{name}/*", **({"encoding": encoding} if encoding else {})}
    for name, text in {
        "jsonl": '{"id":"1","v":"ü"}\n',
        "json": '[{"id":"1","v":"ü"}]',
        "lines": "1 ü\n",
    }.items():
        write(project, f"{name}/a", text.encode("utf-16"))
        write(project, f"{name}/b.gz", gzip.compress(("\ufeff" + text).encode("utf-16-be")))
        tables[name] = {"format": name, "path": f"{name}/*"}
    tables["lines"]["pattern"] = r"(?P<id>\d+) (?P<v>.+)"
    declare(project, tables)
    outcome = project.load()
    assert outcome.errors == []
    for name in tables:
        assert set(project.raw(f"select id, v from f.{name}")) == {("1", "ü")}, name


def test_the_mark_counts_in_buckets(project: Project, s3: dict[str, str]) -> None:
    place = f"{s3['bucket']}/real-files"
    s3_client(s3).pipe(
        {
            f"{place}/a.csv": "\ufeffid\n1\n".encode("utf-16-be"),
            f"{place}/b.zip": zipped(x="id\n2\n".encode("utf-16")),
            f"{place}/c.csv": b"",
        }
    )
    project.connect("store", **{key: value for key, value in s3.items() if key != "bucket"})
    source = {"kind": "files", "connection": "store", "url": f"s3://{place}"}
    project.declare("f", source, {"t": {**CSV, "path": "*"}})
    outcome = project.load()
    assert outcome.errors == []
    assert project.raw("select _file, id from f.t order by id") == [("a.csv", "1"), ("b.zip/x.csv", "2")]
    assert "c.csv (empty)" in (outcome["t"].message or "")


MOMENTS: dict[str, tuple[dict[str, Any], str, str, list[str | None] | str]] = {
    # case: load keys, type, text, what raw holds as text, or what the message says
    "german": ({"date_format": "%d.%m.%Y"}, "date", "31.12.2024 1.2.2024", ["2024-12-31", "2024-02-01"]),
    "two_digits": ({"date_format": "%d/%m/%y"}, "date", "31/12/24 01/01/69", ["2024-12-31", "1969-01-01"]),
    "month": ({"date_format": "%d-%b-%Y"}, "date", "05-Mar-2024 5-DEC-2024", ["2024-03-05", "2024-12-05"]),
    "compact": ({"date_format": "%Y%m%d"}, "date", "20240131", ["2024-01-31"]),
    "too_short": ({"date_format": "%Y%m%d"}, "date", "2024121", "line 2"),
    "first_day": ({"date_format": "%d.%m.%Y"}, "date", "01.01.0001", ["0001-01-01"]),
    "seconds": ({"timestamp_format": "%d.%m.%Y_%H:%M:%S"}, "timestamp", "31.12.2024_23:59:58", ["2024-12-31 23:59:58"]),
    "utc": ({"timestamp_format": "%d.%m.%Y_%H:%M"}, "timestamp with time zone", "31.12.2024_23:59", ["2024-12-31 23:59:00+00"]),
    "zone": ({"timestamp_format": "%d.%m.%Y_%H:%M%z"}, "timestamptz", "31.12.2024_23:59+0200", ["2024-12-31 21:59:00+00"]),
    "clock": ({"time_format": "%I:%M%p"}, "time", "10:30PM", ["22:30:00"]),
    "single": ({"date_format": "%d.%m.%Y", "formats": {"v": "%m/%d/%Y"}}, "date", "12/31/2024", ["2024-12-31"]),
    "iso": ({"date_format": "%d.%m.%Y"}, "date", "31.12.2024 2024-12-31", "is not date in the form %d.%m.%Y"),
    "no_day": ({"date_format": "%d.%m.%Y"}, "date", "31.02.2024", "line 2"),
    "short_year": ({"date_format": "%d.%m.%Y"}, "date", "31.12.24", "line 2"),
    "with_time": ({"date_format": "%d.%m.%Y_%H:%M"}, "date", "31.12.2024_10:00", "line 2"),
    "midnight": ({"date_format": "%d.%m.%Y_%H:%M"}, "date", "31.12.2024_00:00", ["2024-12-31"]),
    "leap": ({"date_format": "%Y-%j"}, "date", "2024-366 2023-366", "line 3"),
}  # fmt: skip


def test_dates_and_times_in_declared_formats(project: Project) -> None:
    tables, columns = {}, {}
    for name, (keys, kind, text, _) in MOMENTS.items():
        write(project, f"{name}/a.csv", "\n".join(["v", *text.split()]) + "\n")
        write(project, f"{name}/b.json", "".join(f'{{"v":"{value}"}}\n' for value in text.split()))
        tables[name] = {**CSV, **keys, "path": f"{name}/*.csv"}
        tables[f"{name}_json"] = {"format": "jsonl", **keys, "path": f"{name}/*.json"}
        columns[name] = columns[f"{name}_json"] = {"v": kind}
    declare(project, tables, columns)
    outcome = project.load()
    for name, (_, _, _, expected) in MOMENTS.items():
        for table in (name, f"{name}_json"):
            if isinstance(expected, list):
                assert outcome[table].error is None, (table, outcome[table].error)
                assert project.raw(f"select v::varchar from f.{table} order by _line") == [
                    (v,) for v in expected
                ], table
                continue
            assert outcome[table].error, table
            said = f"{outcome[table].error} {project.raw(f'select _reason from f.{table}__quarantine')}"
            assert expected.removeprefix("line ") in said, table


def test_dates_of_excel(project: Project, tmp_path: Path) -> None:
    """Cells that are dates are dates; texts are read in the declared format."""
    query = "select date '2024-01-02' as day, '31.12.2024' as written union all select null, '2024-12-30'"
    write(project, "a.xlsx", sheets(tmp_path, "a.xlsx", query, "Data"))
    keys = {"format": "excel", "path": "*.xlsx", "date_format": "%d.%m.%Y"}
    declare(project, {"t": keys}, {"t": {"day": "date", "written": "date"}})
    assert project.load().errors == []
    assert project.raw("select day::varchar, written::varchar from f.t order by _line") == [
        ("2024-01-02", "2024-12-31"),
        (None, "2024-12-30"),
    ]


def test_formats_that_are_none_are_found_by_the_check(project: Project) -> None:
    cases: dict[str, tuple[dict[str, Any], dict[str, str | None], str]] = {
        "letters": ({"date_format": "DD.MM.YYYY"}, {"v": "date"}, "date_format: is 'DD.MM.YYYY' for the column v: names no part"),
        "unknown": ({"date_format": "%d.%q"}, {"v": "date"}, "is not a format of strptime"),
        "no_year": ({"date_format": "%d.%m."}, {"v": "date"}, "has no year"),
        "no_month": ({"timestamp_format": "%d.%M.%Y"}, {"v": "timestamp"}, "has a day, but no month (%m is the month, %M"),
        "twice": ({"timestamp_format": "%m/%d/%Y %H:%m"}, {"v": "timestamp"}, "names the month twice, by %m and %m"),
        "half": ({"timestamp_format": "%Y-%m-%d %I:%M"}, {"v": "timestamp"}, "(%I) without AM or PM (%p)"),
        "zone": ({"timestamp_format": "%Y-%m-%d %z"}, {"v": "timestamp"}, "must be timestamp with time zone"),
        "unused": ({"date_format": "%d.%m.%Y"}, {"v": "timestamp"}, "no column is declared as date"),
        "absent": ({"formats": {"w": "%d.%m.%Y"}}, {"v": "date"}, "formats: names 'w', which is not declared"),
        "text": ({"formats": {"v": "%d.%m.%Y"}}, {"v": "text"}, "is for columns declared as date, time or timestamp"),
        "parquet": ({"date_format": "%d.%m.%Y", "format": "parquet"}, {"v": "date"}, "means nothing for format parquet"),
    }  # fmt: skip
    for name, (keys, columns, message) in cases.items():
        declare(project, {name: {**CSV, "path": "*", **keys}}, {name: columns})
        _, (problem,) = read_sources(project.settings.sources)
        assert message in str(problem)
        line = (project.settings.sources / "f.yml").read_text().splitlines()[problem.line - 1]
        assert "format" in line or name == "parquet"


def test_hidden_sheets_are_said(project: Project) -> None:
    sheets = {"Old": [["id"], ["1"]], "New": [["id"], ["2"]], "Secret": [["id"], ["3"]]}
    write(project, "first/a.xlsx", workbook(sheets, Old="hidden"))
    write(project, "others/a.xlsx", workbook(sheets, Old="hidden", Secret="veryHidden"))
    write(project, "none/a.xlsx", workbook(sheets))
    write(project, "none/~$a.xlsx", b"somebody has it open")
    excel = {"format": "excel"}
    tables = {name: {**excel, "path": f"{name}/*"} for name in ("first", "others", "none")}
    tables["others"]["sheet"] = "New"
    declare(project, tables)
    outcome = project.load()
    assert outcome.errors == []
    assert outcome["first"].message == "f.first: first/a.xlsx: the sheet 'Old' was read, which is hidden"
    said = "f.others: others/a.xlsx: the sheet 'New' was read; not read, and hidden: 'Old', 'Secret'"
    assert outcome["others"].message == said
    assert outcome["none"].message is None
    assert [project.raw(f"select id from f.{name}") for name in tables] == [[("1",)], [("2",)], [("1",)]]
