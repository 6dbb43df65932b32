with
    source as (select * from {{ source("stores", "stores") }}),

    renamed as (
        select
            -- ids
            store_id,
            -- strings
            name as store_name,
            city,
            country_code,
            timezone,
            currency,
            -- dates and times
            cast(opened_on as date) as opened_date,
            cast(updated_at as timestamp) as updated_at
        from source
    )

select *
from renamed
