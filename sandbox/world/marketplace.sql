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
