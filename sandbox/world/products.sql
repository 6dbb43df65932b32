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
