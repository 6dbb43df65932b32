"""Files become tables: names, dialects and types are found, and what is proposed loads every row."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import duckdb
import pytest

from sluice.discover import files
from sluice.discover.dialects import csv_dialect, encoding_of
from sluice.discover.file_groups import grouped, matches
from sluice.discover.files import discover_files
from sluice.discover.inference import infer
from sluice.discover.value_types import TextColumns
from sluice.engine.duckdb import load_extension
from sluice.errors import ConnectionError, UsageError
from tests.python.discover.found import Found
from tests.python.project import Project


def write(root: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode(encoding)
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A folder as companies have them, discovered."""
    project = Project(tmp_path_factory.mktemp("files") / "project")
    root = project.root / "data"
    for month in (1, 2, 3):
        lines = "".join(
            f"{i};0{i};Müller {i};1.{i:03},50;{i % 28 + 1:02}.{month:02}.2026;{'n/a' if i % 7 == 0 else i}\n"
            for i in range(month * 100, month * 100 + 100)
        )
        head = "Bestell-Nr;PLZ;Kunde;Betrag (EUR);Datum;Menge\n"
        write(root, f"orders_2026-{month:02}.csv", head + lines, "windows-1252")
    write(root, "orders_eu_2026-01.csv", "id,name\n1,x\n")
    days = "".join(f"{i},{i % 12 + 1:02}/{i % 12 + 1:02}/2026\n" for i in range(50))
    write(root, "customers.csv", "id,signup\n" + days)
    write(root, "rates.tsv", "".join(f"{i}\tx{i}\t2026-01-{i % 28 + 1:02}\n" for i in range(30)))
    for month in (1, 2):
        events = [{"id": i, "at": f"2026-0{month}-01T00:00:{i:02}Z", "of": {"a": i}} for i in range(40)]
        write(root, f"events/2026/0{month}/e.jsonl.gz", "\n".join(map(json.dumps, events)))
    write(root, "api.json", json.dumps({"meta": {}, "data": {"items": [{"id": 1}, {"id": 2}]}}))
    line = '127.0.0.1 - - [01/Jan/2026:00:30:00 +0100] "GET / HTTP/1.0" 200 2326 "-" "Firefox"\n'
    write(root, "access.log", line * 20)
    write(root, "berlin/sales.csv", "a,b\n1,2\n")
    write(root, "hamburg/sales.csv", "a,b\n3,4\n")
    write(root, "footer.csv", "id,amount\n" + "".join(f"{i},{i}.25\n" for i in range(200)) + "200 rows\n")
    write(root, "report.csv", "Report\nof a day\n\nid,amount\n1,2.5\n2,3.5\n")
    write(root, "wide.csv", "id,name\n1,ä\n", "utf-16")
    write(root, "readme.md", "# Files")
    write(root, "notes.txt", "Prose.\nIt has, as prose has, commas,\nhere and there.\n")
    write(root, "empty.csv", "")
    with zipfile.ZipFile(root / "bundle.zip", "w") as archive:
        archive.writestr("stock_1.csv", "sku,n\nA,1\n")
        archive.writestr("stock_2.csv", "sku,n\nB,2\n")
        archive.writestr("kinds.json", '[{"k": 1}]')
    with duckdb.connect() as con:
        load_extension(con, "excel")
        con.execute(f"copy (select range as n, 'x' as t from range(5)) to '{root / 'facts.parquet'}'")
        book = f"to '{root / 'book.xlsx'}' (format xlsx, header true, sheet 'Data')"
        con.execute(f"copy (select 1.5 as \"Preis (EUR)\", date '2026-01-01' as day) {book}")
    return Found(project, discover_files, "data")


def test_what_is_proposed_loads_every_row(found: Found) -> None:
    assert set(found.tables) == {
        *(
            "access",
            "api",
            "book",
            "customers",
            "e",
            "facts",
            "footer",
            "kinds",
            "orders",
            "orders_eu",
            "rates",
        ),
        *("report", "sales", "stock", "wide"),
    }
    assert found["orders"].rows == 300
    found.load()
    assert (
        found.project.raw("select min(betrag_eur), max(datum), count(menge) from found.orders")[0][2] == 257
    )
    ((first,),) = found.project.raw("select min(time) from found.access")
    assert first.year == 2025  # in UTC


