with
    source as (select * from {{ source("wholesale", "accounts") }}),

    renamed as (
        select
            -- ids
            id as account_id,
            -- strings
            account_number,
            name as account_name,
            country as country_code,
            currency,
            cast(contact ->> '$.name' as varchar) as contact_name,
            cast(contact ->> '$.email' as varchar) as email,
            cast(contact ->> '$.phone' as varchar) as phone,
            cast(address ->> '$.street' as varchar) as street,
            cast(address ->> '$.postal_code' as varchar) as postal_code,
            cast(address ->> '$.city' as varchar) as city,
            -- dates and times
            cast(created as timestamp) as created_at,
            cast(updated as timestamp) as updated_at,
            -- empty if there is none
            nullif(vat_id, '') as vat_id
        from source
    )

select *
from renamed
