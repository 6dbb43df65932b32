select id as customer_id, name as customer_name, email, town
from {{ ref("raw_customers") }}
