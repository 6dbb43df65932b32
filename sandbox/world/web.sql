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
        '\1-\2-\3-\4-\5')
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
