-- name: where_and_order
select order_id, amount from orders where status = 'paid' and channel is not null order by amount desc;

-- name: count_star
select count(*) as n from orders;

-- name: count_star_filtered
select count(*) as n from orders where amount > 50;

-- name: count_filter
select count(*) filter (where status = 'paid') as paid, sum(amount) filter (where channel = 'web') as web_amount, count(channel) as with_channel from orders;

-- name: case_buckets
select case when amount < 50 then 'small' when amount < 200 then 'middle' else 'large' end as bucket, count(*) as n from orders group by bucket;

-- name: case_values
select order_id, case status when 'paid' then amount when 'cancelled' then -amount end as booked, if(channel = 'web', currency, status) as mixed from orders;

-- name: coalesce_nullif
select customer_id, coalesce(email, full_name) as contact, nullif(country, 'DE') as abroad, ifnull(referrer_id, 0) as referrer from customers;

-- name: group_by_all
select status, channel, sum(amount) as amount, max(ordered_at) as last_at from orders group by all;

-- name: group_by_alias_and_ordinal
select date_trunc('month', ordered_at) as month, currency, avg(amount) as mean_amount from orders group by month, 2 order by all;

-- name: having_alias
select customer_id, sum(amount) as total from orders group by customer_id having total > 100 and count(*) > 1;

-- name: having_without_group
select sum(amount) as total from orders having count(distinct customer_id) > 2;

-- name: having_of_hidden_column
select category, count(*) as n from products group by category having max(list_price) > 50;

-- name: rollup
select currency, status, sum(amount) as amount, grouping(currency) as is_total from orders group by rollup (currency, status);

-- name: cube
select currency, channel, count(*) as n from orders group by cube (currency, channel);

-- name: grouping_sets
select status, currency, sum(amount) as amount from orders group by grouping sets ((status), (currency), ());

-- name: lateral_aliases
select amount * 2 as doubled, doubled + 1 as more, more > 100 as is_big from orders where more > 50;

-- name: lateral_alias_hidden_by_column
select amount as customer_id, customer_id as amount, amount + 1 as next from orders;

-- name: alias_in_qualify
select customer_id, row_number() over (partition by customer_id order by ordered_at) as rn from orders qualify rn = 1;

-- name: order_by_limit
select full_name from customers order by signup_date desc, full_name limit 2;

-- name: order_by_alias_limit
select full_name, length(full_name) as size from customers order by size desc limit 2 offset 1;

-- name: order_by_hidden_column_limit
select -amount as amount from orders order by amount limit 3;

-- name: limit_of_ordered_subquery
select full_name from (select * from customers order by country, customer_id) limit 3;

-- name: limit_percent
select order_id from orders order by amount desc limit 30%;

-- name: distinct_rows
select distinct status, currency from orders;

-- name: distinct_on
select distinct on (customer_id) customer_id, city, updated_at from addresses order by customer_id, updated_at desc;

-- name: distinct_on_expression
select distinct on (upper(country)) full_name from customers order by upper(country), signup_date;

-- name: in_list_and_between
select order_id from orders where currency in ('EUR', 'SEK') and amount between 20 and 200 and not (channel = 'web');

-- name: in_subquery
select order_id, amount from orders where customer_id in (select customer_id from customers where country = 'DE');

-- name: not_in_subquery
select sku from products where sku not in (select sku from order_items where quantity > 1);

-- name: row_in_subquery
select full_name from customers where (customer_id, country) in (select customer_id, country from addresses where city <> 'Graz');

-- name: exists_correlated
select full_name from customers c where exists (select 1 from orders o where o.customer_id = c.customer_id and o.status = 'paid');

-- name: not_exists_correlated
select p.title from products p where not exists (select * from order_items i where i.sku = p.sku);

-- name: exists_as_column
select c.customer_id, exists (select 1 from orders o where o.customer_id = c.customer_id and o.amount > 100) as is_big from customers c;

-- name: in_subquery_as_column
select sku, sku in (select sku from order_items where unit_price < list_price) as is_sold from products;

-- name: scalar_subquery
select order_id, amount - (select avg(amount) from orders) as above_average from orders;

