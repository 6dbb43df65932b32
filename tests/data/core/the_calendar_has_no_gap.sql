{# A returned row says that the calendar has fewer or more days than lie between its first and its last. #}
select
    count(*) as day_count,
    min(calendar_date) as first_date,
    max(calendar_date) as last_date
from {{ ref("dim_dates") }}
having count(*) <> date_diff('day', min(calendar_date), max(calendar_date)) + 1
