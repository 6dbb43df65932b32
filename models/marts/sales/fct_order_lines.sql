{# one row per booking of an order line: a sale, a return or a cancellation, in any of the four channels #}
with
    order_lines as (select * from {{ ref("int_order_lines_unioned") }}),

    exchange_rates as (select * from {{ ref("int_exchange_rates_filled") }}),

    regions as (select * from {{ ref("dim_regions") }}),

    customer_records as (select * from {{ ref("dim_customer_records") }}),

    final as (
        select
            order_lines.order_line_id,
            order_lines.order_id,
            customer_records.customer_key,
            order_lines.sku,
            order_lines.channel,
            order_lines.kind,
            order_lines.currency,
            order_lines.country_code,
            order_lines.line_number,
            order_lines.quantity,
            order_lines.amount,
            exchange_rates.units_per_eur,
            exchange_rates.is_rate_stale,
            order_lines.business_date,
            exchange_rates.rate_date,
            cast(
                round(
                    cast(order_lines.amount as double)
                    / cast(exchange_rates.units_per_eur as double),
                    2
                ) as decimal(18, 2)
            ) as amount_eur,
            coalesce(regions.region, 'Unassigned') as region
        from order_lines
        left join
            exchange_rates
            on order_lines.currency = exchange_rates.currency
            and order_lines.business_date = exchange_rates.calendar_date
        left join regions on order_lines.country_code = regions.country_code
        left join
            customer_records on order_lines.record_key = customer_records.record_key
    )

select *
from final
