with
    source as (select * from {{ source("sluice", "runs") }}),

    renamed as (
        select
            -- ids
            run_id,

            -- strings
            command,
            status as run_status,

            -- dates and times
            started_at,
            ended_at
        from source
    )

select *
from renamed
