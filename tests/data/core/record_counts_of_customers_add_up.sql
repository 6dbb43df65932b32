{# A returned row says that the customers' record counts do not add up to the number of records. #}
with
    customers as (
        select sum(record_count) as record_count from {{ ref("dim_customers") }}
    ),

    existing_records as (
        select count(*) as record_count from {{ ref("dim_customer_records") }}
    )

select
    customers.record_count as counted_records,
    existing_records.record_count as existing_records_count
from customers
cross join existing_records
where coalesce(customers.record_count, 0) <> existing_records.record_count
