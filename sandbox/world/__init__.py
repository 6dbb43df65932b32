"""The canonical world of AnyCompany: clean events in DuckDB, and the truth that tests compare marts with.

Every value is a function of (seed, entity, salt) by DuckDB's hash(), never of the date up to which the world is
generated, so a longer world begins with exactly the shorter one. `generate` fills schema `events`, `truth` fills
schema `truth`; the systems are projections of `events` with dirt, each in its own module. The SQL stands in the files
beside this one, which run in the order of `generate`.

Reading the tables as of date D: cutoff = D + 1 day at 00:00 UTC. A row exists when `known_at < cutoff`; a column
ending in `_at`/`_on` that lies at or after the cutoff has not happened yet and reads as null (`generate` keeps such
future values). All timestamps are TIMESTAMP without zone, in UTC, except the two marked "local".

events.settings            one row: seed bigint, scale double, start_date date, until date
events.countries           country_code text, name text, region text, currency text (what shop and marketplace charge)
events.exchange_rates      rate_date date, currency text, units_per_eur decimal(18,6): the ECB's rates up to `until`
events.product_versions    product_id bigint, version int, sku text, ean text (valid EAN-13), name text,
                           category text machines|coffee|accessories, list_price_eur decimal(10,2),
                           is_active boolean, known_at: the newest version known counts
events.parties             party_id bigint, kind text person|firm, first_name text, last_name text (of a firm: its
                           contact), name text (full name, or company name with legal form), email text (unique),
                           phone text null (E.164, unique but for a few families), vat_id text null (firms;
                           canonical, with prefix, no blanks), country_code text, known_at
events.party_addresses     party_id bigint, version int (1, or 2 after a move), street text, postal_code text,
                           city text, known_at, valid_to timestamp null (when the next version begins)

events.shop_customers      customer_id bigint, party_id bigint, opt_in boolean (at the start), has_phone boolean,
                           known_at (created), opt_changed_at null (opt_in flips), deleted_at null (soft delete)
events.shop_orders         order_id bigint, customer_id bigint, party_id bigint, currency text,
                           shipping_country text, shipping_postal_code text, payment_method text,
                           known_at (ordered), paid_at null, shipped_at null, delivered_at null,
                           cancelled_at null, purged_at null (hard delete)
events.shop_order_items    order_item_id bigint, order_id bigint, line_number int, product_id bigint, sku text,
                           quantity int, unit_price decimal(10,2), discount_amount decimal(10,2), known_at
events.shop_refunds        refund_id bigint, order_id bigint, order_item_id bigint, quantity int,
                           amount decimal(12,2), reason text, known_at (refunded)

events.stores              store_id text, name text, city text, country_code text, timezone text, currency text,
                           next_currency text null, currency_changes_at null (from then on next_currency),
                           opened_on date, known_at
events.store_members       member_id text, party_id bigint, store_id text, has_email boolean, has_phone boolean,
                           postal_code text (at joining), known_at (joined), phone_added_at null
events.store_sales         sale_id text, store_id text, member_id text null, party_id bigint null,
                           sold_at local, currency text, total_cents bigint, voided_at local null,
                           known_at (till synchronised: seconds after the sale, for a few up to two days),
                           void_known_at null (UTC)
events.store_sale_lines    line_id bigint (rises with known_at), sale_id text, line_number int, product_id bigint,
                           sku text, ean text, quantity int, unit_price_cents bigint, discount_cents bigint,
                           known_at

events.market_buyers       buyer_id text, party_id bigint, known_at
events.market_files        settlement_date date, revision int (0 original, 1 newer),
                           kind text original|resent|corrected, format text csv|xlsx, known_at (published)
                           Published the morning after settlement_date. resent = same key overwritten,
                           corrected = settlement_<date>_corr1 beside it (csv). The newest known revision counts.
events.market_lines        settlement_date date, order_id text, line int, type text Order|Refund|Cancellation,
                           posted_date date (settlement_date or up to 2 days before), sku text,
                           quantity int (signed), unit_price decimal(10,2), amount decimal(12,2) (signed,
                           = quantity * unit_price), currency text, buyer_id text, party_id bigint,
                           buyer_name text (clean), ship_postcode text, ship_city text, ship_country text,
                           first_revision int, last_revision int null
                           A line stands in revision r of its file when first_revision <= r and
                           (last_revision is null or r <= last_revision). No known_at: the file's counts.

events.wholesale_accounts  account_id text (15 chars a-z0-9), account_number text, party_id bigint, currency text,
                           known_at
events.wholesale_invoices  invoice_id text (15 chars a-z0-9), number text, account_id text, party_id bigint,
                           document_type text invoice|credit_note, credits text (number, '' if none),
                           issued_on date, currency text, known_at (created), paid_at null, voided_on date null,
                           void_known_at null
                           status as of D: void if void_known_at < cutoff, else paid if paid_at < cutoff, else open
events.wholesale_lines     invoice_id text, line int, sku text, quantity int (positive, also on credit notes),
                           unit_price decimal(10,2), discount_pct decimal(5,2)

events.page_views          event_id text, session_id text, visitor_id text, customer_id bigint null, path text,
                           page_group text, title text, referrer text null, load_ms double, ttfb_ms double,
                           dom_ms double, device_type text, os text, browser text, country_code text, occurred_at,
                           known_at (first published; up to 3 days late), duplicate_at null (published again)

Macros for the projections: events.u(salt, id) uniform double in [0, 1); events.n(salt, id, k) integer in [0, k);
events.fold(text) transliterated to ASCII (ue for u-umlaut, l for Polish l, accents stripped);
events.typed_email|typed_phone|typed_firm|typed_vat(value, salt, id) with the dirt of people typing. Use a salt of
                           your own.
"""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from sandbox import names