def test_the_dialect_is_declared_with_its_reasons(found: Found) -> None:
    assert found.source.load == {"kind": "files", "url": "data"}
    orders = found["orders"]
    assert orders.load == {
        "path": "orders_[0-9]*.csv",
        "format": "csv",
        "delimiter": ";",
        "encoding": "windows-1252",
        "nulls": ["", "n/a"],
        "decimal": ",",
        "date_format": "%d.%m.%Y",
    }
    assert set(orders.reasons) >= set(orders.load) - {"format"}
    assert found.types("orders") == {
        "Bestell-Nr": "bigint",
        "PLZ": "text",
        "Kunde": "text",
        "Betrag (EUR)": "decimal(18,2)",
        "Datum": "date",
        "Menge": "bigint",
    }
    assert [c.name for c in orders.columns if c.nullable] == ["Menge"]
    assert found["report"].load["skip_lines"] == 3
    assert found["api"].load["records"] == "data.items"
    assert found["sales"].load["path"] == "*/sales.csv"
    assert found["stock"].load["members"] == "stock_*.csv"
    assert found["e"].load["path"] == "events/*/*/e.jsonl.gz"
    assert found.types("e") == {"at": "timestamptz", "id": "bigint", "of": "json"}
    assert found["rates"].load["header"] is False
    assert "encoding" not in found["wide"].load


def test_files_get_no_cursor(found: Found) -> None:
    infer(found.con, found.source)
    assert found["facts"].primary_key is not None
    assert not any(
        table.cursor for table in found.tables.values()
    )  # a load knows by itself which files are new


def test_what_it_could_not_tell_is_a_question(found: Found) -> None:
    assert (
        "signup: do its values begin with the day (%d/%m/%Y) or with the month (%m/%d/%Y)?" in found.questions
    )
    assert found.types("customers")["signup"] == "text"
    assert found["footer"].load["tolerance"] == 1
    assert "are these 1 row(s) to be left out?" in found.questions
    assert "have no header" in "\n".join(found["rates"].questions)
    assert set(found.source.skipped) == {"readme.md", "notes.txt", "empty.csv"}
    assert "Müller" not in found.questions
    assert "01/2026" not in found.questions


def test_files_that_are_called_alike_and_differ(tmp_path: Path) -> None:
    data = tmp_path / "project/data"
    contents = {
        "loses_1.csv": "id,x,y\n1,2,3\n",
        "loses_2.csv": "id,x\n2,3\n",
        "gains_1.csv": "id,x\n1,2\n",
        "gains_2.csv": "id,x,z\n2,3,4\n",
        "other_2025-01.csv": "id,x\n1,2\n",
        "other_2026-01.csv": "key;value\na;1,5\n",
        "other_2026-02.csv": "key;value\nb;2,5\n",
        "twice.csv": "a b,a-b\n1,2\n",
        "slashes.csv": 'id,said\n1,"He said \\"a, b\\", twice"\n2,no\n',
        "codes.csv": "id,amount,country\n1,10,AT\n2,NA,NA\n",
    }
    project = Project(tmp_path / "project")
    for name, text in contents.items():
        write(data, name, text)
    found = Found(project, discover_files, "data")
    assert found["loses"].load["columns"] == {"exclude": ["y"]}
    assert found.types("gains") == {"id": "bigint", "x": "bigint"}
    assert [c.name for c in found["gains"].columns if c.data_type is None] == ["z"]
    assert found["other_2026_0"].load["path"] == "other_2026-0[0-9].csv"
    assert found["other_2026_0"].load["decimal"] == ","
    assert found["other_2025_01"].load["path"] == "other_2025-01.csv"
    assert found["twice"].load["columns"] == {"rename": {"a-b": "a_b_2"}}
    assert found["slashes"].load["escape"] == "\\"
    assert found.types("codes")["amount"] == "text"  # NA is Namibia, too
    assert "NA may stand for null" in found.questions
    assert set(found.load()) == set(found.tables)


