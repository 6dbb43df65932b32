{# one row per person or firm, over all systems #}
with
    records as (select * from {{ ref("int_customer_records_unioned") }}),

    matched as (select * from {{ ref("int_customer_records_matched") }}),

    combined as (
        select
            matched.customer_key,
            matched.match_rule,
            records.source_system,
            records.kind,
            records.customer_name,
            records.normalised_email,
            records.normalised_phone,
            records.normalised_vat_id,
            records.postal_code,
            records.country_code,
            case
                matched.match_rule
                when 'vat_id'
                then 1
                when 'email'
                then 2
                when 'phone_and_name'
                then 3
                when 'name_and_postal_code'
                then 4
                else 5
            end as rule_rank,
            -- the shop takes precedence over wholesale, stores and marketplace
            row_number() over (
                partition by matched.customer_key
                order by records.precedence, records.record_id
            ) as record_rank
        from matched
        inner join records on matched.record_key = records.record_key
    ),

    customers as (
        select
            customer_key,
            cast(count(*) as integer) as record_count,
            -- 'firm' comes before 'person' in the alphabet
            min(kind) as kind,
            min_by(customer_name, record_rank) as customer_name,
            min_by(normalised_email, record_rank) filter (
                where normalised_email is not null
            ) as email,
            min_by(normalised_phone, record_rank) filter (
                where normalised_phone is not null
            ) as phone,
            min_by(normalised_vat_id, record_rank) filter (
                where normalised_vat_id is not null
            ) as vat_id,
            min_by(postal_code, record_rank) filter (
                where postal_code is not null
            ) as postal_code,
            min_by(country_code, record_rank) filter (
                where country_code is not null
            ) as country_code,
            min_by(match_rule, rule_rank) as match_rule,
            count(*) filter (where source_system = 'shop') > 0 as is_in_shop,
            count(*) filter (where source_system = 'stores') > 0 as is_in_stores,
            count(*) filter (where source_system = 'marketplace')
            > 0 as is_in_marketplace,
            count(*) filter (where source_system = 'wholesale') > 0 as is_in_wholesale
        from combined
        group by customer_key
    )

select *
from customers
