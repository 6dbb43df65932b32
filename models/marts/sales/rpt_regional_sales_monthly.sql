{# one row per month, region and channel with any booking #}
with
    order_lines as (select * from {{ ref("fct_order_lines") }}),

    monthly as (
        select
            cast(date_trunc('month', business_date) as date) as month_date,
            region,
            channel,
            cast(
                count(distinct case when kind = 'sale' then order_id end) as bigint
            ) as order_count,
            cast(count(*) as bigint) as line_count,
            cast(
                count(*) filter (where kind = 'return') as bigint
            ) as return_line_count,
            cast(
                count(*) filter (where is_rate_stale) as bigint
            ) as stale_rate_line_count,
            cast(sum(quantity) as bigint) as net_quantity,
            cast(
                sum(case when kind = 'sale' then amount_eur else 0 end) as decimal(
                    18, 2
                )
            ) as gross_sales_eur,
            cast(
                sum(case when kind = 'return' then amount_eur else 0 end) as decimal(
                    18, 2
                )
            ) as returns_eur,
            cast(
                sum(
                    case when kind = 'cancellation' then amount_eur else 0 end
                ) as decimal(18, 2)
            ) as cancellations_eur,
            cast(sum(amount_eur) as decimal(18, 2)) as net_sales_eur
        from order_lines
        group by 1, 2, 3
    )

select *
from monthly
