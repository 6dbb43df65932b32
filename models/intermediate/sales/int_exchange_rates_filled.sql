{# one row per currency and calendar day from the currency's first rate on, with the last rate known on that day #}
with
    rates as (select * from {{ ref("stg_reference__exchange_rates") }}),

    days as (select * from {{ ref("calendar_days") }}),

    valid_rates as (
        select
            currency,
            units_per_eur,
            rate_date,
            lead(rate_date) over (
                partition by currency order by rate_date
            ) as next_rate_date
        from rates
    ),

    foreign_currencies as (
        select
            valid_rates.currency,
            days.calendar_date,
            valid_rates.rate_date,
            valid_rates.units_per_eur
        from days
        inner join
            valid_rates
            on days.calendar_date >= valid_rates.rate_date
            and (
                days.calendar_date < valid_rates.next_rate_date
                or valid_rates.next_rate_date is null
            )
    ),

    euro as (
        select
            'EUR' as currency,
            calendar_date,
            calendar_date as rate_date,
            cast(1 as decimal(18, 6)) as units_per_eur
        from days
    ),

    filled as (
        select *
        from foreign_currencies
        union all
        select *
        from euro
    )

select
    currency,
    calendar_date,
    rate_date,
    units_per_eur,
    date_diff('day', rate_date, calendar_date)
    > {{ var("stale_rate_days") }} as is_rate_stale
from filled
