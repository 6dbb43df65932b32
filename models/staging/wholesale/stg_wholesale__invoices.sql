with
    source as (select * from {{ source("wholesale", "invoices") }}),

    renamed as (
        select
            -- ids
            id as invoice_id,
            account as account_id,
            -- strings
            number as invoice_number,
            document_type,
            status,
            currency,
            -- dates and times
            cast(issued_on as date) as issued_date,
            cast(updated as timestamp) as updated_at,
            -- empty if there is none
            cast(nullif(voided_on, '') as date) as voided_date,
            nullif(credits, '') as credited_invoice_number
        from source
    )

select *
from renamed
