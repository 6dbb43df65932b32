{# one row per record of a person or firm in one system #}
with
    shop_customers as (select * from {{ ref("stg_shop__customers") }}),

    shop_addresses as (select * from {{ ref("stg_shop__addresses") }}),

    shop_orders as (select * from {{ ref("stg_shop__orders") }}),

    store_members as (select * from {{ ref("stg_stores__members") }}),

    wholesale_accounts as (select * from {{ ref("stg_wholesale__accounts") }}),

    settlement_lines as (select * from {{ ref("int_settlement_lines_selected") }}),

    calling_codes as (select * from {{ ref("calling_codes") }}),

    shop_places as (
        select customer_id, kind, address_id as place_id, postal_code, country_code
        from shop_addresses
        union all
        select
            customer_id,
            'order' as kind,
            order_id as place_id,
            postal_code,
            country_code
        from shop_orders
    ),

    -- the billing address, otherwise the place of an order, otherwise the shipping
    -- address: this is also their alphabetical order
    ranked_shop_places as (
        select
            customer_id,
            postal_code,
            country_code,
            row_number() over (
                partition by customer_id order by kind asc, place_id desc
            ) as place_rank
        from shop_places
    ),

    shop_records as (
        select
            'shop' as source_system,
            cast(shop_customers.customer_id as varchar) as record_id,
            case
                when shop_customers.company_name is null then 'person' else 'firm'
            end as kind,
            coalesce(
                shop_customers.company_name, shop_customers.full_name
            ) as customer_name,
            shop_customers.email,
            shop_customers.phone,
            shop_customers.vat_id,
            ranked_shop_places.postal_code,
            ranked_shop_places.country_code
        from shop_customers
        left join
            ranked_shop_places
            on shop_customers.customer_id = ranked_shop_places.customer_id
            and ranked_shop_places.place_rank = 1
    ),

    wholesale_records as (
        select
            'wholesale' as source_system,
            account_id as record_id,
            'firm' as kind,
            account_name as customer_name,
            email,
            phone,
            vat_id,
            postal_code,
            country_code
        from wholesale_accounts
    ),

    store_records as (
        select
            'stores' as source_system,
            member_id as record_id,
            'person' as kind,
            full_name as customer_name,
            email,
            phone,
            cast(null as varchar) as vat_id,
            postal_code,
            country_code
        from store_members
    ),

    ranked_buyers as (
        select
            buyer_id,
            buyer_name,
            postal_code,
            country_code,
            row_number() over (
                partition by buyer_id order by settlement_date desc, file_line desc
            ) as line_rank
        from settlement_lines
    ),

    -- the marketplace only knows the label of the parcel, not whether the buyer is a
    -- firm
    marketplace_records as (
        select
            'marketplace' as source_system,
            buyer_id as record_id,
            'person' as kind,
            buyer_name as customer_name,
            cast(null as varchar) as email,
            cast(null as varchar) as phone,
            cast(null as varchar) as vat_id,
            postal_code,
            country_code
        from ranked_buyers
        where line_rank = 1
    ),

    unioned as (
        select *, 1 as precedence
        from shop_records
        union all
        select *, 2 as precedence
        from wholesale_records
        union all
        select *, 3 as precedence
        from store_records
        union all
        select *, 4 as precedence
        from marketplace_records
    )

select
    unioned.source_system || ':' || unioned.record_id as record_key,
    unioned.source_system,
    unioned.record_id,
    unioned.kind,
    unioned.customer_name,
    unioned.email,
    unioned.phone,
    unioned.vat_id,
    unioned.postal_code,
    unioned.country_code,
    {{ normalised_name("unioned.customer_name") }} as normalised_name,
    {{ normalised_email("unioned.email") }} as normalised_email,
    {{
        normalised_phone(
            "unioned.phone",
            "calling_codes.calling_code",
            "calling_codes.trunk_prefix",
        )
    }} as normalised_phone,
    {{ normalised_vat_id("unioned.vat_id", "unioned.country_code") }}
    as normalised_vat_id,
    unioned.precedence
from unioned
left join calling_codes on unioned.country_code = calling_codes.country_code
