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
