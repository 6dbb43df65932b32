"""The marketplace: daily settlement files in an S3 bucket, as a large retailer's export would write them.

A file a day, settlements/settlement_<date>.csv (Windows-1252, semicolons, decimal comma, CRLF), on some days .xlsx
(typed cells, sheet `Settlement`). The order of the columns changed twice. A corrected file is
settlement_<date>_corr<n>.csv beside the original and replaces it fully; a re-sent one is the same key again.

The dirt: characters that Windows-1252 lacks are transliterated, some names are in capitals or have stray blanks,
some postcodes lost their blank, and a few products carry the seller codes of an older listing.
"""

from __future__ import annotations

import datetime as dt
import itertools
import tempfile
from pathlib import Path

import duckdb

SHEET = "Settlement"

# Listings that are older than the scheme 'ANY-' || lower(sku); seeds/marketplace_sku_corrections.csv undoes them.
LEGACY_SKUS = {
    "MAC-ONE-BK": "ANY1-BLACK",
    "COF-HOU-1000": "HOUSEBLEND-1KG",
    "COF-ESP-1000": "FORTE-1KG",
    "ACC-FIL-2": "ANY-filter-2pk",
}
LEGACY_UNTIL = "2025-03-31"  # then all but the first were listed again

# From which settlement date on the columns stand in which order.
ERAS: dict[str, tuple[str, ...]] = {
    "0001-01-01": (
        *(
            "Settlement Date",
            "Order ID",
            "Line",
            "Type",
            "Posted Date",
            "Seller SKU",
            "Quantity",
            "Unit Price",
        ),
        *("Amount", "Currency", "Buyer ID", "Buyer Name", "Ship Postcode", "Ship City", "Ship Country"),
    ),
    "2025-06-01": (
        *(
            "Settlement Date",
            "Type",
            "Order ID",
            "Line",
            "Posted Date",
            "Buyer ID",
            "Buyer Name",
            "Ship City",
        ),
        *("Ship Postcode", "Ship Country", "Seller SKU", "Quantity", "Unit Price", "Amount", "Currency"),
    ),
    "2026-02-01": (
        *("Settlement Date", "Order ID", "Line", "Type", "Posted Date", "Seller SKU", "Quantity", "Currency"),
        *("Unit Price", "Amount", "Buyer ID", "Buyer Name", "Ship Country", "Ship Postcode", "Ship City"),
    ),
}


def write(
    world: duckdb.DuckDBPyConnection, s3: dict[str, str], *, date: dt.date, previous: dt.date | None
) -> dict[str, int]:
    """Bring the bucket from `previous` (None: empty) to `date`; {"files": put, "lines": in them}.

    `s3`: endpoint_url, access_key_id, secret_access_key, region, bucket. A file's bytes depend on the world alone,
    so that writing again after a crash changes nothing.
    """
    import s3fs

    files, lines = render(world, date=date, previous=previous)
    store = s3fs.S3FileSystem(
        key=s3["access_key_id"],
        secret=s3["secret_access_key"],
        endpoint_url=s3["endpoint_url"],
        client_kwargs={"region_name": s3["region"]},
        skip_instance_cache=True,
    )
    if files:
        store.pipe({f"{s3['bucket']}/{key}": body for key, body in files.items()}, batch_size=32)
    return {"files": len(files), "lines": lines}


def render(
    world: duckdb.DuckDBPyConnection, *, date: dt.date, previous: dt.date | None
) -> tuple[dict[str, bytes], int]:
    """The files that appeared or changed after `previous` and until `date`: {key: body}, and their lines' number."""
    con = world.cursor()
    con.execute(
        "create or replace temp table due_files as " + _DUE_FILES, {"date": date, "previous": previous}
    )
    legacy, codes = list(LEGACY_SKUS), list(LEGACY_SKUS.values())
    values = {"legacy": legacy, "codes": codes, "kept": legacy[0], "legacy_until": LEGACY_UNTIL}
    con.execute("create or replace temp table due_lines as " + _DUE_LINES, values)
    counted = con.execute("select count(*) from due_lines").fetchone()
    files = _csv_files(con) | _xlsx_files(con)
    for table in ("due_files", "due_lines"):
        con.execute(f"drop table {table}")
    return files, counted[0] if counted else 0


# The newest known revision of every key, if it became known in the period. A re-sent file overwrites its key.
_DUE_FILES = """
    select
        'settlements/settlement_' || strftime(settlement_date, '%Y-%m-%d')
            || case when kind = 'corrected' then '_corr' || revision || '.csv' else '.' || format end as key,
        case when kind = 'corrected' then 'csv' else format end as format,
        settlement_date,
        revision
    from events.market_files
    where known_at < $date::date + interval 1 day
    qualify row_number() over (partition by key order by revision desc) = 1
        and ($previous::date is null or known_at >= $previous::date + interval 1 day)
"""

