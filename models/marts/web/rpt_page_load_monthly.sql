{# one row per month and page group with any page view #}
with
    page_views as (select * from {{ ref("fct_page_views") }}),

    monthly as (
        select
            cast(date_trunc('month', view_date) as date) as month_date,
            page_group,
            cast(count(*) as bigint) as page_view_count,
            percentile_cont(0.5) within group (order by load_ms) as median_load_ms,
            percentile_cont(0.95) within group (order by load_ms) as p95_load_ms
        from page_views
        group by 1, 2
    ),

    compared as (
        select
            monthly.month_date,
            monthly.page_group,
            monthly.page_view_count,
            monthly.median_load_ms,
            monthly.p95_load_ms,
            -- null in the first month and after a month without a view
            monthly.median_load_ms - previous_month.median_load_ms as median_change_ms,
            monthly.p95_load_ms - previous_month.p95_load_ms as p95_change_ms
        from monthly
        left join
            monthly as previous_month
            on monthly.page_group = previous_month.page_group
            and monthly.month_date
            = cast(previous_month.month_date + interval 1 month as date)
    )

select *
from compared
