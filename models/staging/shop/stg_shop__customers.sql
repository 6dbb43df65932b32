with
    source as (select * from {{ source("shop", "customers") }}),

    renamed as (
        select
            -- ids
            customer_id,
            -- strings
            email,
            full_name,
            phone,
            company_name,
            vat_id,
            -- booleans
            marketing_opt_in as has_marketing_opt_in,
            deleted_at is not null as is_closed,
            -- dates and times
            created_at at time zone 'UTC' as created_at,
            updated_at at time zone 'UTC' as updated_at,
            deleted_at at time zone 'UTC' as closed_at
        from source
    )

select *
from renamed
