select trip_id, bike_id, rider_email, started_at, minutes, price from {{ source("ops", "trips") }}
