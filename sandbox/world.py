"""The canonical world of AnyCompany: clean events in DuckDB, and the truth that tests compare marts with.

Every value is a function of (seed, entity, salt) by DuckDB's hash(), never of the date up to which the world is
generated, so a longer world begins with exactly the shorter one. `generate` fills schema `events`, `truth` fills
schema `truth`; the six systems are projections of `events` with dirt, each in its own module.

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

import duckdb
import pyarrow as pa

from sandbox import names

START = dt.date(2024, 10, 1)
FIRST_SIGN_UP = dt.date(
    2023, 10, 1
)  # people join a year before the first order, so that the first day looks like any


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
    _macros(con, seed)
    _lookups(con, until)
    steps = (_DAYS, _PRODUCTS, _PEOPLE, _SHOP, _STORES, _MARKET, _WHOLESALE, _WEB)
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
    for step in steps:
        for name, value in limits.items():
            step = step.replace(name, value)
        con.execute(step)
    for (table,) in con.execute("select table_name from duckdb_tables() where temporary").fetchall():
        con.execute(f"drop table temp.{table}")
    con.execute(
        "create table events.settings as select ?::bigint as seed, ?::double as scale, "
        "?::date as start_date, ?::date as until",
        [seed, scale, START, until],
    )


def _macros(con: duckdb.DuckDBPyConnection, seed: int) -> None:
    # hash() of several values only xors their hashes, so two salts of one id would be bound to each other;
    # hashing the result once more makes them independent.
    con.execute(f"""
        create or replace macro events.h(salt, id) as hash(hash({int(seed)}::bigint, salt, id::bigint));
        create or replace macro events.u(salt, id) as (events.h(salt, id) >> 11)::double / 9007199254740992.0;
        create or replace macro events.n(salt, id, k) as (events.h(salt, id) % k::ubigint)::bigint;
        create or replace macro events.pick(salt, id, words) as words[1 + events.n(salt, id, len(words))];
        create or replace macro events.fold(txt) as strip_accents(
            replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(
            replace(replace(txt, 'ä', 'ae'), 'ö', 'oe'), 'ü', 'ue'), 'ß', 'ss'), 'Ä', 'Ae'), 'Ö', 'Oe'), 'Ü', 'Ue'),
            'ø', 'oe'), 'Ø', 'Oe'), 'å', 'aa'), 'Å', 'Aa'), 'æ', 'ae'), 'Æ', 'Ae'), 'ł', 'l'), 'Ł', 'L'));
        create or replace macro events.fill(pattern, salt, id) as array_to_string(list_transform(
            string_split(pattern, ''), lambda c, i: case c
                when '#' then ((events.h(salt, id) >> (3 * i)) % 10)::text
                when '?' then 'ABCDEFGHJKLMNPRSTUVWXYZ'[1 + ((events.h(salt, id) >> (3 * i)) % 23)::int]
                else c end), '');
        create or replace macro events.seconds(salt, id, low, high) as
            to_seconds((low + events.n(salt, id, high - low))::bigint);
        -- most of a shop's orders come in the afternoon and evening, some at any hour
        create or replace macro events.clock(salt, id) as to_seconds(floor(case
            when events.u(salt || ' any', id) < 0.08 then events.u(salt, id) * 86400
            else 21600 + (events.u(salt, id) + events.u(salt || ' 2', id)) * 32100 end)::bigint);
        -- dirt that more than one system has: how people type the same thing
        create or replace macro events.typed_email(email, salt, id) as case
            when events.u(salt || ' email', id) < 0.03 then upper(email)
            when events.u(salt || ' email', id) < 0.06 then upper(email[1]) || email[2:]
            when events.u(salt || ' email', id) < 0.08 then email || ' '
            when events.u(salt || ' email', id) < 0.09 then ' ' || email
            else email end;
        create or replace macro events.calling_code(phone) as
            regexp_extract(phone, '^\\+(352|353|358|351|420|359|49|43|41|33|32|31|44|46|45|47|48|34|39|81|61|1)', 1);
        create or replace macro events.typed_phone(phone, salt, id) as case
            when events.u(salt || ' phone', id) < 0.45 then phone
            when events.u(salt || ' phone', id) < 0.60 then '00' || phone[2:]
            when events.u(salt || ' phone', id) < 0.78 then '+' || events.calling_code(phone) || ' '
                || regexp_replace(phone[2 + len(events.calling_code(phone)):], '(...)', '\\1 ', 'g')
            when events.u(salt || ' phone', id) < 0.92 then '+' || events.calling_code(phone) || '-'
                || phone[2 + len(events.calling_code(phone)):][1:3] || '-'
                || phone[2 + len(events.calling_code(phone)):][4:]
            when events.calling_code(phone) in ('49', '43', '41', '33', '32', '31', '44', '353', '46', '81', '61')
                then '0' || phone[2 + len(events.calling_code(phone)):][1:2] || '/'
                || phone[2 + len(events.calling_code(phone)):][3:]
            else phone end;
        create or replace macro events.typed_firm(name, salt, id) as case
            when events.u(salt || ' firm', id) < 0.55 then name
            when events.u(salt || ' firm', id) < 0.65 then upper(name)
            when events.u(salt || ' firm', id) < 0.75 then events.fold(name)
            else replace(replace(replace(replace(replace(replace(
                name, ' GmbH', ' G.m.b.H.'), ' Ltd', ' Limited'), ' S.A.', ' SA'), ' B.V.', ' BV'), ' AG', ' A.G.'),
                ' S.r.l.', ' SRL') end;
        create or replace macro events.typed_vat(vat_id, salt, id) as case
            when events.u(salt || ' vat', id) < 0.60 then vat_id
            when events.u(salt || ' vat', id) < 0.75 then vat_id[1:2] || ' ' || vat_id[3:]
            when events.u(salt || ' vat', id) < 0.85 then vat_id[1:2] || ' '
                || trim(regexp_replace(vat_id[3:], '(...)', '\\1 ', 'g'))
            when events.u(salt || ' vat', id) < 0.90 then lower(vat_id)
            else vat_id[3:] end;
        create or replace macro events.local_price(price, factor) as (case
            when factor = 1 then price::double
            when factor > 100 then round(price::double * factor / 10) * 10
            when factor > 4 then round(price::double * factor)
            else ceil(price::double * factor) - 0.05 end)::decimal(10, 2);
    """)


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


# Demand is kept in whole thousandths, so that its running sum is exact and a day's count (the difference of two
# rounded-down sums) is the same however long the world is. One day more than `until`: east of Greenwich it has begun.
_DAYS = """
create or replace temp table days as
with calendar as (
    select range::date as day, (range::date - $start)::bigint as number
    from range($first_sign_up, $until + interval 2 day, interval 1 day)
), demand as (
    select
        day, number,
        round(1000 * (1 + 0.55 * number / 730.0)
            * [1.02, 0.95, 0.97, 0.96, 0.94, 0.88, 0.84, 0.86, 0.97, 1.03, 1.28, 1.42][month(day)]
            * case when month(day) = 11 and day(day) between 23 and 30 then 1.5 else 1 end)::bigint as season
    from calendar
), weighted as (
    select
        *,
        (season * [105, 100, 100, 98, 95, 98, 110][isodow(day)])::bigint as online,
        (season * [88, 90, 95, 100, 120, 155, 60][isodow(day)])::bigint as street,
        case when isodow(day) < 6 then season * 100 else 0 end::bigint as office
    from demand
)
select
    *,
    sum(online) over (order by day)::bigint as online_sum,
    sum(street) over (order by day)::bigint as street_sum,
    sum(office) over (order by day)::bigint as office_sum
