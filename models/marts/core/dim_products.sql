{# one row per article, by its stock keeping unit #}
with
    products as (select * from {{ ref("stg_shop__products") }}),

    final as (
        select sku, ean, product_name, category, list_price_eur, is_active from products
    )

select *
from final
