select minutes, trips from {{ ref("trip_lengths") }} where minutes >= 30
