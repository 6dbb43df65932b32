{# one row per record of a person or firm in one system, with the customer it belongs to #}
with
    records as (select * from {{ ref("int_customer_records_unioned") }}),

    matched as (select * from {{ ref("int_customer_records_matched") }}),

    customer_records as (
        select
            matched.record_key,
            matched.customer_key,
            records.source_system,
            records.record_id,
            matched.match_rule
        from matched
        inner join records on matched.record_key = records.record_key
    )

select *
from customer_records
