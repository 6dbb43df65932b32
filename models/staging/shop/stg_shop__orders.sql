with
    source as (select * from {{ source("shop", "orders") }}),

    renamed as (
        select
            -- ids
            order_id,
            customer_id,
            -- strings
            status,
            currency,
            shipping_country as country_code,
            shipping_postal_code as postal_code,
            -- dates and times
            ordered_at at time zone 'UTC' as ordered_at,
            cancelled_at at time zone 'UTC' as cancelled_at,
            updated_at at time zone 'UTC' as updated_at
        from source
        where _deleted_at is null
    )

select *
from renamed
