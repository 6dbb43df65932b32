with
    source as (select * from {{ source("sluice", "loads") }}),

    renamed as (
        select
            -- ids
            run_id,
            package as load_id,

            -- strings
            source as source_name,
            table_name,
            status as load_status,
            cursor_from,
            cursor_to,
            error as error_message,

            -- numbers
            rows_read,
            rows_loaded,
            rows_deleted,
            rows_quarantined,
            retries,
            bytes as packed_bytes,

            -- dates and times
            started_at,
            ended_at
        from source
    )

select *
from renamed
