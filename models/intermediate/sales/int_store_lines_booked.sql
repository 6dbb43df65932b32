{# one row per booking of a receipt line: its sale, and its cancellation where the receipt was voided #}
with
    sales as (select * from {{ ref("stg_stores__sales") }}),

    sale_lines as (select * from {{ ref("stg_stores__sale_lines") }}),

    stores as (select * from {{ ref("stg_stores__stores") }}),

    products as (select * from {{ ref("stg_shop__products") }}),

    lines as (
        select
            sale_lines.line_id,
            sale_lines.line_number,
            sale_lines.quantity,
            sales.sale_id,
            sales.currency,
            sales.sold_date,
            sales.voided_date,
            stores.country_code,
            products.sku,
            'stores:' || sales.member_id as record_key,
            sale_lines.quantity * sale_lines.unit_price
            - sale_lines.discount_amount as amount
        from sale_lines
        inner join sales on sale_lines.sale_id = sales.sale_id
        left join stores on sales.store_id = stores.store_id
        left join products on sale_lines.ean = products.ean
    ),

    sold as (
        select
            'stores-sale-' || cast(line_id as varchar) as order_line_id,
            sale_id as order_id,
            record_key,
            sku,
            'sale' as kind,
            currency,
            country_code,
            line_number,
            quantity,
            amount,
            sold_date as business_date
        from lines
    ),

    voided as (
        select
            'stores-cancellation-' || cast(line_id as varchar) as order_line_id,
            sale_id as order_id,
            record_key,
            sku,
            'cancellation' as kind,
            currency,
            country_code,
            line_number,
            - quantity as quantity,
            - amount as amount,
            voided_date as business_date
        from lines
        where voided_date is not null
    ),

    booked as (
        select *
        from sold
        union all
        select *
        from voided
    )

select *
from booked
