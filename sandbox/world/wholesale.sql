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
