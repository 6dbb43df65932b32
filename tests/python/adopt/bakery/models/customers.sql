with
    totals as (
        select customer_id, count(*) as orders, sum(amount) as lifetime_value, min(ordered_on) as first_order_on
        from {{ ref("orders") }}
        group by customer_id
    )

select
    customers.customer_id,
    customers.customer_name,
    customers.email,
    customers.town,
    coalesce(totals.orders, 0) as orders,
    totals.lifetime_value,
    totals.first_order_on
from {{ ref("stg_customers") }} as customers
left join totals on customers.customer_id = totals.customer_id
