{{ config(enabled=false) }}
select * from {{ source("ops", "old_trips") }}
