with
    source as (select * from {{ source("reference", "countries") }}),

    renamed as (
        select
            -- strings
            country_code, alpha_3 as alpha_3_code, name as country_name
        from source
    )

select *
from renamed
