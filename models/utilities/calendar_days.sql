{# one row per day of the warehouse's calendar #}
with
    spread as (
        select
            unnest(
                generate_series(
                    cast('{{ var("calendar_from") }}' as date),
                    cast('{{ var("calendar_to") }}' as date) - interval 1 day,
                    interval 1 day
                )
            ) as day_at
    ),

    days as (
        select
            -- numbers
            cast(isodow(day_at) as integer) as iso_weekday,
            cast(week(day_at) as integer) as iso_week,
            -- dates and times
            cast(day_at as date) as calendar_date
        from spread
    )

select *
from days
