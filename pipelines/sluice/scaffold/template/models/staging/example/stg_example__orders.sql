with
    source as (select * from {{ source("example", "orders") }}),

    renamed as (
        select
            -- ids
            order_id,
            -- strings
            country as country_code,
            -- numbers
            net_amount as net_eur,
            tax_amount as tax_eur,
            gross_amount as gross_eur,
            -- dates and times
            ordered_on as order_date
        from source
    )

select *
from renamed
