-- name: star_join
select o.order_id, c.full_name, p.category, i.quantity * i.unit_price as line_amount
from order_items i
join orders o on o.order_id = i.order_id
left join customers c on c.customer_id = o.customer_id
left join products p on p.sku = i.sku;

-- name: star_join_aggregated
select p.category, c.country, sum(i.quantity * i.unit_price) as revenue, count(*) as line_count,
    count(distinct o.customer_id) as customer_count
from order_items i
join orders o using (order_id)
join customers c using (customer_id)
join products p using (sku)
where o.status <> 'cancelled'
group by p.category, c.country;

-- name: aggregate_before_joining
with item_totals as (
    select order_id, sum(quantity * unit_price) as items_amount, max(unit_price) as top_price from order_items group by 1
), paid as (
    select order_id, sum(amount) as paid_amount from payments where status = 'captured' group by all
)
select o.order_id, o.amount, t.items_amount, coalesce(p.paid_amount, 0) as paid_amount,
    o.amount - coalesce(p.paid_amount, 0) as open_amount
from orders o left join item_totals t using (order_id) left join paid p using (order_id);

-- name: left_join_using
select * from customers left join orders using (customer_id);

-- name: right_join_using_bare_key
select customer_id, full_name, amount from customers right join orders using (customer_id);

-- name: full_join_using
select customer_id, c.full_name, o.amount from customers c full join orders o using (customer_id);

-- name: full_join_on_coalesce
select coalesce(c.customer_id, o.customer_id) as customer_id, c.country, o.status
from customers c full outer join orders o on c.customer_id = o.customer_id and o.status = 'paid';

-- name: inner_join_using_keys_of_both
select c.customer_id as a, o.customer_id as b, customer_id from customers c join orders o using (customer_id);

-- name: natural_join
select * from (select order_id, amount from orders) natural join (select order_id, sku from order_items);

-- name: natural_left_join
select full_name, city
from (select customer_id, full_name from customers) natural left join (select customer_id, city from addresses);

-- name: semi_join
select * from customers semi join orders on customers.customer_id = orders.customer_id and orders.amount > 50;

-- name: semi_join_using
select full_name from customers semi join orders using (customer_id);

-- name: anti_join
select customer_id, full_name from customers anti join orders using (customer_id);

-- name: left_join_is_null
select c.full_name from customers c left join orders o on o.customer_id = c.customer_id where o.order_id is null;

-- name: cross_join_filter
select e.name, m.name as manager from employees e, employees m where e.manager_id = m.employee_id;

-- name: cross_join_of_totals
select o.order_id, o.amount / t.total as share
from orders o cross join (select sum(amount) as total from orders) t;

-- name: range_join
select o.order_id, a.city
from orders o
join (
    select customer_id, city, updated_at as valid_from,
        lead(updated_at) over (partition by customer_id order by updated_at) as valid_to
    from addresses
) a on a.customer_id = o.customer_id and o.ordered_at >= a.valid_from
    and (o.ordered_at < a.valid_to or a.valid_to is null);

-- name: asof_join
select o.order_id, o.amount, r.units_per_eur, round(o.amount / r.units_per_eur, 2) as amount_eur
from orders o asof join rates r on o.currency = r.currency and o.ordered_at >= r.rate_date;

-- name: asof_left_join
select o.order_id, r.rate_date, o.ordered_at::date - r.rate_date > 5 as is_stale
from orders o asof left join rates r on o.currency = r.currency and o.ordered_at::date >= r.rate_date;

-- name: asof_join_using
select * from (select sensor, day, reading from readings where sensor = 's1')
asof join (select sensor, day, reading as last_reading from readings where reading is not null) using (sensor, day);

-- name: positional_join
select a.full_name, b.sku from customers a positional join products b;

-- name: positional_join_of_ordered
select * from (select full_name from customers order by signup_date desc)
positional join (select sku from products order by list_price);

-- name: lateral_top_one
select c.full_name, last_order.order_id, last_order.amount
from customers c left join lateral (
    select o.order_id, o.amount from orders o where o.customer_id = c.customer_id order by o.ordered_at desc limit 1
) last_order on true;

-- name: lateral_implicit
select c.full_name, s.order_count, s.total
from customers c, (select count(*) as order_count, sum(amount) as total from orders o where o.customer_id = c.customer_id) s;

-- name: parenthesised_join
select o.order_id, j.title from orders o left join (order_items i join products p on p.sku = i.sku) as j
    on j.order_id = o.order_id;

-- name: parenthesised_join_unaliased
select o.order_id, p.title, i.quantity from orders o join (order_items i join products p using (sku)) on i.order_id = o.order_id;

-- name: three_using
select customer_id, sku, city from orders join order_items using (order_id) join addresses using (customer_id);

-- name: self_join_pairs
select a.sku as first, b.sku as second, count(*) as times
from order_items a join order_items b on a.order_id = b.order_id and a.sku < b.sku
group by 1, 2;

-- name: join_on_computed
select c.full_name, p.title from customers c join products p on length(c.full_name) % 2 = length(p.title) % 2 and p.is_active;

-- name: self_referencing_customers
select c.full_name, r.full_name as referrer, r.country is distinct from c.country as is_abroad
from customers c left join customers r on r.customer_id = c.referrer_id;

-- name: table_alias_columns
select x, y from customers as c(x, y) where x > 1;

-- name: qualified_names
select main.orders.order_id, orders.amount from main.orders where main.orders.status = 'paid';

-- name: lateral_correlated_agg
select c.customer_id, t.total from customers c, lateral (select sum(o.amount) as total from orders o where o.customer_id = c.customer_id and o.status = 'paid') t;

-- name: unnest_ordinality_lateral
select d.doc_id, u.tag, u.n from documents d, unnest(d.tags) with ordinality as u(tag, n);

-- name: join_of_values
select v.w, o.amount from orders o join (values ('paid', 1), ('open', 2)) as v(s, w) on v.s = o.status;

-- name: asof_using_filtered
select * from readings asof join (select sensor, day, reading as other from readings where reading > 1) using (sensor, day);

-- name: star_exclude_replace_of_a_join
select o.* exclude (amount) replace (upper(o.status) as status), p.amount as paid from orders o left join payments p using (order_id);
