{# one row per order #}
select order_id, sku, step, amount from {{ source("shop", "orders") }}
