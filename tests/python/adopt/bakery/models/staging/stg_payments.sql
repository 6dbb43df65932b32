select id as payment_id, order_id, method, {{ toolbox.cents_to_euros("cents") }} as amount
from {{ ref("raw_payments") }}
