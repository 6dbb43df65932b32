{# one row per page view #}
with
    page_views as (select * from {{ ref("int_page_views_deduplicated") }}),

    customer_records as (select * from {{ ref("dim_customer_records") }}),

    final as (
        select
            page_views.event_id,
            page_views.session_id,
            page_views.visitor_id,
            customer_records.customer_key,
            page_views.page_path,
            page_views.page_group,
            page_views.device_type,
            page_views.country_code,
            page_views.load_ms,
            page_views.first_byte_ms,
            page_views.dom_ready_ms,
            page_views.occurred_at,
            page_views.received_at,
            cast(page_views.occurred_at as date) as view_date
        from page_views
        left join
            customer_records
            on 'shop:' || cast(page_views.customer_id as varchar)
            = customer_records.record_key
    )

select *
from final
