{# A returned row is a system whose numbers of records differ between the customers and the source. #}
with
    systems as (
        select 'shop' as source_system, count(*) as record_count
        from {{ source("shop", "customers") }}
        union all
        select 'stores' as source_system, count(*) as record_count
        from {{ source("stores", "members") }}
        union all
        select 'wholesale' as source_system, count(*) as record_count
        from {{ source("wholesale", "accounts") }}
    ),

    records as (
        select source_system, count(*) as record_count
        from {{ ref("dim_customer_records") }}
        group by source_system
    )

select
    systems.source_system,
    systems.record_count as source_count,
    records.record_count as mart_count
from systems
left join records on systems.source_system = records.source_system
where systems.record_count <> coalesce(records.record_count, 0)
