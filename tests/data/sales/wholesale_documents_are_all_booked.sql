{# A returned row is a document of wholesale with a line that is not booked, or booked twice. #}
with
    documents as (
        select number as order_id, json_array_length(lines) as line_count
        from {{ source("wholesale", "invoices") }}
    ),

    booked as (
        select order_id, count(*) as line_count
        from {{ ref("fct_order_lines") }}
        where channel = 'wholesale' and kind <> 'cancellation'
        group by order_id
    )

select
    documents.order_id,
    documents.line_count as document_lines,
    booked.line_count as booked_lines
from documents
left join booked on documents.order_id = booked.order_id
where documents.line_count <> coalesce(booked.line_count, 0)
