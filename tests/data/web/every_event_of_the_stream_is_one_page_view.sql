{# A returned row says that the stream's distinct events and the page views differ in number. #}
with
    events as (
        select count(distinct event_id) as event_count
        from {{ source("web", "page_views") }}
    ),

    page_views as (select count(*) as view_count from {{ ref("fct_page_views") }})

select events.event_count, page_views.view_count
from events
cross join page_views
where events.event_count <> page_views.view_count
