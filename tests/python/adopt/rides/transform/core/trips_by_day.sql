{{ config(materialized="incremental", unique_key="ride_date") }}
select ride_date, count(*) as trips, sum(price) as revenue
from {{ ref("fct_trips") }}
{% if is_incremental() %}where ride_date >= (select max(ride_date) from {{ this }}){% endif %}
group by ride_date
