with
    source as (select * from {{ source("reference", "exchange_rates") }}),

    renamed as (
        select
            -- strings
            currency,
            -- numbers
            units_per_eur,
            -- dates and times
            rate_date
        from source
    )

select *
from renamed
