select bike_model, sum(price) as revenue, count(*) as trips
from {{ ref("fct_trips") }}
group by bike_model
