with
    source as (select * from {{ source("stores", "sales") }}),

    renamed as (
        select
            -- ids
            sale_id,
            store_id,
            member_id,
            -- strings
            currency,
            -- numbers
            cast(total_cents / 100.0 as decimal(18, 2)) as total_amount,
            -- dates and times
            cast(sold_at as date) as sold_date,
            cast(voided_at as date) as voided_date,
            cast(updated_at as timestamp) as updated_at
        from source
    )

select *
from renamed
