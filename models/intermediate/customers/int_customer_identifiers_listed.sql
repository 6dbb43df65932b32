{# one row per record, rule and identifier by which the record can be matched with others #}
with
    records as (select * from {{ ref("int_customer_records_unioned") }}),

    shop_addresses as (select * from {{ ref("stg_shop__addresses") }}),

    shop_orders as (select * from {{ ref("stg_shop__orders") }}),

    settlement_lines as (select * from {{ ref("int_settlement_lines_selected") }}),

    -- every place a record ever had: other systems may still have the old postal
    -- code of a customer who moved
    places as (
        select
            'shop:' || cast(customer_id as varchar) as record_key,
            postal_code,
            country_code
        from shop_addresses
        union
        select
            'shop:' || cast(customer_id as varchar) as record_key,
            postal_code,
            country_code
        from shop_orders
        union
        select 'marketplace:' || buyer_id as record_key, postal_code, country_code
        from settlement_lines
        union
        select record_key, postal_code, country_code
        from records
    ),

    -- rule 1: the VAT id belongs to one firm
    vat_ids as (
        select record_key, 'vat_id' as match_rule, normalised_vat_id as identifier
        from records
    ),

    -- rule 2: the e-mail address belongs to one person or firm
    emails as (
        select record_key, 'email' as match_rule, normalised_email as identifier
        from records
    ),

    -- rule 3: families share a phone, so the name must be the same too
    phones as (
        select
            record_key,
            'phone_and_name' as match_rule,
            normalised_phone || '|' || normalised_name as identifier
        from records
    ),

    -- rule 4: the same name at the same postal code of the same country
    names as (
        select
            records.record_key,
            'name_and_postal_code' as match_rule,
            records.normalised_name
            || '|'
            || regexp_replace(upper(places.postal_code), '[^A-Z0-9]', '', 'g')
            || '|'
            || places.country_code as identifier
        from records
        inner join places on records.record_key = places.record_key
    ),

    unioned as (
        select *
        from vat_ids
        union
        select *
        from emails
        union
        select *
        from phones
        union
        select *
        from names
    )

select *
from unioned
where identifier is not null
