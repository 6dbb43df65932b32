-- name: running_total
select customer_id, order_id, sum(amount) over (partition by customer_id order by ordered_at) as running from orders;

-- name: named_windows
select order_id, sum(amount) over w as running, row_number() over (w order by amount desc) as position, count(*) over () as total
from orders window w as (partition by currency);

-- name: named_window_in_qualify
select order_id, amount from orders window w as (partition by currency order by amount desc) qualify rank() over w = 1;

-- name: qualify_on_hidden_total
select order_id from orders qualify sum(amount) over (partition by currency) > 400;

-- name: dedup_latest
select customer_id, city from addresses qualify row_number() over (partition by customer_id order by updated_at desc) = 1;

-- name: dedup_subquery
select event_id, path from (
    select event_id, page->>'$.path' as path, row_number() over (partition by event_id order by load_ms) as rn from page_views
) where rn = 1;

-- name: scd2_intervals
select customer_id, city, updated_at as valid_from,
    coalesce(lead(updated_at) over w, timestamp '9999-12-31') as valid_to, lead(updated_at) over w is null as is_current
from addresses window w as (partition by customer_id order by updated_at);

-- name: scd2_changes_only
with marked as (
    select *, city is distinct from lag(city) over (partition by customer_id order by updated_at) as is_change from addresses
)
select customer_id, city, updated_at from marked where is_change;

-- name: sessionisation
with marked as (
    select *, case when occurred_at - lag(occurred_at) over (partition by user_id order by occurred_at) <= interval 30 minute
        then 0 else 1 end as is_start
    from events
), numbered as (
    select *, sum(is_start) over (partition by user_id order by occurred_at rows unbounded preceding) as session_number from marked
)
select user_id, session_number, min(occurred_at) as started_at, count(*) as event_count, bool_or(kind = 'buy') as has_bought
from numbered group by all;

-- name: gaps_and_islands
with grouped as (
    select sensor, day, reading, day - (row_number() over (partition by sensor order by day))::int as island from readings
)
select sensor, min(day) as first_day, max(day) as last_day, count(*) as days, sum(reading) as total from grouped group by sensor, island;

-- name: moving_average
select sensor, day, avg(reading) over (partition by sensor order by day rows between 1 preceding and 1 following) as smooth from readings;

-- name: range_frame
select sensor, day, sum(reading) over (partition by sensor order by day range between interval 1 day preceding and current row exclude current row) as before from readings;

-- name: frame_from_a_column
select item_id, sum(unit_price) over (order by item_id rows between coalesce(abs(quantity), 0) preceding and current row) as recent from order_items;

-- name: frame_from_another_table
select item_id, count(*) over (order by item_id rows between (select max(year) - 2023 from budgets) preceding and current row) as recent from order_items;

-- name: first_and_last_value
select order_id, first_value(status) over w as first_status, last_value(amount) over w as last_amount, nth_value(channel, 2) over w as second_channel
from orders window w as (partition by customer_id order by ordered_at rows between unbounded preceding and unbounded following);

-- name: lag_with_default
select order_id, lag(amount, 1, 0.0) over (partition by currency order by ordered_at) as before, amount - before as change from orders;

-- name: fill_forward
select sensor, day, last_value(reading ignore nulls) over (partition by sensor order by day) as filled from readings;

-- name: ntile_and_percent
select order_id, ntile(3) over (order by amount) as third, percent_rank() over (order by amount) as rank, cume_dist() over (partition by currency order by amount) as share from orders;

-- name: share_of_total
select currency, amount, amount / sum(amount) over (partition by currency) as share, amount / sum(amount) over () as overall from orders;

-- name: filtered_window
select user_id, occurred_at, count(*) filter (where kind = 'view') over (partition by user_id order by occurred_at) as views from events;

-- name: window_over_aggregate
select date_trunc('month', ordered_at) as month, sum(amount) as amount, sum(sum(amount)) over (order by date_trunc('month', ordered_at)) as running
from orders group by 1;

-- name: rank_of_group
select status, count(*) as n, dense_rank() over (order by count(*) desc, status) as position from orders group by status;

-- name: window_without_order_on_ordered_input
select full_name, row_number() over () as position from (select * from customers order by country, signup_date);

-- name: top_n_per_group
select category, title, list_price from (
    select *, rank() over (partition by category order by list_price desc) as position from products
) where position <= 1;

-- name: funnel
with firsts as (
    select user_id, min(occurred_at) filter (where kind = 'view') as viewed_at, min(occurred_at) filter (where kind = 'cart') as carted_at,
        min(occurred_at) filter (where kind = 'buy') as bought_at
    from events group by user_id
)
select count(viewed_at) as viewed, count(*) filter (where carted_at > viewed_at) as carted, count(*) filter (where bought_at > carted_at) as bought from firsts;

-- name: retention
with cohort as (select user_id, min(occurred_at)::date as first_day from events group by 1),
activity as (select distinct user_id, occurred_at::date as day from events)
select c.first_day, a.day - c.first_day as age, count(distinct a.user_id) as users
from cohort c join activity a using (user_id) group by all;

-- name: new_and_returning
select ordered_at::date as day, count(*) filter (where number = 1) as new, count(*) filter (where number > 1) as returning
from (select *, row_number() over (partition by customer_id order by ordered_at, order_id) as number from orders) group by day;

-- name: first_touch
select customer_id, arg_min(channel, ordered_at) as first_channel, max(amount) as top from orders where status <> 'cancelled' group by customer_id;

-- name: days_between_orders
select customer_id, order_id, date_diff('day', lag(ordered_at) over (partition by customer_id order by ordered_at), ordered_at) as gap from orders;

-- name: qualify_with_aggregate
select customer_id, sum(amount) as total from orders group by customer_id qualify row_number() over (order by sum(amount) desc) <= 2;

-- name: nested_ctes_with_windows
with ranked as (select *, row_number() over (partition by customer_id order by amount desc, order_id) as rn from orders),
best as (select customer_id, order_id, amount from ranked where rn = 1),
spread as (select b.*, amount / max(amount) over () as relative from best b)
select c.full_name, s.order_id, s.relative from spread s join customers c using (customer_id);

-- name: pareto
with totals as (select sku, sum(quantity * unit_price) as revenue from order_items group by sku),
cumulated as (select *, sum(revenue) over (order by revenue desc, sku) / sum(revenue) over () as share from totals)
select sku, revenue, share <= 0.8 as is_top from cumulated;

-- name: limit_after_window
select order_id, rank() over (order by amount) as position from orders limit 3;

-- name: window_chained
select order_id, sum(amount) over (w rows between 1 preceding and current row) as s from orders window w as (partition by customer_id order by ordered_at);

-- name: window_frame_excludes_the_row
select order_id, sum(amount) over (order by ordered_at rows between unbounded preceding and unbounded following exclude current row) as s from orders;

-- name: window_ignore_nulls
select order_id, last_value(status ignore nulls) over (partition by customer_id order by ordered_at) as s from orders;

-- name: running_total_of_aggregates
select status, sum(sum(amount)) over (order by count(*)) as r from orders group by status;

-- name: frame_by_groups
select order_id, sum(amount) over (order by status groups between 1 preceding and current row) as around,
count(*) over w as peers from orders window w as (order by channel groups current row);
