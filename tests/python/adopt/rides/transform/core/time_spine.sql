select cast(range as date) as ride_date from range(date '2026-01-01', date '2026-03-01', interval 1 day)
