with
    source as (select * from {{ source("shop", "products") }}),

    renamed as (
        select
            -- ids
            product_id,
            -- strings
            sku,
            ean,
            name as product_name,
            category,
            -- numbers
            list_price as list_price_eur,
            -- booleans
            is_active,
            -- dates and times
            updated_at at time zone 'UTC' as updated_at
        from source
    )

select *
from renamed
