select customer_id, town, dbt_valid_from as lived_from
from {{ ref("customers_snapshot") }}
where dbt_valid_to is null
