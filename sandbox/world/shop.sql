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
