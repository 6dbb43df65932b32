with
    source as (select * from {{ source("shop", "order_items") }}),

    renamed as (
        select
            -- ids
            order_item_id,
            order_id,
            product_id,
            -- numbers
            line_number,
            quantity,
            unit_price,
            discount_amount,
            -- dates and times
            updated_at at time zone 'UTC' as updated_at
        from source
        where _deleted_at is null
    )

select *
from renamed
