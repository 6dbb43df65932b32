{# A returned row says that the calendar has not exactly one row per day from its first to its last. #}
select
    count(*) as day_count,
    min(calendar_date) as first_date,
    max(calendar_date) as last_date
from {{ ref("dim_dates") }}
having count(*) <> date_diff('day', min(calendar_date), max(calendar_date)) + 1
