{# A returned row says that the monthly report counts more or fewer page views than there are. #}
with
    report as (
        select sum(page_view_count) as view_count
        from {{ ref("rpt_page_load_monthly") }}
    ),

    page_views as (select count(*) as view_count from {{ ref("fct_page_views") }})

select report.view_count as report_views, page_views.view_count as existing_views
from report
cross join page_views
where coalesce(report.view_count, 0) <> page_views.view_count
