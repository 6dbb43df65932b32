{# A returned row is a currency in which the tills' receipt totals and the order lines differ, net of voided receipts. #}
with
    receipt_totals as (
        select currency, sum(total_cents) / 100.0 as amount
        from {{ source("stores", "sales") }}
        where voided_at is null
        group by currency
    ),

    mart_totals as (
        select currency, sum(amount) as amount
        from {{ ref("fct_order_lines") }}
        where channel = 'stores'
        group by currency
    )

select
    receipt_totals.currency as receipt_currency,
    mart_totals.currency as mart_currency,
    receipt_totals.amount as receipt_amount,
    mart_totals.amount as mart_amount
from receipt_totals
full outer join mart_totals on receipt_totals.currency = mart_totals.currency
where abs(coalesce(receipt_totals.amount, 0) - coalesce(mart_totals.amount, 0)) >= 0.005
