{# one row per booking of a shop order line: its sale, its cancellation, each of its refunds #}
with
    orders as (select * from {{ ref("stg_shop__orders") }}),

    order_items as (select * from {{ ref("stg_shop__order_items") }}),

    products as (select * from {{ ref("stg_shop__products") }}),

    refunds as (select * from {{ ref("stg_shop__refunds") }}),

    lines as (
        select
            order_items.order_item_id,
            order_items.line_number,
            order_items.quantity,
            orders.order_id,
            orders.currency,
            orders.country_code,
            orders.ordered_at,
            orders.cancelled_at,
            products.sku,
            'shop:' || cast(orders.customer_id as varchar) as record_key,
            order_items.quantity * order_items.unit_price
            - order_items.discount_amount as amount
        from order_items
        inner join orders on order_items.order_id = orders.order_id
        left join products on order_items.product_id = products.product_id
    ),

    sales as (
        select
            'shop-sale-' || cast(order_item_id as varchar) as order_line_id,
            cast(order_id as varchar) as order_id,
            record_key,
            sku,
            'sale' as kind,
            currency,
            country_code,
            line_number,
            quantity,
            amount,
            cast(ordered_at as date) as business_date
        from lines
    ),

    cancellations as (
        select
            'shop-cancellation-' || cast(order_item_id as varchar) as order_line_id,
            cast(order_id as varchar) as order_id,
            record_key,
            sku,
            'cancellation' as kind,
            currency,
            country_code,
            line_number,
            - quantity as quantity,
            - amount as amount,
            cast(cancelled_at as date) as business_date
        from lines
        where cancelled_at is not null
    ),

    returns as (
        select
            'shop-return-' || cast(refunds.refund_id as varchar) as order_line_id,
            cast(lines.order_id as varchar) as order_id,
            lines.record_key,
            lines.sku,
            'return' as kind,
            lines.currency,
            lines.country_code,
            lines.line_number,
            - refunds.quantity as quantity,
            - refunds.amount as amount,
            cast(refunds.refunded_at as date) as business_date
        from refunds
        inner join lines on refunds.order_item_id = lines.order_item_id
    ),

    booked as (
        select *
        from sales
        union all
        select *
        from cancellations
        union all
        select *
        from returns
    )

select *
from booked
