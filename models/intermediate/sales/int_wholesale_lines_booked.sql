{# one row per booking of an invoice line: its sale or return, and its cancellation where the document was voided #}
with
    accounts as (select * from {{ ref("stg_wholesale__accounts") }}),

    invoices as (select * from {{ ref("stg_wholesale__invoices") }}),

    invoice_lines as (select * from {{ ref("stg_wholesale__invoice_lines") }}),

    lines as (
        select
            invoice_lines.sku,
            invoice_lines.line_number,
            invoice_lines.quantity,
            invoices.invoice_number,
            invoices.currency,
            invoices.issued_date,
            accounts.country_code,
            'wholesale:' || invoices.account_id as record_key,
            invoice_lines.invoice_id
            || '-'
            || cast(invoice_lines.line_number as varchar) as source_line_id,
            case
                when invoices.status = 'void' then invoices.voided_date
            end as voided_date,
            case
                when invoices.document_type = 'credit_note' then 'return' else 'sale'
            end as kind,
            -- a credit note lists what is credited with positive quantities
            case when invoices.document_type = 'credit_note' then -1 else 1 end as sign,
            round(
                invoice_lines.quantity
                * invoice_lines.unit_price
                * (100 - invoice_lines.discount_percent)
                * 0.01,
                2
            ) as amount
        from invoice_lines
        inner join invoices on invoice_lines.invoice_id = invoices.invoice_id
        left join accounts on invoices.account_id = accounts.account_id
    ),

    issued as (
        select
            'wholesale-' || kind || '-' || source_line_id as order_line_id,
            invoice_number as order_id,
            record_key,
            sku,
            kind,
            currency,
            country_code,
            line_number,
            sign * quantity as quantity,
            sign * amount as amount,
            issued_date as business_date
        from lines
    ),

    voided as (
        select
            'wholesale-cancellation-' || source_line_id as order_line_id,
            invoice_number as order_id,
            record_key,
            sku,
            'cancellation' as kind,
            currency,
            country_code,
            line_number,
            - sign * quantity as quantity,
            - sign * amount as amount,
            voided_date as business_date
        from lines
        where voided_date is not null
    ),

    booked as (
        select *
        from issued
        union all
        select *
        from voided
    )

select *
from booked
