{# A returned row is an article whose 13-digit number does not end in the check digit of the other twelve. #}
with
    products as (select * from {{ ref("dim_products") }}),

    weighted as (
        select
            sku,
            ean,
            {%- for position in range(1, 13) %}
                try_cast(substring(ean, {{ position }}, 1) as integer)
                * {{ 1 if position % 2 else 3 }}
                {%- if not loop.last %} + {% endif %}
            {%- endfor %} as weighted_sum
        from products
    )

select sku, ean
from weighted
where
    length(ean) is distinct from 13
    or (10 - weighted_sum % 10) % 10
    is distinct from try_cast(substring(ean, 13, 1) as integer)
