-- Demand is kept in whole thousandths, so that its running sum is exact and a day's count (the difference of two
-- rounded-down sums) is the same however long the world is. One day more than `until`: east of Greenwich it has begun.
create or replace temp table days as
with calendar as (
    select range::date as day, (range::date - $start)::bigint as number
    from range($first_sign_up, $until + interval 2 day, interval 1 day)
), demand as (
    select
        day, number,
        round(1000 * (1 + 0.55 * number / 730.0)
            * [1.02, 0.95, 0.97, 0.96, 0.94, 0.88, 0.84, 0.86, 0.97, 1.03, 1.28, 1.42][month(day)]
            * case when month(day) = 11 and day(day) between 23 and 30 then 1.5 else 1 end)::bigint as season
    from calendar
), weighted as (
    select
        *,
        (season * [105, 100, 100, 98, 95, 98, 110][isodow(day)])::bigint as online,
        (season * [88, 90, 95, 100, 120, 155, 60][isodow(day)])::bigint as street,
        case when isodow(day) < 6 then season * 100 else 0 end::bigint as office
    from demand
)
select
    *,
    sum(online) over (order by day)::bigint as online_sum,
    sum(street) over (order by day)::bigint as street_sum,
    sum(office) over (order by day)::bigint as office_sum
from weighted;

-- n things per 100,000 units of demand
create or replace temp macro arrivals(per_day, so_far, today) as
    (floor($scale * per_day * so_far / 100000.0) - floor($scale * per_day * (so_far - today) / 100000.0))::bigint;
