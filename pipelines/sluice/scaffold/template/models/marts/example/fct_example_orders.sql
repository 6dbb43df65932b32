{# one row per order #}
with orders as (select * from {{ ref("stg_example__orders") }})

select order_id, country_code, net_eur, tax_eur, gross_eur, order_date
from orders
