"""Settlement files: what stands in them is what happened, however late one looks."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from decimal import Decimal
from pathlib import Path

import duckdb
import duckdb_extensions
import s3fs

from sandbox import marketplace

EARLIER, LATER = dt.date(2026, 9, 1), dt.date(2026, 9, 30)


def read_csv(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode("cp1252"), newline=""), delimiter=";"))


def bucket(s3: dict[str, str], name: str) -> dict[str, bytes]:
    store = s3fs.S3FileSystem(
        key=s3["access_key_id"],
        secret=s3["secret_access_key"],
        endpoint_url=s3["endpoint_url"],
        skip_instance_cache=True,
    )
    found: dict[str, bytes] = store.cat(store.glob(f"{name}/settlements/*"))
    return {path.removeprefix(f"{name}/"): body for path, body in found.items()}


def test_an_advanced_bucket_equals_a_fresh_one(
    small_world: duckdb.DuckDBPyConnection, s3: dict[str, str]
) -> None:
    advanced, fresh = s3 | {"bucket": "mp-advanced"}, s3 | {"bucket": "mp-fresh"}
    marketplace.write(small_world, advanced, date=EARLIER, previous=None)
    marketplace.write(small_world, advanced, date=LATER, previous=EARLIER)
    counts = marketplace.write(small_world, fresh, date=LATER, previous=None)
    found = bucket(s3, "mp-advanced")
    assert len(found) == counts["files"] > 100
    assert found == bucket(s3, "mp-fresh")
    assert marketplace.write(small_world, fresh, date=LATER, previous=LATER) == {"files": 0, "lines": 0}


def test_the_newest_file_of_a_day_has_the_lines_of_the_world(small_world: duckdb.DuckDBPyConnection) -> None:
    files, _ = marketplace.render(small_world, date=LATER, previous=None)
    expected = small_world.execute(
        """
        with newest as (
            select settlement_date, max(revision) as revision, arg_max(format, revision) as format
            from events.market_files where known_at < timestamp '2026-10-01' group by settlement_date
        )
        select lines.settlement_date::varchar, order_id, line, type, amount, quantity, currency, sku, buyer_id
        from events.market_lines as lines inner join newest using (settlement_date)
        where first_revision <= revision and (last_revision is null or revision <= last_revision)
            and newest.format = 'csv'
        """
    ).fetchall()
    codes = {code: sku for sku, code in marketplace.LEGACY_SKUS.items()}
    newest: dict[str, bytes] = {}
    for key, body in sorted(files.items()):  # '_corr1.csv' sorts before '.csv'
        if key.endswith(".csv"):
            date = re.findall(r"\d{4}-\d\d-\d\d", key)[0]
            newest[date] = body if "_corr" in key or date not in newest else newest[date]
    found = [
        (
            row["Settlement Date"],
            row["Order ID"],
            int(row["Line"]),
            row["Type"],
            Decimal(row["Amount"].replace(",", ".")),
            int(row["Quantity"]),
            row["Currency"],
            codes.get(row["Seller SKU"], row["Seller SKU"].removeprefix("ANY-").upper()),
            row["Buyer ID"],
        )
        for body in newest.values()
        for row in read_csv(body)
    ]
    assert sorted(found) == sorted(expected)
    assert {row[3] for row in found} == {"Order", "Refund", "Cancellation"}
    assert all((row[4] < 0) == (row[3] != "Order") for row in found)


def test_the_files_have_the_dirt_that_loaders_must_survive(small_world: duckdb.DuckDBPyConnection) -> None:
    files, _ = marketplace.render(small_world, date=LATER, previous=None)
    texts = {key: body.decode("cp1252") for key, body in files.items() if key.endswith(".csv")}
    assert {text.split("\r\n")[0] for text in texts.values()} == {
        ";".join(columns) for columns in marketplace.ERAS.values()
    }
    assert any("ü" in text for text in texts.values())
    assert not any("?" in text for text in texts.values())
    assert any("_corr1" in key for key in files)
    assert any(key.endswith(".xlsx") for key in files)
    assert all(re.search(r";\d\d\.\d\d\.\d{4};", text) for text in texts.values() if text.count("\r\n") > 1)


def test_excel_files_have_typed_cells(small_world: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    files, _ = marketplace.render(small_world, date=LATER, previous=None)
    con = duckdb.connect()
    duckdb_extensions.import_extension("excel", con=con)
    con.execute("load excel")
    path = tmp_path / "settlement.xlsx"
    path.write_bytes(max((body for key, body in files.items() if key.endswith(".xlsx")), key=len))
    cells = con.sql(f"from read_xlsx('{path}', sheet = '{marketplace.SHEET}')")
    types = dict(zip(cells.columns, map(str, cells.types), strict=True))
    assert types["Posted Date"] == "DATE"
    assert types["Amount"] == "DOUBLE"
    assert types["Seller SKU"] == "VARCHAR"
    assert cells.fetchall()


def test_resent_files_are_put_again_with_the_same_bytes(small_world: duckdb.DuckDBPyConnection) -> None:
    resent = small_world.execute(
        "select settlement_date::varchar, known_at::date from events.market_files where kind = 'resent' limit 1"
    ).fetchone()
    assert resent is not None
    date, day = resent
    before, _ = marketplace.render(small_world, date=day - dt.timedelta(1), previous=None)
    then, _ = marketplace.render(small_world, date=day, previous=day - dt.timedelta(1))
    again = {key: body for key, body in then.items() if date in key}
    assert len(again) == 1
    assert again.items() <= before.items()