def test_the_encoding_is_that_of_every_file(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    for number in range(30):
        name = "Müller" if number == 17 else "Ann"
        write(project.root, f"data/one_{number}.csv", f"id,name\n{number},{name}\n", "windows-1252")
        packed = "Jürgen" if number == 17 else "Bob"
        write(project.root, f"data/gz_{number}.csv.gz", f"id,name\n{number},{packed}\n", "windows-1252")
    write(project.root, "data/mixed_1.csv", "id,name\n1,Zoë\n", "windows-1252")
    write(project.root, "data/mixed_2.csv", "id,name\n2,Zoë\n")
    found = Found(project, discover_files, "data")
    assert [found[name].load["encoding"] for name in ("one", "gz")] == ["windows-1252"] * 2
    assert "tolerance" not in found["one"].load
    assert "in different encodings (1 in windows-1252, 1 in utf-8)" in "\n".join(found["mixed"].questions)
    assert found.load()["one"] == 30


def test_a_folder_elsewhere_goes_into_the_connection(found: Found, tmp_path: Path) -> None:
    write(tmp_path, "out/a.csv", "id\n1\n")
    elsewhere = Found(Project(tmp_path / "project"), discover_files, str(tmp_path / "out/a.csv"))
    assert elsewhere.source.load["url"] == "${found.folder}"
    assert elsewhere.source.connection == {"folder": str(tmp_path / "out")}
    elsewhere.load()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere", "there is no file or folder nowhere"),
        ("https://files.example/a.csv", "not over HTTP"),
        ("s3://user:pass@bucket/a", "write the address without user and password"),
    ],
)
def test_addresses_that_no_load_reads(tmp_path: Path, address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        Found(Project(tmp_path / "project"), discover_files, address)
    assert "pass@" not in str(error.value)


def test_a_folder_without_files_says_why(tmp_path: Path) -> None:
    write(tmp_path / "project/data", "x.pdf", "%PDF")
    project = Project(tmp_path / "other")
    with pytest.raises(UsageError, match=r"files ending in \.pdf are not read"):
        Found(project, discover_files, str(tmp_path / "project/data"))


def test_a_bucket_is_read_by_the_keys_of_its_connection(tmp_path: Path, s3: dict[str, str]) -> None:
    import s3fs

    project = Project(tmp_path / "project")
    keys = {k: s3[k] for k in ("access_key_id", "secret_access_key", "endpoint_url", "region")}
    project.connect("found", **keys)
    store = s3fs.S3FileSystem(
        key=s3["access_key_id"], secret=s3["secret_access_key"], endpoint_url=s3["endpoint_url"]
    )
    for day in (1, 2):
        store.pipe(f"{s3['bucket']}/discover/day_2026-01-0{day}.csv", b"id;v\n1;2,5\n2;3,5\n")
    bucket = Found(project, discover_files, f"s3://{s3['bucket']}/discover")
    assert bucket["day"].load == {"path": "day_*.csv", "format": "csv", "delimiter": ";", "decimal": ","}
    assert bucket.source.load["connection"] == "found"
    bucket.load()


@pytest.mark.full
def test_an_sftp_server_is_read_by_the_keys_of_its_connection(
    tmp_path: Path, sftp: dict[str, str | int]
) -> None:
    import fsspec

    project = Project(tmp_path / "project")
    project.connect("found", username=sftp["username"], password=sftp["password"], port=sftp["port"])
    keys = {k: sftp[k] for k in ("host", "port", "username", "password")}
    store = fsspec.filesystem("sftp", skip_instance_cache=True, **keys)
    store.makedirs("/discover", exist_ok=True)
    with store.open("/discover/days.jsonl", "wb") as out:
        out.write(b'{"id": 1}\n{"id": 2}\n')
    server = Found(project, discover_files, f"sftp://{sftp['host']}/discover")
    assert server["days"].load == {"path": "days.jsonl", "format": "jsonl"}
    assert server.load() == {"days": 2}
    other = Project(tmp_path / "other")
    other.connect("found", username=sftp["username"], password="wrong-one", port=sftp["port"])
    with pytest.raises(ConnectionError, match="cannot reach the SFTP server") as error:
        Found(other, discover_files, f"sftp://{sftp['host']}/discover")
    assert "wrong-one" not in str(error.value)


@pytest.mark.full
def test_of_large_files_a_part_is_read_that_is_spread_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCAL_BYTES", 60_000)
    project = Project(tmp_path / "project")
    lines = [f"{number},x{number}\n" for number in range(20_000)]
    write(project.root, "data/large.csv", "id,name\n" + "".join(lines))
    for part in range(20):
        rows = "".join(lines[part * 1000 : part * 1000 + 1000])
        write(project.root, f"data/part_{part:02}.csv", "id,name\n" + rows)
    found = Found(project, discover_files, "data")
    for name in ("large", "part"):
        table = found[name]
        assert not table.is_whole
        assert table.rows is not None
        assert 15_000 < table.rows < 25_000
        assert "the rest may have other values" in "\n".join(table.questions)
        seen = found.con.execute(f"select count(*), max(id) from {table.relation}").fetchone()
        assert seen is not None
        assert seen[0] < 10_000
        assert seen[1] > 15_000


# -- names ---------------------------------------------------------------------------------------------

NAMES = {
    ("orders_2026-01.csv", "orders_2026-02.csv.gz"): "orders_[0-9]*.csv*",
    ("orders_eu_2026-01.csv",): "orders_eu_*.csv",
    ("settlement_2026-01-01.csv", "settlement_2026-01-02.csv"): (
        "settlement_[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].csv"
    ),
    ("settlement_2026-01-01_corr1.csv",): "settlement_*_corr*.csv",
    ("sales_feb.csv", "sales_jan.csv"): "sales_*.csv",
    ("access.log", "access.log.1", "access.log.2.gz"): "access.log*",
    ("y=2025/m=1/p.parquet", "y=2026/m=2/p.parquet"): "y=*/m=*/p.parquet",
    ("weird[1].csv",): "weird[[]1].csv",
    ("co2.csv",): "co2.csv",
}


def test_a_glob_matches_its_files_and_later_ones_and_no_others() -> None:
    every = [name for group in NAMES for name in group]
    assert {group.files: group.path for group in grouped(every)} == NAMES
    assert matches("orders_[0-9]*.csv*", ["orders_2027-12.csv", "orders_eu_2027-12.csv"]) == [
        "orders_2027-12.csv"
    ]


# -- dialects and types --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "keys", "header"),
    [
        ("id;price\n1;1,50\n2;2,75\n", {"delimiter": ";"}, ("id", "price")),
        ('id,text\n1,"a, b\nc"\n2,"x ""y"""\n', {"delimiter": ","}, ("id", "text")),
        ("id|'t'\n1|'a|b'\n2|'c'\n", {"delimiter": "|", "quote": "'"}, ("id", "t")),
        ("sep=;\na;b\n1;2\n", {"delimiter": ";", "skip_lines": 1}, ("a", "b")),
        ("x\n1\n2\n", {}, ("x",)),
        ("red,blue\nblue,red\nred,green\n", {"delimiter": ",", "header": False}, ("column_1", "column_2")),
    ],
)
def test_dialects(text: str, keys: dict[str, object], header: tuple[str, ...]) -> None:
    found = csv_dialect([text])
    assert (found.keys, found.header) == (keys, header)