START = dt.date(2024, 10, 1)
FIRST_SIGN_UP = dt.date(2023, 10, 1)
"""People join a year before the first order, so that the first day looks like any."""


def cutoff(day: dt.date) -> dt.datetime:
    """The first instant (UTC, without zone) that is not yet known as of `day`."""
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time())


def generate(con: duckdb.DuckDBPyConnection, *, seed: int, scale: float, until: dt.date) -> None:
    """Create schema `events` (see the module's docstring) with everything known up to and including `until`.

    Raises ValueError when `until` lies before the first day or `scale` is not positive.
    """
    if until < START or scale <= 0:
        raise ValueError(
            f"The world begins on {START} and needs a scale above 0; got until={until}, scale={scale}."
        )
    con.execute("set timezone = 'UTC'")
    con.execute("create schema if not exists events")
    # Written last: a generation that was interrupted is not taken for a whole one.
    con.execute("drop table if exists events.settings")
    _run(con, "macros", {"$seed": str(int(seed))})
    _lookups(con, until)
    limits = {
        "$scale": repr(float(scale)),
        "$start": f"date '{START}'",
        "$first_sign_up": f"date '{FIRST_SIGN_UP}'",
        "$until": f"date '{until}'",
        "$cutoff": f"timestamp '{cutoff(until)}'",
        # how much there is to draw from, as numbers: a subquery in a join's condition would make it a nested loop
        "$countries": str(sum(country.weight for country in names.COUNTRIES)),
        "$home_stores": str(sum(store.weight for store in names.STORES)),
        "$web_products": str(sum(not p.sold_from and not p.sold_to for p in names.PRODUCTS)),
    }
    for part in ("days", "products", "people", "shop", "stores", "marketplace", "wholesale", "web"):
        _run(con, part, limits)
    for (table,) in con.execute("select table_name from duckdb_tables() where temporary").fetchall():
        con.execute(f"drop table temp.{table}")
    con.execute(
        "create table events.settings as select ?::bigint as seed, ?::double as scale, "
        "?::date as start_date, ?::date as until",
        [seed, scale, START, until],
    )


def _lookups(con: duckdb.DuckDBPyConnection, until: dt.date) -> None:
    """Word lists and rates as tables: events.countries, events.exchange_rates and temporary ones."""
    from sandbox.rates import RATES_SINCE, read_rates

    def table(name: str, rows: list[dict[str, object]], kind: str = "temp table") -> None:
        con.register("lookup", pa.Table.from_pylist(rows))
        con.execute(f"create or replace {kind} {name} as select * from lookup")
        con.unregister("lookup")

    table(
        "country_words",
        [
            {
                "country_code": country.code,
                "name": country.name,
                "region": country.region,
                "currency": country.currency,
                "vat": country.vat,
                "phones": [prefix.split("/")[0] for prefix in country.phones.split()],
                "phone_digits": int(country.phones.split("/")[1].split()[0]),
                "first_names": names.FIRST_NAMES[country.language].split(),
                "last_names": names.LAST_NAMES[country.language].split(),
                "streets": names.STREETS[country.language].split("|"),
                "firm_words": names.FIRM_WORDS[country.language].split("|"),
                "legal_forms": names.LEGAL_FORMS[country.code].split("|"),
                "cities": [
                    {"city": city, "patterns": patterns.split(",")}
                    for city, patterns in (
                        entry.split(":") for entry in names.CITIES[country.code].split("|")
                    )
                ],
            }
            for country in names.COUNTRIES
        ],
    )
    con.execute(
        "create or replace table events.countries as select country_code, name, region, currency from country_words"
    )
    table("country_pick", [{"bucket": i, "code": code} for i, code in _buckets(names.COUNTRIES, "code")])
    table("store_pick", [{"bucket": i, "code": code} for i, code in _buckets(names.STORES, "store_id")])
    table(
        "store_words",
        [{**store._asdict(), "opened_on": dt.date.fromisoformat(store.opened_on)} for store in names.STORES],
    )
    table("product_words", [{"product_id": 100 + i, **p._asdict()} for i, p in enumerate(names.PRODUCTS, 1)])
    table("price_factors", [{"currency": c, "factor": float(f)} for c, f in names.PRICE_FACTORS.items()])
    con.register("lookup", read_rates())
    con.execute(
        """
        create or replace table events.exchange_rates as
        select Date::date as rate_date, currency, rate::decimal(18, 6) as units_per_eur
        from (unpivot lookup on columns(* exclude (Date))::double into name currency value rate)
        where Date::date between $since::date and $until::date
        order by all
        """,
        {"since": RATES_SINCE, "until": until},
    )
    con.unregister("lookup")


def _buckets(
    entries: tuple[names.Country, ...] | tuple[names.Store, ...], key: str
) -> Iterator[tuple[int, str]]:
    """Number as many buckets as the weights add up to, each with the key of its entry."""
    bucket = 0
    for entry in entries:
        for _ in range(entry.weight):
            yield bucket, getattr(entry, key)
            bucket += 1


def truth(con: duckdb.DuckDBPyConnection, *, date: dt.date) -> None:
    """Create schema `truth` as of `date`: products, parties, party_records, order_lines, page_views."""
    con.execute("set timezone = 'UTC'")
    con.execute("create schema if not exists truth")
    _run(con, "truth", {"$cutoff": f"timestamp '{cutoff(date)}'"})


def _run(con: duckdb.DuckDBPyConnection, part: str, values: dict[str, str]) -> None:
    """Execute `<part>.sql` of this folder, the values in place of their names."""
    sql = Path(__file__).with_name(f"{part}.sql").read_text(encoding="utf-8")
    for name, value in values.items():
        sql = sql.replace(name, value)
    con.execute(sql)
