{# one row per record of a person or firm in one system, with the customer it belongs to #}
{%- set rounds = var("customer_matching_rounds") | int %}
with
    records as (select * from {{ ref("int_customer_records_unioned") }}),

    identifiers as (select * from {{ ref("int_customer_identifiers_listed") }}),

    shared_identifiers as (
        select match_rule, identifier
        from identifiers
        group by match_rule, identifier
        having count(*) > 1
    ),

    links as (
        select
            identifiers.record_key,
            identifiers.match_rule,
            identifiers.identifier,
            case
                identifiers.match_rule
                when 'vat_id'
                then 1
                when 'email'
                then 2
                when 'phone_and_name'
                then 3
                when 'name_and_postal_code'
                then 4
            end as rule_rank
        from identifiers
        inner join
            shared_identifiers
            on identifiers.match_rule = shared_identifiers.match_rule
            and identifiers.identifier = shared_identifiers.identifier
    ),

    -- in each round, records that share an identifier take their smallest key; after
    -- the last round, all linked records have the same key
    round_0 as (select distinct record_key, record_key as customer_key from links),

    {%- for round in range(1, rounds + 1) %}
        smallest_{{ round }} as (
            select
                links.match_rule,
                links.identifier,
                min(round_{{ round - 1 }}.customer_key) as customer_key
            from links
            inner join
                round_{{ round - 1 }}
                on links.record_key = round_{{ round - 1 }}.record_key
            group by links.match_rule, links.identifier
        ),

        round_{{ round }} as (
            select
                links.record_key, min(smallest_{{ round }}.customer_key) as customer_key
            from links
            inner join
                smallest_{{ round }}
                on links.match_rule = smallest_{{ round }}.match_rule
                and links.identifier = smallest_{{ round }}.identifier
            group by links.record_key
        ),
    {%- endfor %}

    strongest_rules as (
        select record_key, min_by(match_rule, rule_rank) as match_rule
        from links
        group by record_key
    ),

    matched as (
        select
            records.record_key,
            coalesce(
                round_{{ rounds }}.customer_key, records.record_key
            ) as customer_key,
            coalesce(strongest_rules.match_rule, 'unmatched') as match_rule
        from records
        left join
            round_{{ rounds }} on records.record_key = round_{{ rounds }}.record_key
        left join strongest_rules on records.record_key = strongest_rules.record_key
    )

select *
from matched
