{# one row per calendar day #}
with
    days as (select * from {{ ref("calendar_days") }}),

    public_holidays as (select * from {{ ref("stg_reference__public_holidays") }}),

    holidays as (
        select holiday_date, count(distinct country_code) as country_count
        from public_holidays
        group by holiday_date
    ),

    final as (
        select
            days.calendar_date,
            cast(date_trunc('month', days.calendar_date) as date) as month_date,
            cast(date_trunc('quarter', days.calendar_date) as date) as quarter_date,
            cast(extract(year from days.calendar_date) as integer) as calendar_year,
            cast(extract(month from days.calendar_date) as integer) as calendar_month,
            days.iso_week,
            days.iso_weekday,
            cast(
                coalesce(holidays.country_count, 0) as integer
            ) as holiday_country_count,
            days.iso_weekday >= 6 as is_weekend
        from days
        left join holidays on days.calendar_date = holidays.holiday_date
    )

select *
from final
