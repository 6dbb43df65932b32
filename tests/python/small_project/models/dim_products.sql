{# one row per product #}
select sku, step from {{ source("shop", "products") }}
