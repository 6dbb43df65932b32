{# A returned row is a currency in which the shop's database and the order lines differ in items or in amount. #}
with
    orders as (
        select order_id, currency
        from {{ source("shop", "orders") }}
        where _deleted_at is null
    ),

    order_items as (
        select order_id, quantity * unit_price - discount_amount as amount
        from {{ source("shop", "order_items") }}
        where _deleted_at is null
    ),

    source_totals as (
        select
            orders.currency, count(*) as line_count, sum(order_items.amount) as amount
        from order_items
        inner join orders on order_items.order_id = orders.order_id
        group by orders.currency
    ),

    mart_totals as (
        select currency, count(*) as line_count, sum(amount) as amount
        from {{ ref("fct_order_lines") }}
        where channel = 'shop' and kind = 'sale'
        group by currency
    )

select
    source_totals.currency,
    source_totals.line_count as source_lines,
    mart_totals.line_count as mart_lines,
    source_totals.amount as source_amount,
    mart_totals.amount as mart_amount
from source_totals
full outer join mart_totals on source_totals.currency = mart_totals.currency
where
    source_totals.line_count is distinct from mart_totals.line_count
    or source_totals.amount is distinct from mart_totals.amount
