{# one row per line of the valid file of a settlement date: the original, or its last correction #}
with
    csv_lines as (select * from {{ ref("stg_marketplace__settlements_csv") }}),

    xlsx_lines as (select * from {{ ref("stg_marketplace__settlements_xlsx") }}),

    unioned as (
        select *
        from csv_lines
        union all
        select *
        from xlsx_lines
    ),

    ranked as (
        select
            *,
            dense_rank() over (
                partition by settlement_date
                order by correction_number desc, file_name desc
            ) as file_rank
        from unioned
    ),

    selected as (
        select
            order_id,
            buyer_id,
            line_type,
            seller_sku,
            currency,
            buyer_name,
            postal_code,
            city,
            country_code,
            file_name,
            line_number,
            quantity,
            unit_price,
            amount,
            file_line,
            correction_number,
            settlement_date,
            posted_date
        from ranked
        where file_rank = 1
    )

select *
from selected
