select {{ toolbox.columns_of(ref("raw_orders"), except=["id", "user_id"]) }}, id as order_id, user_id as customer_id
from {{ ref("raw_orders") }}
