{# one row per page view, from its first message #}
with
    page_views as (select * from {{ ref("stg_web__page_views") }}),

    ranked as (
        select
            *,
            row_number() over (
                partition by event_id order by message_number
            ) as message_rank
        from page_views
        where event_id is not null
    ),

    deduplicated as (
        select
            event_id,
            session_id,
            visitor_id,
            customer_id,
            page_path,
            page_group,
            device_type,
            country_code,
            load_ms,
            first_byte_ms,
            dom_ready_ms,
            occurred_at,
            received_at
        from ranked
        where message_rank = 1
    )

select *
from deduplicated
