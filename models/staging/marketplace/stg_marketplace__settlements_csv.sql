with
    source as (select * from {{ source("marketplace", "settlements_csv") }}),

    renamed as (
        select
            -- ids
            order_id,
            buyer_id,
            -- strings
            type as line_type,
            seller_sku,
            currency,
            buyer_name,
            ship_postcode as postal_code,
            ship_city as city,
            ship_country as country_code,
            _file as file_name,
            -- numbers
            line as line_number,
            quantity,
            unit_price,
            amount,
            _line as file_line,
            {{ correction_number("_file") }} as correction_number,
            -- dates and times
            settlement_date,
            cast(strptime(posted_date, '%d.%m.%Y') as date) as posted_date
        from source
    )

select *
from renamed
