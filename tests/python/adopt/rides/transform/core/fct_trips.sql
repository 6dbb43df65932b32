{{ config(alias="trips") }}
select
    {{ dbt_utils.generate_surrogate_key(["trips.trip_id", "trips.bike_id"]) }} as trip_key,
    trips.trip_id,
    trips.bike_id,
    trips.rider_email,
    cast(trips.started_at as date) as ride_date,
    bikes.bike_model,
    trips.minutes,
    trips.price
from {{ ref("stg_trips") }} as trips
left join {{ ref("stg_bikes") }} as bikes on trips.bike_id = bikes.bike_id