@pytest.mark.parametrize(
    ("content", "encoding", "is_certain"),
    [
        ("Größe", "utf-8", True),
        ("Größe: 5 €", "windows-1252", True),
        ("Größe und Käse", "cp850", False),
        ("Größe", "utf-16-le", True),
    ],
)
def test_encodings(tmp_path: Path, content: str, encoding: str, is_certain: bool) -> None:
    (tmp_path / "a").write_bytes(content.encode(encoding))
    found, _, question = encoding_of(tmp_path / "a")
    assert (found == encoding, question is None) == (is_certain or encoding == found, is_certain)


COLUMNS: dict[str, tuple[list[str], str]] = {
    "postcode": (["1010", "8010"], "text"),
    "with_zeros": (["01067", "10115"], "text"),
    "logged": (["2026-01-01 10:00:00,123", "2026-01-01 10:00:00,500"], "timestamp"),
    "long_name": (["12345678901234567890"] * 2, "text"),
    "long_number": (["12345678901234567890", "7"], "decimal(38,0)"),
    "money": (["1.50", "-22.75"], "decimal(18,2)"),
    "measure": (["1.5", "0.123456"], "double"),
    "flag": (["true", "False"], "boolean"),
    "iso": (["2026-01-31", "2026-02-01"], "date"),
    "at": (["2026-01-31T10:00:00+02:00", "2026-02-01T00:00:00Z"], "timestamp with time zone"),
    "short": (["31.01.26", "1.2.26"], "date"),
    "us": (["01/31/2026", "02/01/2026"], "date"),
    "us_at": (["02/01/2026 5:00 PM", "02/02/2026 1:30 AM"], "timestamp"),
    "english": (["31-Jan-2026", "01-Feb-2026"], "date"),
    "order_date": (["20260131", "20260201"], "date"),
    "number": (["20260131", "20260201"], "bigint"),
    "clock": (["10:00", "23:59:59"], "time"),
    "thousands": (["1,234.50", "2.00"], "text"),
    "version": (["1.2.3", "1.2.4"], "text"),
    "phone": (["030-12345", "+49 30 1"], "text"),
}


def test_types_keep_every_digit_of_every_value() -> None:
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        values = ", ".join(f"unnest({values!r}) as {name}" for name, (values, _) in COLUMNS.items())
        con.execute(f"create table t as select {values}")
        types = TextColumns(con, "t").types(COLUMNS)
    assert {name: kind.data_type for name, kind in types.items()} == {
        n: kind for n, (_, kind) in COLUMNS.items()
    }
    assert types["us_at"].form == "%m/%d/%Y %I:%M %p"  # as the column beside it, whose days prove it
    assert "us" in types["us_at"].reason
    assert types["thousands"].question