-- name: scalar_subquery_correlated
select c.full_name, (select sum(o.amount) from orders o where o.customer_id = c.customer_id) as total from customers c;

-- name: scalar_subquery_in_where
select order_id from orders o where amount = (select max(amount) from orders i where i.customer_id = o.customer_id);

-- name: comparison_with_all
select sku from products where list_price > all (select list_price from products where category = 'coffee');

-- name: comparison_with_any
select order_id from orders where amount = any (select amount from payments where method = 'card');

-- name: array_subquery
select c.full_name, array(select o.amount from orders o where o.customer_id = c.customer_id order by o.ordered_at) as amounts from customers c;

-- name: aggregates_with_order
select customer_id, string_agg(status, ',' order by ordered_at) as statuses, first(channel order by amount desc) as top_channel, list(distinct currency order by currency) as currencies from orders group by customer_id;

-- name: arg_max_and_quantiles
select currency, arg_max(order_id, amount) as biggest, min_by(channel, ordered_at) as first_channel, median(amount) as middle, quantile_cont(amount, 0.9) as p90, percentile_cont(0.25) within group (order by amount) as p25 from orders group by currency;

-- name: order_dependent_aggregates
select list(full_name) as names, first(country) as first_country, sum(customer_id) as total from (select * from customers order by signup_date desc);

-- name: boolean_columns
select sku, is_active and list_price > 10 as is_offered, is_active is not distinct from null as is_open from products;

-- name: statistics
select corr(quantity, unit_price) as r, stddev(quantity) as sd, mode(sku) as usual, approx_count_distinct(order_id) as orders from order_items;

-- name: union_all
select order_id as id, amount, 'order' as kind from orders union all select payment_id, amount, method from payments where status = 'captured';

-- name: union_distinct
select country from customers union select country from addresses;

-- name: union_by_name
select customer_id, full_name as label from customers union all by name select sku as label, list_price from products;

-- name: except_all
select sku from order_items except all select sku from products where category = 'coffee';

-- name: except_keys
select customer_id from orders except select customer_id from customers;

-- name: intersect_keys
select customer_id, country from customers intersect select customer_id, country from addresses;

-- name: union_then_intersect
select sku from products where category = 'machine' union select sku from order_items intersect select sku from products where is_active;

-- name: union_ordered_limited
(select full_name as name, signup_date as since from customers) union all (select title, date '2024-03-01' from products) order by since, name limit 4;

-- name: set_operation_in_cte
with known as (select customer_id from customers union select customer_id from addresses), unknown as (select customer_id from orders except select customer_id from known)
select o.order_id, o.amount from orders o join unknown using (customer_id);

-- name: values_list
select v.label, sum(o.amount) as amount from orders o join (values ('paid', 'done'), ('placed', 'open')) v(status, label) on v.status = o.status group by 1;

-- name: values_cte
with labels(status, label) as (values ('paid', 'done'), ('cancelled', 'gone')) select o.order_id, l.label from orders o join labels l using (status);

-- name: ordinal_group_of_expression
select upper(status), count(*) from orders group by 1;

-- name: distinct_of_aggregate
select distinct count(*) as n from orders group by customer_id;

-- name: count_distinct_pairs
select count(distinct (customer_id, currency)) as pairs, sum(distinct amount) as amounts from orders;

-- name: anti_join_in_where_with_or
select order_id from orders where status = 'placed' or (amount > 100 and customer_id not in (select referrer_id from customers where referrer_id is not null));

-- name: limit_from_a_subquery
select order_id from orders order by amount desc, order_id limit (select max(quantity) from order_items);

-- name: intersect_all
select country from customers intersect all select country from addresses;

-- name: correlated_within_correlated
select e.name, (select max(m.salary) from employees m where m.dept = e.dept and m.salary < (select max(salary) from employees x where x.dept = e.dept)) as second from employees e;

-- name: grouping_flags
select channel, status, grouping(channel, status) as g, sum(amount) as s from orders group by rollup (channel, status);

-- name: any_of_a_list
select doc_id from documents where 3 = any(scores);

-- name: greatest_struct
select max({'a': ordered_at, 'b': amount}).b as m, customer_id from orders group by customer_id;
