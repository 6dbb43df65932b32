with
    source as (select * from {{ source("reference", "public_holidays") }}),

    renamed as (
        select
            -- strings
            country_code,
            name as holiday_name,
            -- dates and times
            holiday_date
        from source
    )

select *
from renamed