# One row per line and file, with the dirt that does not depend on the format.
_DUE_LINES = """
    with lines as (
        select
            *,
            events.u('marketplace_name', hash(order_id) >> 1) as name_draw,
            events.u('marketplace_postcode', hash(order_id) >> 1) as postcode_draw
        from events.market_lines
    )

    select
        due_files.key,
        due_files.format,
        lines.settlement_date as "Settlement Date",
        lines.order_id as "Order ID",
        lines.line as "Line",
        lines.type as "Type",
        lines.posted_date as "Posted Date",
        case
            when list_contains($legacy, lines.sku)
                and (lines.settlement_date <= $legacy_until::date or lines.sku = $kept)
                then map($legacy, $codes)[lines.sku]
            else 'ANY-' || lower(lines.sku)
        end as "Seller SKU",
        lines.quantity as "Quantity",
        lines.unit_price as "Unit Price",
        lines.amount as "Amount",
        lines.currency as "Currency",
        lines.buyer_id as "Buyer ID",
        case
            when name_draw < 0.05 then upper(lines.buyer_name)
            when name_draw < 0.08 then replace(lines.buyer_name, ' ', '  ')
            when name_draw < 0.10 then lines.buyer_name || ' '
            else lines.buyer_name
        end as "Buyer Name",
        case
            when postcode_draw < 0.3 then replace(lines.ship_postcode, ' ', '')
            else lines.ship_postcode
        end as "Ship Postcode",
        lines.ship_city as "Ship City",
        lines.ship_country as "Ship Country"
    from due_files
    inner join lines
        on due_files.settlement_date = lines.settlement_date
        and lines.first_revision <= due_files.revision
        and (lines.last_revision is null or due_files.revision <= lines.last_revision)
"""

_ORDER = '"Order ID", "Line", "Type", "Posted Date"'


def _eras() -> list[tuple[str, str, tuple[str, ...]]]:
    """(first date, first date of the next era, columns) of every era."""
    starts = [*ERAS, "9999-12-31"]
    return [(start, end, ERAS[start]) for start, end in itertools.pairwise(starts)]


def _csv_files(con: duckdb.DuckDBPyConnection) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for start, end, columns in _eras():
        header = ";".join(columns)
        cells = " || ';' || ".join(_csv_cell(column) for column in columns)
        rows = con.execute(
            f"""
            select due_files.key, coalesce(string_agg({cells} || chr(13) || chr(10), '' order by {_ORDER}), '')
            from due_files left join due_lines on due_files.key = due_lines.key
            where due_files.format = 'csv' and settlement_date >= $start and settlement_date < $end
            group by due_files.key
            """,
            {"start": start, "end": end},
        ).fetchall()
        files |= {key: f"{header}\r\n{body}".encode("cp1252", errors="replace") for key, body in rows}
    return files


def _csv_cell(column: str) -> str:
    """SQL of one cell; null (possible in text only) is empty."""
    name = f'"{column}"'
    if column in ("Unit Price", "Amount"):
        return f"replace({name}::varchar, '.', ',')"
    if column == "Posted Date":
        return f"strftime({name}, '%d.%m.%Y')"
    if column in ("Buyer Name", "Ship City"):
        # Latin-1 and the four letters with a caron are in Windows-1252; what has others is transliterated.
        has_others = rf"regexp_matches({name}, '[^\x{{01}}-\x{{7E}}\x{{A0}}-\x{{FF}}ŠšŽž]')"
        text = f"case when {has_others} then events.fold({name}) else {name} end"
        quoted = f"chr(34) || replace({text}, chr(34), chr(34) || chr(34)) || chr(34)"
        return f"coalesce(case when regexp_matches({name}, '[;\"]') then {quoted} else {text} end, '')"
    return f"coalesce({name}::varchar, '')"


def _xlsx_files(con: duckdb.DuckDBPyConnection) -> dict[str, bytes]:
    keys = con.execute("select key, settlement_date::varchar from due_files where format = 'xlsx'").fetchall()
    if not keys:
        return {}
    import duckdb_extensions

    duckdb_extensions.import_extension("excel", con=con)
    con.execute("load excel")
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settlement.xlsx")
        for key, settlement_date in keys:
            columns = next(columns for start, end, columns in _eras() if start <= settlement_date < end)
            cells = ", ".join(f'"{column}"' for column in columns)
            con.execute(
                f"copy (select {cells} from due_lines where key = '{key}' order by {_ORDER})"
                f" to '{path}' (format xlsx, header true, sheet '{SHEET}')"
            )
            files[key] = path.read_bytes()
    return files
