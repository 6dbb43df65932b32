with
    source as (select * from {{ source("wholesale", "invoices") }}),

    renamed as (
        select
            -- ids
            source.id as invoice_id,
            -- strings
            cast(invoice_line.value ->> '$.sku' as varchar) as sku,
            -- numbers
            cast(invoice_line.value ->> '$.line' as integer) as line_number,
            cast(invoice_line.value ->> '$.quantity' as integer) as quantity,
            cast(invoice_line.value ->> '$.unit_price' as decimal(12, 2)) as unit_price,
            cast(
                invoice_line.value ->> '$.discount_pct' as decimal(5, 2)
            ) as discount_percent
        from source
        cross join json_each(source.lines) as invoice_line
    )

select *
from renamed