from weighted;

-- n things per 100,000 units of demand
create or replace temp macro arrivals(per_day, so_far, today) as
    (floor($scale * per_day * so_far / 100000.0) - floor($scale * per_day * (so_far - today) / 100000.0))::bigint;
"""

_PRODUCTS = """
create or replace temp table prices as
with changes as (
    select * from (values
        (null, date '2023-01-16', 1.0), ('coffee', date '2025-06-02', 1.05), ('machines', date '2026-03-02', 1.03),
        ('coffee', date '2026-10-12', 1.04)
    ) as t (category, day, factor)
), steps as (
    select
        p.product_id, p.category, p.price::double as price,
        greatest(c.day, coalesce(p.sold_from::date, c.day)) as valid_from,
        product(c.factor) over (partition by p.product_id order by c.day) as factor,
        row_number() over (partition by p.product_id, greatest(c.day, coalesce(p.sold_from::date, c.day))
            order by c.day desc) as newest
    from product_words as p join changes as c on c.category is null or c.category = p.category
)
select
    product_id, valid_from,
    (case when factor = 1.0 then price when category = 'coffee' then floor(price * factor) + 0.9
        else floor(price * factor / 10) * 10 + 9 end)::decimal(10, 2) as price,
    coalesce(lead(valid_from) over (partition by product_id order by valid_from), date '9999-12-31') as valid_to
from steps where newest = 1;

create or replace table events.product_versions as
with codes as (
    select *, '4099999' || lpad((product_id * 37)::text, 5, '0') as body from product_words
), coded as (
    select *, body || ((10 - list_sum(list_transform(string_split(body, ''),
        lambda c, i: c::int * case when i % 2 = 0 then 3 else 1 end)) % 10) % 10)::text as ean
    from codes
), versions as (
    select product_id, valid_from as day, price, true as is_active from prices
    union all
    select p.product_id, w.sold_to::date + 1, p.price, false
    from product_words as w join prices as p on p.product_id = w.product_id
        and w.sold_to::date + 1 > p.valid_from and w.sold_to::date + 1 <= p.valid_to
    where w.sold_to is not null
)
select
    v.product_id, row_number() over (partition by v.product_id order by v.day)::int as version,
    c.sku, c.ean, c.name, c.category, v.price as list_price_eur,
    v.is_active and not coalesce(v.day > c.sold_to::date, false) as is_active,
    v.day::timestamp + interval 4 hour as known_at
from versions as v join coded as c using (product_id)
where v.day::timestamp + interval 4 hour < $cutoff
order by 1, 2;

-- what a wish for a product gets on a day: itself, or its fallback while it is not on sale, at the price of the day
create or replace temp table offers as
with wishes as (
    select
        d.day, w.product_id as wish_id,
        if(d.day between coalesce(w.sold_from::date, d.day) and coalesce(w.sold_to::date, d.day), w.sku,
            w.fallback) as sku
    from days as d, product_words as w
)
select w.day, w.wish_id, p.product_id, p.sku, c.price
from wishes as w
join product_words as p using (sku)
join prices as c on c.product_id = p.product_id and w.day >= c.valid_from and w.day < c.valid_to;

create or replace temp table product_pick as
with weights as (
    select 'all year' as season, *, case when sku like 'COF-XMS%' then 2 else weight end as share from product_words
    union all
    select 'winter', *, case when sku like 'COF-XMS%' then 5 * weight
        when category = 'machines' then 2 * weight when sku like 'ACC-CUP%' then 2 * weight else weight end
    from product_words
), buckets as (select season, product_id, unnest(range(share)) as copy from weights)
select
    season, row_number() over (partition by season order by product_id, copy) - 1 as bucket,
    count(*) over (partition by season) as size, product_id
from buckets;
create or replace temp table season_days as
select d.day, z.season, z.size
from days as d
join (select distinct season, size from product_pick) as z on (z.season = 'winter') = (month(d.day) in (11, 12));

-- things(key, day, currency) -> the product and its price that day
create or replace temp macro bought(things) as table
with wished as (
    select t.key, t.day, t.currency, s.season, events.n('product', t.key, s.size) as bucket
    from query_table(things) as t join season_days as s using (day)
)
select w.key, o.product_id, o.sku, events.local_price(o.price, f.factor) as unit_price
from wished as w
join product_pick as p on p.season = w.season and p.bucket = w.bucket
join offers as o on o.day = w.day and o.wish_id = p.product_id
join price_factors as f on f.currency = w.currency;
"""

_PEOPLE = """
create or replace temp table people as
with arrivals as (
    select day, unnest(range(arrivals(21.5, online_sum, online))) as k from days
), persons as (
    select row_number() over (order by day, k) as party_id, 'person' as kind, day from arrivals
), firm_arrivals as (
    -- never fewer than a few firms, however small the world
    select day, unnest(range((floor(greatest($scale, 0.05) * 0.52 * online_sum / 100000.0)
        - floor(greatest($scale, 0.05) * 0.52 * (online_sum - online) / 100000.0))::bigint)) as k from days
), firms as (
    select 10000000 + row_number() over (order by day, k) as party_id, 'firm' as kind, day from firm_arrivals
), everybody as (
    select *, day::timestamp + events.clock('party', party_id) as known_at, events.u('systems', party_id) as s
    from (from persons union all from firms)
), joined as (
    select
        party_id, kind, known_at,
        case kind when 'person' then s < 0.67 else s < 0.67 end as in_shop,
        case kind when 'person' then s between 0.50 and 0.57 or s between 0.67 and 0.80 else false end as in_stores,
        case kind when 'person' then s between 0.56 and 0.67 or s >= 0.80 else false end as in_market,
        case kind when 'firm' then s >= 0.50 else false end as in_wholesale
    from everybody
), placed as (
    select j.*, case when in_stores then s.code end as store_id, case when in_stores then w.country_code
        else c.code end as country_code, case when in_stores and events.u('own city', party_id) < 0.85 then w.city
            end as city
    from joined as j
    join country_pick as c on c.bucket = events.n('country', j.party_id, $countries)
    join store_pick as s on s.bucket = events.n('home store', j.party_id, $home_stores)
    join store_words as w on w.store_id = s.code
)
select
    *,
    -- who is known to several systems meets one of them first and the others within months
    known_at + case when events.u('first system', party_id) < 0.5 or not (in_stores or in_market or in_wholesale)
        then interval 0 second else events.seconds('shop later', party_id, 3600, 200 * 86400) end as shop_at,
    known_at + case when events.u('first system', party_id) >= 0.5 or not in_shop
        then interval 0 second else events.seconds('other later', party_id, 3600, 200 * 86400) end as other_at
