with
    source as (select * from {{ source("shop", "addresses") }}),

    renamed as (
        select
            -- ids
            address_id,
            customer_id,
            -- strings
            kind,
            street,
            postal_code,
            city,
            country_code,
            -- dates and times
            updated_at at time zone 'UTC' as updated_at
        from source
        where _deleted_at is null
    )

select *
from renamed
