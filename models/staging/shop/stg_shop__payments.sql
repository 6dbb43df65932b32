with
    source as (select * from {{ source("shop", "payments") }}),

    renamed as (
        select
            -- ids
            payment_id,
            order_id,
            -- strings
            method,
            currency,
            status,
            -- numbers
            amount,
            -- dates and times
            paid_at at time zone 'UTC' as paid_at,
            updated_at at time zone 'UTC' as updated_at
        from source
        where _deleted_at is null
    )

select *
from renamed