from placed;

create or replace temp table named as
with drawn as (
    select
        p.party_id, p.kind, p.known_at, p.country_code, p.city as store_city, w.vat, w.phones, w.phone_digits,
        events.pick('first', party_id, w.first_names) || case when events.u('second', party_id) < 0.06
            then ' ' || events.pick('second name', party_id, w.first_names) else '' end as first_name,
        events.pick('last', party_id, w.last_names) || case when events.u('double', party_id) < 0.05
            then '-' || events.pick('double name', party_id, w.last_names) else '' end as last_name,
        events.pick('trade', party_id, w.firm_words) as trade, events.pick('legal', party_id, w.legal_forms) as legal,
        w.streets, w.cities,
        case when events.u('phone', party_id) < case p.kind when 'firm' then 0.92 else 0.72 end then 1 end as phoned
    from people as p join country_words as w using (country_code)
), family as (
    -- now and then one household: name, address and phone of whoever came before in that country
    select
        *,
        kind = 'person' and events.u('family', party_id) < 0.0015
            and lag(kind) over arrival = 'person' as in_family,
        lag(last_name) over arrival as family_name,
        lag(party_id) over arrival as family_id,
        sum(phoned) over arrival - 1 as phone_rank
    from drawn
    window arrival as (partition by country_code order by known_at, party_id)
)
select
    party_id, kind, known_at, country_code, store_city, vat, first_name, streets, cities,
    if(in_family, family_name, last_name) as last_name, if(in_family, family_id, party_id) as home_id, in_family,
    trade, legal,
    case when phoned = 1 and phone_rank < len(phones) * 10 ** phone_digits then
        phones[1 + (phone_rank % len(phones))::bigint] || lpad((((phone_rank // len(phones)) * 7919 + 4711)
            % (10 ** phone_digits)::bigint)::bigint::text, phone_digits::int, '0') end as own_phone
from family;

create or replace temp table parties_all as
with written as (
    select
        n.*, coalesce(if(n.in_family, f.own_phone, n.own_phone), n.own_phone) as phone,
        case kind when 'person' then first_name || ' ' || last_name
            else case when events.u('firm order', party_id) < 0.6 then trade || ' ' || last_name
                else last_name || ' ' || trade end || ' ' || legal end as name,
        regexp_replace(lower(events.fold(first_name)), '[^a-z]', '', 'g') as f,
        regexp_replace(lower(events.fold(last_name)), '[^a-z]', '', 'g') as l,
        ['example.com', 'example.org', 'example.net'][1 + events.n('domain', party_id, 3)] as domain
    from (select *, from named) as n
    left join (select party_id as id, own_phone from named) as f on f.id = if(n.in_family, n.home_id, null)
), addressed as (
    select
        *,
        case when kind = 'firm' then ['office.', 'info.', 'kontakt.', 'orders.'][1 + events.n('mail', party_id, 4)]
                || regexp_replace(lower(events.fold(last_name || trade)), '[^a-z]', '', 'g')
            else [f || '.' || l, f[1] || '.' || l, f || l || (60 + events.n('born', party_id, 46) % 100)::text,
                l || '.' || f][1 + events.n('mail', party_id, 4)] end as local_part
    from written
)
select
    party_id, kind, first_name, last_name, name,
    local_part || case row_number() over (partition by local_part, domain order by kind desc, party_id)
        when 1 then '' else '_' || row_number() over (partition by local_part, domain order by kind desc,
            party_id)::text end
        || '@' || domain as email,
    phone,
    case when kind = 'firm' and vat <> '' and events.u('vat', party_id) < 0.97 then events.fill(vat, 'vat',
        party_id) end
        as vat_id,
    country_code, known_at, home_id, streets, cities, store_city
from addressed;

create or replace temp table addresses_all as
with versions as (
    select party_id, home_id * 2 + 1 as key, 1 as version, known_at, store_city, streets, cities from parties_all
    union all
    select party_id, party_id * 2 + 2, 2, known_at + events.seconds('moved', party_id, 30 * 86400, 900 * 86400), null,
        streets, cities
    from parties_all where kind = 'person' and events.u('moves', party_id) < 0.06
), placed as (
    select *, case when store_city is not null then list_filter(cities, lambda c: c.city = store_city)[1]
        else cities[1 + floor(events.u('city', key) ** 1.6 * len(cities))::bigint] end as place
    from versions
)
select
    party_id, version,
    replace(events.pick('street', key, streets), '#', (1 + floor(events.u('house', key) ** 2 * 140))::int::text)
        as street,
    events.fill(events.pick('postcode area', key, place.patterns), 'postcode', key) as postal_code,
    place.city as city, known_at,
    lead(known_at) over (partition by party_id order by version) as valid_to
from placed;

create or replace table events.parties as
select party_id, kind, first_name, last_name, name, email, phone, vat_id, country_code, known_at
from parties_all where known_at < $cutoff order by party_id;

create or replace table events.party_addresses as
select * from addresses_all where known_at < $cutoff order by party_id, version;
"""

_SHOP = """
create or replace table events.shop_customers as
select
    row_number() over (order by shop_at, party_id) as customer_id, party_id,
    events.u('opt in', party_id) < 0.4 as opt_in, events.u('shop phone', party_id) < 0.8 as has_phone,
    shop_at as known_at,
    case when events.u('opt change', party_id) < 0.08
        then shop_at + events.seconds('opt changed', party_id, 86400, 500 * 86400) end as opt_changed_at,
    case when events.u('leaves', party_id) < 0.01
        then shop_at + events.seconds('left', party_id, 30 * 86400, 600 * 86400) end as deleted_at
from people where in_shop and shop_at < $cutoff
order by 1;

create or replace temp table shop_crowd as
select d.day, (select count(*) from events.shop_customers) - coalesce(later.n, 0) as crowd
from days as d
left join lateral (select count(*) as n from events.shop_customers as c where c.known_at >= d.day::timestamp)
    as later on true
where d.day >= $start and d.day <= $until;

create or replace temp table shop_drafts as
with first_orders as (
    select -customer_id as key, customer_id, known_at + events.seconds('first order', customer_id, 120, 5400)
        as known_at
    from events.shop_customers where known_at >= $start and events.u('buys at once', customer_id) < 0.8
), draws as (
    select d.number * 1000000 + unnest(range(arrivals(50.0, online_sum, online))) as key, d.day, c.crowd
    from days as d join shop_crowd as c using (day)
), again as (
    -- heavy tail: one customer in 97 makes an eighth of the later orders, one in ten another 43 %
    select
        key, day,
        least(crowd, case
            when events.u('tier', key) < 0.12 then 1 + 97 * floor(events.u('who', key) * (crowd // 97))
            when events.u('tier', key) < 0.55 then 7 + 10 * floor(events.u('who', key) * (crowd // 10))
            else 1 + floor(events.u('who', key) * crowd) end)::bigint as customer_id
    from draws where crowd > 0
), orders as (
    from first_orders
    union all
    select key, customer_id, day::timestamp + events.clock('ordered', key) from again
)
select o.key, o.customer_id, o.known_at, c.party_id, p.kind, p.country_code as home
from orders as o
join events.shop_customers as c using (customer_id)
join events.parties as p using (party_id)
where o.known_at < $cutoff and o.known_at < coalesce(c.deleted_at, o.known_at + interval 1 day);

create or replace temp table shop_timed as
with sent as (
    -- a present sent abroad: the order's country is not the customer's
    select
        d.*, events.u('present', key) < 0.012 as is_present,
        case when events.u('present', key) < 0.012 then c.code else home end as shipping_country,
        ['card', 'card', 'card', 'card', 'paypal', 'paypal', 'paypal', 'prepayment', 'prepayment', 'klarna']
            [1 + events.n('method', key, 10)] as payment_method,
        events.u('purged', key) < 0.003 as is_purged, events.u('cancelled', key) < 0.04 as is_cancelled
    from shop_drafts as d
    join country_pick as c on c.bucket = events.n('present to', d.key, $countries)
), paid as (
    select
        *,
        case when is_cancelled and not is_purged then known_at + events.seconds('cancel', key, 3600, 40 * 3600) end
            as cancelled_at,
        case when is_purged then known_at + events.seconds('purge', key, 86400, 3 * 86400) end as purged_at,
        known_at + case payment_method when 'prepayment' then events.seconds('pay', key, 20000, 250000)
            else events.seconds('pay', key, 10, 300) end as pays_at
    from sent
), shipped as (
    select
        *,
        case when pays_at < coalesce(cancelled_at, purged_at, pays_at + interval 1 day) then pays_at end as paid_at,
        case when not is_cancelled and not is_purged then pays_at + events.seconds('ship', key, 8 * 3600,
            60 * 3600) end
            as shipped_at
    from paid
)
select
    s.*, row_number() over (order by s.known_at, s.key) + 100000 as order_id,
    s.shipped_at + events.seconds('deliver', key, 20 * 3600, 140 * 3600) as delivered_at,
    case when s.is_present then events.fill(w.cities[1].patterns[1], 'present postcode', key) else a.postal_code end
        as shipping_postal_code,
    w.currency
from shipped as s
join country_words as w on w.country_code = s.shipping_country
left join addresses_all as a
    on a.party_id = s.party_id and s.known_at >= a.known_at and s.known_at < coalesce(a.valid_to,
        timestamp '9999-12-31');

create or replace table events.shop_orders as
select
    order_id, customer_id, party_id, currency, shipping_country, shipping_postal_code, payment_method, known_at,
        paid_at,
    shipped_at, delivered_at, cancelled_at, purged_at
from shop_timed order by order_id;

create or replace temp table shop_draft_lines as
select
    key * 8 + unnest(range(1, 2 + least(4, floor(-ln(1 - events.u('lines', key)) * 1.35)::bigint))) as key,
    order_id, kind, known_at::date as day, known_at, currency, delivered_at
from shop_timed;

create or replace temp table shop_lines as
with priced as (
    select
        l.*, row_number() over (partition by order_id order by l.key)::int as line_number, b.product_id, b.sku,
            b.unit_price,
        case when b.sku like 'MAC%' then 1
            when l.kind = 'firm' then 2 + events.n('pieces', l.key, 11)
            else [1, 1, 1, 1, 1, 2, 2, 2, 3, 4][1 + events.n('pieces', l.key, 10)] end::int as quantity,
        case when events.u('discounted', l.key) < 0.16 then [5, 10, 10, 15, 20][1 + events.n('discount', l.key, 5)]
            else 0 end as discount_pct
    from shop_draft_lines as l join bought('shop_draft_lines') as b using (key)
)
select
    *, row_number() over (order by order_id, line_number) + 200000 as order_item_id,
    round((quantity * unit_price * discount_pct)::double / 100, if(currency = 'JPY', 0, 2))::decimal(10, 2)
        as discount_amount
from priced;

create or replace table events.shop_order_items as
select order_item_id, order_id, line_number, product_id, sku, quantity, unit_price, discount_amount, known_at
from shop_lines order by order_item_id;

create or replace table events.shop_refunds as
with returned as (
    select
        *, delivered_at + events.seconds('refunded', key, 160000, 1500000) as refunded_at,
        case when quantity > 1 and events.u('part', key) < 0.45 then 1 + events.n('kept', key, quantity - 1)
            else quantity end::int as pieces
    from shop_lines where delivered_at is not null and events.u('refund', key) < 0.045
)
select
    row_number() over (order by refunded_at, order_item_id) + 5000 as refund_id, order_id, order_item_id,
    pieces as quantity,
    case when pieces = quantity then quantity * unit_price - discount_amount
        else round((quantity * unit_price - discount_amount)::double * pieces / quantity, if(currency = 'JPY', 0, 2))
        end::decimal(12, 2) as amount,
    ['damaged', 'not as described', 'changed mind', 'changed mind', 'late delivery', 'wrong item']
        [1 + events.n('reason', key, 6)] as reason,
    refunded_at as known_at
from returned where refunded_at < $cutoff
order by 1;
"""

_STORES = """
create or replace table events.stores as
select
    store_id, 'AnyCompany ' || city as name, city, country_code, timezone, currency, next_currency,
    changes_on::timestamp + interval 3 hour as currency_changes_at, opened_on,
    greatest(opened_on, $first_sign_up)::timestamp + interval 5 hour - interval 30 day as known_at
from store_words
where greatest(opened_on, $first_sign_up)::timestamp + interval 5 hour - interval 30 day < $cutoff
order by store_id;

create or replace table events.store_members as
with joined as (
    select
        p.party_id, p.store_id,
        greatest(other_at, s.opened_on::timestamp + events.seconds('opening', party_id, 36000, 60 * 86400))
            as known_at
    from people as p join store_words as s using (store_id) where in_stores
)
select
    j.store_id || '-M' || lpad(row_number() over (partition by j.store_id order by j.known_at, j.party_id)::text,
        5, '0')
        as member_id,
    j.party_id, j.store_id,
    events.u('member mail', j.party_id) < 0.72 as has_email, events.u('member phone', j.party_id) < 0.65 as has_phone,
    a.postal_code, j.known_at,
    case when events.u('member phone', j.party_id) between 0.65 and 0.75
        then j.known_at + events.seconds('phone added', j.party_id, 86400, 500 * 86400) end as phone_added_at
from joined as j
join addresses_all as a
    on a.party_id = j.party_id and j.known_at >= a.known_at and j.known_at < coalesce(a.valid_to,
        timestamp '9999-12-31')
where j.known_at < $cutoff
order by member_id;

create or replace temp table store_crowd as
select s.store_id, s.day, coalesce(sum(m.n) over (partition by s.store_id order by s.day), 0)::bigint as crowd
from (select store_id, day from store_words, days) as s
left join (
    select store_id, greatest(known_at::date + 2, $first_sign_up) as day, count(*) as n
    from events.store_members group by all
) as m using (store_id, day);

create or replace temp table store_drafts as
with shares as (
    select s.*, d.day, d.number,
        case when d.day < greatest(opened_on, $start) or (isodow(d.day) = 7 and country_code in ('DE', 'AT',
            'CH')) then 0
            else street * weight end as share
    from store_words as s, days as d
), sums as (
    select *, sum(share) over (partition by store_id order by day)::bigint as share_sum from shares
), draws as (
    select
        s.* exclude (currency, next_currency),
        (s.number * 100 + row_number() over (partition by day order by store_id)) * 10000 as base,
        case when changes_on is not null and day >= changes_on::date then next_currency else currency end as currency,
        -- each store has a phase of its own; without it, the stores of a small world would all sell on the same days
        (floor($scale * 0.335 * share_sum / 100000.0 + events.u('phase', unicode(store_id) * 256 + unicode(city[2])))
            - floor($scale * 0.335 * (share_sum - share) / 100000.0
                + events.u('phase', unicode(store_id) * 256 + unicode(city[2]))))::bigint as n
    from sums as s
), sales as (
    select base + unnest(range(n)) as key, store_id, day, timezone, currency from draws where n > 0
), timed as (
    select
        s.*, c.crowd,
        day::timestamp + to_seconds(32400 + floor((events.u('till', key) + events.u('till 2', key)) * 19500)::bigint)
            as sold_at
    from sales as s join store_crowd as c using (store_id, day)
), known as (
    select
        *, timezone('UTC', timezone(timezone, sold_at))
            + case when events.u('offline', key) < 0.004 then events.seconds('offline for', key, 3600, 2 * 86400)
                else events.seconds('online', key, 5, 90) end as known_at,
        case when events.u('member', key) < 0.42 and crowd > 0
            then 1 + floor(events.u('which member', key) ** 1.7 * crowd)::bigint end as member_number,
        case when events.u('void', key) < 0.008 then sold_at + events.seconds('void', key, 60, 5400)
            when events.u('void', key) < 0.018 then day::timestamp + to_days((1 + events.n('void day', key, 6))::int)
                + events.seconds('void', key, 32400, 68400) end as voided_at
    from timed
)
select
    *, store_id || '-' || lpad(row_number() over (partition by store_id order by sold_at, key)::text, 6, '0')
        as sale_id,
    store_id || '-M' || lpad(member_number::text, 5, '0') as member_id,
    greatest(timezone('UTC', timezone(timezone, voided_at)) + events.seconds('void known', key, 5, 60),
        known_at + interval 1 minute) as voided_utc
from known;

create or replace temp table store_draft_lines as
select
    key * 8 + unnest(range(1, 2 + least(4, floor(-ln(1 - events.u('lines', key)) * 1.1)::bigint))) as key,
    sale_id, member_id, day, known_at, currency
from store_drafts;

create or replace table events.store_sale_lines as
with priced as (
    select
        l.*, b.product_id, b.sku, (b.unit_price * 100)::bigint as unit_price_cents,
        row_number() over (partition by l.sale_id order by l.key)::int as line_number,
        case when b.sku like 'MAC%' then 1 else [1, 1, 1, 1, 1, 1, 2, 2, 3, 3][1 + events.n('pieces', l.key,
            10)] end::int
            as quantity,
        case when events.u('discounted', l.key) < if(l.member_id is null, 0.04, 0.25)
            then [5, 10, 10, 20][1 + events.n('discount', l.key, 4)] else 0 end as discount_pct
    from store_draft_lines as l join bought('store_draft_lines') as b using (key)
)
select
    row_number() over (order by p.known_at, p.sale_id, p.line_number) as line_id, p.sale_id, p.line_number,
        p.product_id,
    p.sku, e.ean, p.quantity, p.unit_price_cents,
    case when p.currency = 'JPY' then (p.quantity * p.unit_price_cents * p.discount_pct // 10000) * 100
        else p.quantity * p.unit_price_cents * p.discount_pct // 100 end::bigint as discount_cents,
    p.known_at
from priced as p
join (select distinct product_id, ean from events.product_versions) as e using (product_id)
where p.known_at < $cutoff
order by line_id;

create or replace table events.store_sales as
select
    s.sale_id, s.store_id, m.member_id, m.party_id, s.sold_at, s.currency, t.total_cents, s.voided_at, s.known_at,
    case when s.voided_at is not null then s.voided_utc end as void_known_at
from store_drafts as s
join (
    select sale_id, sum(quantity * unit_price_cents - discount_cents)::bigint as total_cents
    from events.store_sale_lines group by sale_id
) as t using (sale_id)
left join events.store_members as m using (member_id)
where s.known_at < $cutoff
order by s.sale_id;
"""

_MARKET = """
create or replace temp table market_all as
select
    row_number() over (order by other_at, party_id) as number, party_id, other_at as known_at,
    'A' || upper(md5('buyer ' || events.h('buyer', party_id)::text)[1:13]) as buyer_id
from people where in_market and other_at < $cutoff;

create or replace table events.market_buyers as
select buyer_id, party_id, known_at from market_all order by number;

create or replace temp table market_orders as
with crowd as (
    select d.*, (select count(*) from market_all as m where m.known_at < d.day::timestamp) as crowd
    from days as d where d.day >= $start and d.day <= $until
), draws as (
    select number * 1000000 + unnest(range(arrivals(7.6, online_sum, online))) as key, day, crowd from crowd
), orders as (
    select -number as key, number, known_at + interval 5 minute as ordered_at
    from market_all where known_at >= $start and events.u('market first', number) < 0.95
    union all
    select key, 1 + floor(events.u('market buyer', key) ** 1.5 * crowd)::bigint,
        day::timestamp + events.clock('market ordered', key)
    from draws where crowd > 0
)
select
    o.key, o.ordered_at, o.ordered_at::date as day, m.buyer_id, m.party_id, p.name as buyer_name, p.country_code,
    a.postal_code, a.city, w.currency,
    (300 + row_number() over (order by ordered_at, key) % 7)::text
        || '-' || lpad(((row_number() over (order by ordered_at, key) * 48271) % 10000000)::text, 7, '0')
        || '-' || lpad(events.n('market order', o.key, 10000000)::text, 7, '0') as order_id
from orders as o
join market_all as m using (number)
join events.parties as p using (party_id)
join country_words as w using (country_code)
join addresses_all as a on a.party_id = m.party_id
    and o.ordered_at >= a.known_at and o.ordered_at < coalesce(a.valid_to, timestamp '9999-12-31')
where o.ordered_at < $cutoff;

create or replace temp table market_draft_lines as
select key * 8 + unnest(range(1, 2 + least(3, floor(-ln(1 - events.u('lines', key)) * 0.7)::bigint))) as key, key
    as order_key,
    day, currency
from market_orders;

create or replace temp table market_posted as
with priced as (
    select
        l.key, l.order_key, b.sku, b.unit_price,
        row_number() over (partition by l.order_key order by l.key)::int as line,
        case when b.sku like 'MAC%' then 1 else [1, 1, 1, 1, 1, 2, 2, 3][1 + events.n('pieces', l.key,
            8)] end::int as pieces
    from market_draft_lines as l join bought('market_draft_lines') as b using (key)
), ordered as (
    select *, events.u('market cancelled', order_key) < 0.05 as is_cancelled,
        o.day + 1 as order_posted
    from priced as p join market_orders as o on o.key = p.order_key
), posted as (
    select *, 'Order' as type, 1 as sign, order_posted as posted_date, p.key * 4 as posting from ordered as p
    union all
    select *, 'Cancellation', -1, order_posted + events.n('market cancel', order_key, 5)::int, p.key * 4 + 1
    from ordered as p where is_cancelled
    union all
    select *, 'Refund', -1, order_posted + 5 + events.n('market refunded', p.key, 24)::int, p.key * 4 + 2
    from ordered as p where not is_cancelled and events.u('market refund', p.key) < 0.06
)
select *, posted_date + case when events.u('settled late', posting) < 0.03
    then 1 + events.n('settled', posting, 2) else 0 end::int as settlement_date
from posted;

create or replace temp table market_revisions as
select
    day as settlement_date, case when events.u('file format', number) < 0.08 then 'xlsx' else 'csv' end as format,
    case when events.u('file format', number) >= 0.08 and events.u('revised', number) < 0.05 then 'corrected'
        when events.u('revised', number) between 0.05 and 0.09 then 'resent' end as revised,
    day::timestamp + interval 1 day + events.seconds('published', number, 19800, 23400) as known_at,
    number
from days where day >= $start;

create or replace table events.market_lines as
with noted as (
    select p.*, r.revised is not null as has_revision, events.u('wrong at first', posting) as wrong
    from market_posted as p join market_revisions as r using (settlement_date)
), variants as (
    select *, case when has_revision and wrong < 0.16 then 1 else 0 end as first_revision, null::int as last_revision,
        unit_price as price
    from noted
    union all
    -- the first version of the file had it wrong; of the rest below 0.16 it had nothing
    select *, 0, 0, (ceil(unit_price * 0.9) - 0.05)::decimal(10, 2) from noted where has_revision and wrong < 0.1
)
select
    settlement_date, order_id, line, type, posted_date, sku, (sign * pieces)::int as quantity, price as unit_price,
    (sign * pieces * price)::decimal(12, 2) as amount, currency, buyer_id, party_id, buyer_name,
    postal_code as ship_postcode, city as ship_city, country_code as ship_country, first_revision, last_revision
from variants
where settlement_date < $until
order by settlement_date, order_id, line, type, first_revision;

create or replace table events.market_files as
with revisions as (
    select settlement_date, 0 as revision, 'original' as kind, format, known_at from market_revisions
    union all
    select settlement_date, 1, revised, format, known_at + to_days((1 + events.n('revised after', number, 4))::int)
    from market_revisions where revised is not null
)
select * from revisions
where known_at < $cutoff and settlement_date in (select settlement_date from events.market_lines)
order by settlement_date, revision;
"""

_WHOLESALE = """
create or replace table events.wholesale_accounts as
select
    md5('account ' || events.h('account', party_id)::text)[1:15] as account_id,
    'W' || lpad((1000 + row_number() over (order by other_at, party_id))::text, 6, '0') as account_number,
    party_id, w.currency, other_at as known_at
from people join country_words as w using (country_code)
where in_wholesale and other_at < $cutoff
order by account_number;

create or replace temp table wholesale_drafts as
with crowd as (
    select d.*, (select count(*) from events.wholesale_accounts as m where m.known_at < d.day::timestamp) as crowd
    from days as d where d.day >= $start and d.day <= $until
), draws as (
    select number * 10000 + unnest(range(arrivals(4.35, office_sum, office))) as key, day, crowd from crowd
), picked as (
    select key, day, day::timestamp + events.seconds('invoiced', key, 28800, 61200) as known_at,
        1000 + 1 + floor(events.u('wholesale account', key) ** 1.6 * crowd)::bigint as account
    from draws where crowd > 0
)
select
    p.key, p.day, p.known_at, a.account_id, a.party_id, a.currency,
    'INV-' || year(p.day) || '-' || lpad(row_number() over (partition by year(p.day) order by p.known_at,
        p.key)::text, 5, '0')
        as number,
    case when events.u('void', key) < 0.025 then p.day + 1 + events.n('void day', key, 20)::int end as voided_on,
    case when events.u('credit', key) < 0.06 and events.u('void', key) >= 0.025
        then p.day + 5 + events.n('credit day', key, 20)::int end as credited_on
from picked as p join events.wholesale_accounts as a on a.account_number = 'W' || lpad(p.account::text, 6, '0');

create or replace temp table wholesale_draft_lines as
select key * 8 + unnest(range(1, 2 + events.n('wholesale lines', key, 6))) as key, key as invoice_key, day, currency,
    credited_on
from wholesale_drafts;

create or replace temp table wholesale_priced as
select
    l.key, l.invoice_key, l.credited_on, row_number() over (partition by l.invoice_key order by l.key)::int
        as line, b.sku,
    case when b.sku like 'MAC%' then 1 + events.n('machines', l.key, 4) else 6 * (1 + events.n('boxes', l.key,
        12)) end::int
        as quantity,
    (b.unit_price::double * 0.8)::decimal(10, 2) as unit_price,
    [0, 0, 0, 5, 5, 7.5, 10, 12.5][1 + events.n('rebate', l.key, 8)]::decimal(5, 2) as discount_pct
from wholesale_draft_lines as l join bought('wholesale_draft_lines') as b using (key);

create or replace temp table wholesale_documents as
select
    key, md5('invoice ' || events.h('invoice', key)::text)[1:15] as invoice_id, number, account_id, party_id,
    'invoice' as document_type, '' as credits, day as issued_on, currency, known_at,
    case when voided_on is null and events.u('pays', key) < 0.95
        then known_at + events.seconds('paid', key, 7 * 86400, 45 * 86400) end as paid_at,
    voided_on, voided_on::timestamp + events.seconds('voided', key, 32400, 61200) as void_known_at
from wholesale_drafts
union all
select
    key, md5('credit ' || events.h('credit', key)::text)[1:15],
    'CN-' || year(credited_on) || '-' || lpad(row_number() over (partition by year(credited_on)
        order by credited_on, key)::text, 4, '0'),
    account_id, party_id, 'credit_note', number, credited_on, currency,
    credited_on::timestamp + events.seconds('credited', key, 28800, 61200),
    credited_on::timestamp + events.seconds('settled', key, 100000, 400000), null, null
from wholesale_drafts where credited_on is not null;

create or replace table events.wholesale_invoices as
select * exclude (key) from wholesale_documents where known_at < $cutoff order by known_at, invoice_id;

create or replace table events.wholesale_lines as
select d.invoice_id, l.line, l.sku, l.quantity, l.unit_price, l.discount_pct
from wholesale_documents as d join wholesale_priced as l on l.invoice_key = d.key
where d.document_type = 'invoice' and d.known_at < $cutoff
union all
select d.invoice_id, row_number() over (partition by d.invoice_id order by l.line)::int, l.sku,
    (1 + events.n('credited pieces', l.key, l.quantity))::int, l.unit_price, l.discount_pct
from wholesale_documents as d join wholesale_priced as l on l.invoice_key = d.key
where d.document_type = 'credit_note' and d.known_at < $cutoff
    and (l.line = 1 or events.u('credited line', l.key) < 0.4)
order by 1, 2;
"""

_WEB = """
create or replace temp table sessions as
with draws as (
    select d.number * 1000000 + unnest(range(arrivals(28.0, online_sum, online))) as key, d.day, c.crowd,
        (200 + d.number * 12 * $scale)::bigint as visitors
    from days as d join shop_crowd as c using (day)
)
select
    s.key, s.day::timestamp + events.clock('session', s.key) as started_at, s.day,
    1 + floor(events.u('visitor', s.key) ** 1.5 * visitors)::bigint as visitor,
    case when events.u('signed in', s.key) < 0.3 and crowd > 0
        then 1 + floor(events.u('web customer', s.key) * crowd)::bigint end as customer_id,
    c.code as country_code,
    ['desktop', 'desktop', 'desktop', 'desktop', 'mobile', 'mobile', 'mobile', 'mobile', 'mobile', 'tablet']
        [1 + events.n('device', s.key, 10)] as device_type,
    least(11, floor(-ln(1 - events.u('pages', s.key)) * 3.3)::bigint) as more_pages
from draws as s
join country_pick as c on c.bucket = events.n('web country', s.key, $countries);

create or replace temp table web_products as
select row_number() over (order by product_id) - 1 as number, sku, name
from product_words where sold_from is null and sold_to is null;

create or replace table events.page_views as
with pages as (
    select key * 16 + unnest(range(more_pages + 1)) as key, * exclude (key), key as session_key from sessions
), grouped as (
    select
        *, key & 15 as step,
        case when key & 15 = 0
            then ['home', 'home', 'home', 'home', 'category', 'category', 'product', 'product', 'product', 'support']
            else ['home', 'category', 'category', 'product', 'product', 'product', 'product', 'product', 'checkout',
                'support'] end[1 + events.n('group', key, 10)] as page_group
    from pages
), placed as (
    select
        g.*,
        started_at + to_seconds((step * 45 + events.n('read', key, 40))::bigint)
            + to_milliseconds(events.n('read ms', key, 1000)) as occurred_at,
        case page_group
            when 'home' then '/'
            when 'category' then ['/c/machines', '/c/coffee', '/c/accessories'][1 + events.n('path', key, 3)]
            when 'product' then '/products/' || lower(p.sku)
            when 'checkout' then ['/checkout/cart', '/checkout/address', '/checkout/payment'][1 + events.n('path',
                key, 3)]
            else ['/support', '/support/descaling', '/support/returns', '/support/warranty'][1 + events.n('path',
                key, 4)]
            end as path,
        case page_group when 'product' then p.name
            when 'home' then 'AnyCompany' else upper(page_group[1]) || page_group[2:] end as title
    from grouped as g
    join web_products as p on p.number = events.n('web product', g.key, $web_products)
), timed as (
    -- heavy right tail; slower product pages in February and March 2026, everything faster from April on
    select
        *,
        map {'home': 900.0, 'category': 1100.0, 'product': 1250.0, 'checkout': 800.0, 'support': 700.0}[page_group]
            * map {'desktop': 1.0, 'tablet': 1.2, 'mobile': 1.4}[device_type]
            * case when occurred_at >= timestamp '2026-04-01' then 0.85
                when occurred_at >= timestamp '2026-02-01' and page_group = 'product' then 1.3 else 1.0 end
            * exp(0.45 * sqrt(-2 * ln(1 - events.u('slow', key))) * cos(6.283185307179586 * events.u('slow 2', key)))
            as load
    from placed
), published as (
    select
        *, occurred_at + case when events.u('late', key) < 0.02
            then events.seconds('late by', key, 600, 3 * 86400) else to_milliseconds(100 + events.n('lag', key,
                1900)) end
            as known_at
    from timed
)
select
    regexp_replace(md5('event ' || events.h('event', key)::text), '(.{8})(.{4})(.{4})(.{4})(.{12})',
        '\\1-\\2-\\3-\\4-\\5')
        as event_id,
    's' || md5('session ' || events.h('session', session_key)::text)[1:16] as session_id,
    'v' || md5('visitor ' || events.h('visitor', visitor)::text)[1:16] as visitor_id,
    customer_id, path, page_group, title,
    case when step = 0 and events.u('referred', session_key) < 0.5
        then ['https://search.example.com/', 'https://news.example.org/', 'https://blog.example.net/coffee']
            [1 + events.n('referrer', session_key, 3)] end as referrer,
    round(load, 1) as load_ms, round(load * (0.1 + 0.2 * events.u('ttfb', key)), 1) as ttfb_ms,
    round(load * (0.5 + 0.4 * events.u('dom', key)), 1) as dom_ms,
    device_type,
    case device_type when 'desktop' then ['Windows', 'Windows', 'macOS', 'Linux'] else ['iOS', 'Android',
        'Android', 'iOS']
        end[1 + events.n('os', visitor, 4)] as os,
    ['Chrome', 'Chrome', 'Safari', 'Firefox', 'Edge'][1 + events.n('browser', visitor, 5)] as browser,
    country_code, occurred_at, known_at,
    case when events.u('twice', key) < 0.01 then known_at + events.seconds('twice after', key, 1, 5400) end
        as duplicate_at
from published where known_at < $cutoff
order by known_at, event_id;
"""


def truth(con: duckdb.DuckDBPyConnection, *, date: dt.date) -> None:
    """Create schema `truth` as of `date`: products, parties, party_records, order_lines, page_views."""
    con.execute("set timezone = 'UTC'")
    con.execute("create schema if not exists truth")
    con.execute(_TRUTH.replace("$cutoff", f"timestamp '{cutoff(date)}'"))


_TRUTH = """
create or replace table truth.products as
select sku, ean, name, category, list_price_eur from events.product_versions where known_at < $cutoff
qualify row_number() over (partition by product_id order by version desc) = 1
order by sku;

create or replace temp table market_current as
with files as (
    select settlement_date, max(revision) as revision from events.market_files where known_at < $cutoff group by all
)
select l.* from events.market_lines as l join files as f using (settlement_date)
where l.first_revision <= f.revision and f.revision <= coalesce(l.last_revision, f.revision);

create or replace table truth.party_records as
select 'shop' as system, customer_id::text as record_id, party_id from events.shop_customers where known_at < $cutoff
union all
select 'stores', member_id, party_id from events.store_members where known_at < $cutoff
union all
select distinct 'marketplace', buyer_id, party_id from market_current
union all
select 'wholesale', account_id, party_id from events.wholesale_accounts where known_at < $cutoff
order by all;

create or replace table truth.parties as
select p.party_id, p.kind, p.name, p.email, p.phone, p.vat_id, p.country_code, a.postal_code, a.city, a.street
from events.parties as p
join events.party_addresses as a using (party_id)
where p.party_id in (select party_id from truth.party_records)
    and a.known_at < $cutoff and coalesce(a.valid_to >= $cutoff, true)
order by p.party_id;

create or replace temp table true_lines as
with shop as (
    select o.*, i.* exclude (order_id, known_at), i.quantity * i.unit_price - i.discount_amount as amount
    from events.shop_orders as o join events.shop_order_items as i using (order_id)
    where o.known_at < $cutoff and coalesce(o.purged_at >= $cutoff, true)
), stores as (
    select
        s.*, l.line_number, l.sku, l.quantity, t.country_code,
        ((l.quantity * l.unit_price_cents - l.discount_cents)::decimal(18, 0) * 0.01)::decimal(18, 2) as amount
    from events.store_sales as s
    join events.store_sale_lines as l using (sale_id)
    join events.stores as t using (store_id)
    where s.known_at < $cutoff
), wholesale as (
    select
        i.*, l.line, l.sku, p.country_code, if(i.document_type = 'credit_note', -1, 1) * l.quantity as quantity,
        if(i.document_type = 'credit_note', -1, 1)
            * round((l.quantity * l.unit_price * (100 - l.discount_pct) * 0.01)::decimal(18, 6), 2)::decimal(18,
                2) as amount
    from events.wholesale_invoices as i
    join events.wholesale_lines as l using (invoice_id)
    join events.parties as p using (party_id)
    where i.known_at < $cutoff
)
select
    'shop' as channel, order_id::text as order_id, line_number, 'sale' as kind, sku, quantity, currency,
    amount::decimal(18, 2) as amount, known_at::date as business_date, shipping_country as country_code, party_id
from shop
union all
select 'shop', order_id::text, line_number, 'cancellation', sku, -quantity, currency, -amount, cancelled_at::date,
    shipping_country, party_id
from shop where cancelled_at < $cutoff
union all
select 'shop', s.order_id::text, s.line_number, 'return', s.sku, -r.quantity, s.currency, -r.amount, r.known_at::date,
    s.shipping_country, s.party_id
from shop as s join events.shop_refunds as r using (order_item_id) where r.known_at < $cutoff
union all
select 'stores', sale_id, line_number, 'sale', sku, quantity, currency, amount, sold_at::date, country_code, party_id
from stores
union all
select 'stores', sale_id, line_number, 'cancellation', sku, -quantity, currency, -amount, voided_at::date,
    country_code,
    party_id
from stores where void_known_at < $cutoff
union all
select 'marketplace', order_id, line, map {'Order': 'sale', 'Refund': 'return',
    'Cancellation': 'cancellation'}[type], sku,
    quantity, currency, amount, posted_date, ship_country, party_id
from market_current
union all
select 'wholesale', number, line, if(document_type = 'credit_note', 'return', 'sale'), sku, quantity, currency,
    amount,
    issued_on, country_code, party_id
from wholesale
union all
select 'wholesale', number, line, 'cancellation', sku, -quantity, currency, -amount, voided_on, country_code, party_id
from wholesale where void_known_at < $cutoff;

create or replace table truth.order_lines as
select
    l.channel, l.order_id, l.line_number, l.kind, l.sku, l.quantity, l.currency, l.amount, l.business_date,
        l.country_code,
    c.region, l.party_id,
    case when l.currency = 'EUR' then l.business_date else r.rate_date end as rate_date,
    case when l.currency = 'EUR' then l.amount
        else round(l.amount::double / r.units_per_eur::double, 2)::decimal(18, 2) end as amount_eur
from true_lines as l
join events.countries as c using (country_code)
asof left join events.exchange_rates as r on r.currency = l.currency and l.business_date >= r.rate_date
order by 1, 2, 3, 4;

create or replace table truth.page_views as
select event_id, page_group, path, load_ms, occurred_at from events.page_views where known_at < $cutoff
order by occurred_at, event_id;

drop table market_current;
drop table true_lines;
"""
