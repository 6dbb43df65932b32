with
    source as (select * from {{ source("web", "page_views") }}),

    renamed as (
        select
            -- ids
            event_id,
            cast(session ->> '$.id' as varchar) as session_id,
            cast(session ->> '$.visitor_id' as varchar) as visitor_id,
            cast(session ->> '$.customer_id' as bigint) as customer_id,
            _sequence as message_number,
            -- strings
            event_type,
            cast(page ->> '$.path' as varchar) as page_path,
            cast(page ->> '$.group' as varchar) as page_group,
            cast(page ->> '$.title' as varchar) as page_title,
            cast(page ->> '$.referrer' as varchar) as referrer,
            cast(device ->> '$.type' as varchar) as device_type,
            cast(device ->> '$.os' as varchar) as operating_system,
            cast(device ->> '$.browser' as varchar) as browser,
            cast(geo ->> '$.country' as varchar) as country_code,
            -- numbers
            cast(timing ->> '$.load_ms' as double) as load_ms,
            cast(timing ->> '$.ttfb_ms' as double) as first_byte_ms,
            cast(timing ->> '$.dom_ms' as double) as dom_ready_ms,
            -- dates and times
            occurred_at at time zone 'UTC' as occurred_at,
            _received_at at time zone 'UTC' as received_at
        from source
    )

select *
from renamed
