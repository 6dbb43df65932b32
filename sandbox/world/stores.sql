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
