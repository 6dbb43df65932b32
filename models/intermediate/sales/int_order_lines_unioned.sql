{# one row per booking of an order line in any of the four channels #}
with
    shop_lines as (select * from {{ ref("int_shop_lines_booked") }}),

    store_lines as (select * from {{ ref("int_store_lines_booked") }}),

    marketplace_lines as (select * from {{ ref("int_marketplace_lines_booked") }}),

    wholesale_lines as (select * from {{ ref("int_wholesale_lines_booked") }}),

    unioned as (
        {%- for channel, lines in [
            ("shop", "shop_lines"),
            ("stores", "store_lines"),
            ("marketplace", "marketplace_lines"),
            ("wholesale", "wholesale_lines"),
        ] %}
            select
                order_line_id,
                order_id,
                record_key,
                sku,
                '{{ channel }}' as channel,
                kind,
                currency,
                country_code,
                cast(line_number as integer) as line_number,
                cast(quantity as integer) as quantity,
                cast(amount as decimal(18, 2)) as amount,
                business_date
            from {{ lines }}
            {%- if not loop.last %}
                union all
            {%- endif %}
        {%- endfor %}
    )

select *
from unioned
