with
    source as (select * from {{ source("shop", "refunds") }}),

    renamed as (
        select
            -- ids
            refund_id,
            order_id,
            order_item_id,
            -- strings
            reason,
            -- numbers
            quantity,
            amount,
            -- dates and times
            refunded_at at time zone 'UTC' as refunded_at,
            updated_at at time zone 'UTC' as updated_at
        from source
        where _deleted_at is null
    )

select *
from renamed
