with
    source as (select * from {{ source("stores", "members") }}),

    renamed as (
        select
            -- ids
            member_id,
            -- strings
            full_name,
            email,
            phone,
            postal_code,
            country_code,
            -- dates and times
            cast(joined_on as date) as joined_date,
            cast(updated_at as timestamp) as updated_at
        from source
    )

select *
from renamed
