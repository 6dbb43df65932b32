with
    source as (select * from {{ source("stores", "sale_lines") }}),

    renamed as (
        select
            -- ids
            line_id,
            sale_id,
            -- strings
            ean,
            -- numbers
            cast(line_number as integer) as line_number,
            cast(quantity as integer) as quantity,
            cast(unit_price_cents / 100.0 as decimal(18, 2)) as unit_price,
            cast(discount_cents / 100.0 as decimal(18, 2)) as discount_amount
        from source
    )

select *
from renamed
