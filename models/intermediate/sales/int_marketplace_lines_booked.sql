{# one row per valid settlement line #}
with
    settlement_lines as (select * from {{ ref("int_settlement_lines_selected") }}),

    sku_corrections as (select * from {{ ref("marketplace_sku_corrections") }}),

    booked as (
        select
            settlement_lines.order_id,
            settlement_lines.currency,
            settlement_lines.country_code,
            settlement_lines.line_number,
            settlement_lines.quantity,
            settlement_lines.amount,
            settlement_lines.posted_date as business_date,
            'marketplace-'
            || cast(settlement_lines.settlement_date as varchar)
            || '-'
            || cast(settlement_lines.file_line as varchar) as order_line_id,
            'marketplace:' || settlement_lines.buyer_id as record_key,
            coalesce(
                sku_corrections.sku,
                upper(regexp_replace(settlement_lines.seller_sku, '^ANY-', ''))
            ) as sku,
            case
                settlement_lines.line_type
                when 'Order'
                then 'sale'
                when 'Refund'
                then 'return'
                when 'Cancellation'
                then 'cancellation'
            end as kind
        from settlement_lines
        left join
            sku_corrections on settlement_lines.seller_sku = sku_corrections.seller_sku
    )

select *
from booked
