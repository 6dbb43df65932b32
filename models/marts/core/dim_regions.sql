{# one row per country sold to, with the region it reports to #}
with
    regions as (select * from {{ ref("regions") }}),

    countries as (select * from {{ ref("stg_reference__countries") }}),

    final as (
        select regions.country_code, countries.country_name, regions.region
        from regions
        left join countries on regions.country_code = countries.country_code
    )

select *
from final
