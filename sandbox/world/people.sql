create or replace temp table people as
with arrivals as (
    select day, unnest(range(arrivals(21.5, online_sum, online))) as k from days
), persons as (
    select row_number() over (order by day, k) as party_id, 'person' as kind, day from arrivals
), firm_arrivals as (
    -- never fewer than a few firms, however small the world
    select day, unnest(range((floor(greatest($scale, 0.05) * 0.52 * online_sum / 100000.0)
        - floor(greatest($scale, 0.05) * 0.52 * (online_sum - online) / 100000.0))::bigint)) as k from days
), firms as (
    select 10000000 + row_number() over (order by day, k) as party_id, 'firm' as kind, day from firm_arrivals
), everybody as (
    select *, day::timestamp + events.clock('party', party_id) as known_at, events.u('systems', party_id) as s
    from (from persons union all from firms)
), joined as (
    select
        party_id, kind, known_at,
        case kind when 'person' then s < 0.67 else s < 0.67 end as in_shop,
        case kind when 'person' then s between 0.50 and 0.57 or s between 0.67 and 0.80 else false end as in_stores,
        case kind when 'person' then s between 0.56 and 0.67 or s >= 0.80 else false end as in_market,
        case kind when 'firm' then s >= 0.50 else false end as in_wholesale
    from everybody
), placed as (
    select j.*, case when in_stores then s.code end as store_id, case when in_stores then w.country_code
        else c.code end as country_code, case when in_stores and events.u('own city', party_id) < 0.85 then w.city
            end as city
    from joined as j
    join country_pick as c on c.bucket = events.n('country', j.party_id, $countries)
    join store_pick as s on s.bucket = events.n('home store', j.party_id, $home_stores)
    join store_words as w on w.store_id = s.code
)
select
    *,
    -- who is known to several systems meets one of them first and the others within months
    known_at + case when events.u('first system', party_id) < 0.5 or not (in_stores or in_market or in_wholesale)
        then interval 0 second else events.seconds('shop later', party_id, 3600, 200 * 86400) end as shop_at,
    known_at + case when events.u('first system', party_id) >= 0.5 or not in_shop
        then interval 0 second else events.seconds('other later', party_id, 3600, 200 * 86400) end as other_at
from placed;

create or replace temp table named as
with drawn as (
    select
        p.party_id, p.kind, p.known_at, p.country_code, p.city as store_city, w.vat, w.phones, w.phone_digits,
        events.pick('first', party_id, w.first_names) || case when events.u('second', party_id) < 0.06
            then ' ' || events.pick('second name', party_id, w.first_names) else '' end as first_name,
        events.pick('last', party_id, w.last_names) || case when events.u('double', party_id) < 0.05
            then '-' || events.pick('double name', party_id, w.last_names) else '' end as last_name,
        events.pick('trade', party_id, w.firm_words) as trade, events.pick('legal', party_id, w.legal_forms) as legal,
        w.streets, w.cities,
        case when events.u('phone', party_id) < case p.kind when 'firm' then 0.92 else 0.72 end then 1 end as phoned
    from people as p join country_words as w using (country_code)
), family as (
    -- now and then one household: name, address and phone of whoever came before in that country
    select
        *,
        kind = 'person' and events.u('family', party_id) < 0.0015
            and lag(kind) over arrival = 'person' as in_family,
        lag(last_name) over arrival as family_name,
        lag(party_id) over arrival as family_id,
        sum(phoned) over arrival - 1 as phone_rank
    from drawn
    window arrival as (partition by country_code order by known_at, party_id)
)
select
    party_id, kind, known_at, country_code, store_city, vat, first_name, streets, cities,
    if(in_family, family_name, last_name) as last_name, if(in_family, family_id, party_id) as home_id, in_family,
    trade, legal,
    case when phoned = 1 and phone_rank < len(phones) * 10 ** phone_digits then
        phones[1 + (phone_rank % len(phones))::bigint] || lpad((((phone_rank // len(phones)) * 7919 + 4711)
            % (10 ** phone_digits)::bigint)::bigint::text, phone_digits::int, '0') end as own_phone
from family;

create or replace temp table parties_all as
with written as (
    select
        n.*, coalesce(if(n.in_family, f.own_phone, n.own_phone), n.own_phone) as phone,
        case kind when 'person' then first_name || ' ' || last_name
            else case when events.u('firm order', party_id) < 0.6 then trade || ' ' || last_name
                else last_name || ' ' || trade end || ' ' || legal end as name,
        regexp_replace(lower(events.fold(first_name)), '[^a-z]', '', 'g') as f,
        regexp_replace(lower(events.fold(last_name)), '[^a-z]', '', 'g') as l,
        ['example.com', 'example.org', 'example.net'][1 + events.n('domain', party_id, 3)] as domain
    from (select *, from named) as n
    left join (select party_id as id, own_phone from named) as f on f.id = if(n.in_family, n.home_id, null)
), addressed as (
    select
        *,
        case when kind = 'firm' then ['office.', 'info.', 'kontakt.', 'orders.'][1 + events.n('mail', party_id, 4)]
                || regexp_replace(lower(events.fold(last_name || trade)), '[^a-z]', '', 'g')
            else [f || '.' || l, f[1] || '.' || l, f || l || (60 + events.n('born', party_id, 46) % 100)::text,
                l || '.' || f][1 + events.n('mail', party_id, 4)] end as local_part
    from written
)
select
    party_id, kind, first_name, last_name, name,
    local_part || case row_number() over (partition by local_part, domain order by kind desc, party_id)
        when 1 then '' else '_' || row_number() over (partition by local_part, domain order by kind desc,
            party_id)::text end
        || '@' || domain as email,
    phone,
    case when kind = 'firm' and vat <> '' and events.u('vat', party_id) < 0.97 then events.fill(vat, 'vat',
        party_id) end
        as vat_id,
    country_code, known_at, home_id, streets, cities, store_city
from addressed;

create or replace temp table addresses_all as
with versions as (
    select party_id, home_id * 2 + 1 as key, 1 as version, known_at, store_city, streets, cities from parties_all
    union all
    select party_id, party_id * 2 + 2, 2, known_at + events.seconds('moved', party_id, 30 * 86400, 900 * 86400), null,
        streets, cities
    from parties_all where kind = 'person' and events.u('moves', party_id) < 0.06
), placed as (
    select *, case when store_city is not null then list_filter(cities, lambda c: c.city = store_city)[1]
        else cities[1 + floor(events.u('city', key) ** 1.6 * len(cities))::bigint] end as place
    from versions
)
select
    party_id, version,
    replace(events.pick('street', key, streets), '#', (1 + floor(events.u('house', key) ** 2 * 140))::int::text)
        as street,
    events.fill(events.pick('postcode area', key, place.patterns), 'postcode', key) as postal_code,
    place.city as city, known_at,
    lead(known_at) over (partition by party_id order by version) as valid_to
from placed;

create or replace table events.parties as
select party_id, kind, first_name, last_name, name, email, phone, vat_id, country_code, known_at
from parties_all where known_at < $cutoff order by party_id;

create or replace table events.party_addresses as
select * from addresses_all where known_at < $cutoff order by party_id, version;
