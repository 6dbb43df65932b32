{# A returned row is an identifier that two customers share: matching needs more rounds than customer_matching_rounds. #}
with
    identifiers as (select * from {{ ref("int_customer_identifiers_listed") }}),

    matched as (select * from {{ ref("int_customer_records_matched") }})

select
    identifiers.match_rule,
    identifiers.identifier,
    count(distinct matched.customer_key) as customer_count
from identifiers
inner join matched on identifiers.record_key = matched.record_key
group by identifiers.match_rule, identifiers.identifier
having count(distinct matched.customer_key) > 1
