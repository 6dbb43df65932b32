-- hash() of several values only xors their hashes, so two salts of one id would be bound to each other;
-- hashing the result once more makes them independent.
create or replace macro events.h(salt, id) as hash(hash($seed::bigint, salt, id::bigint));
create or replace macro events.u(salt, id) as (events.h(salt, id) >> 11)::double / 9007199254740992.0;
create or replace macro events.n(salt, id, k) as (events.h(salt, id) % k::ubigint)::bigint;
create or replace macro events.pick(salt, id, words) as words[1 + events.n(salt, id, len(words))];
create or replace macro events.fold(txt) as strip_accents(
    replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(
    replace(replace(txt, 'ä', 'ae'), 'ö', 'oe'), 'ü', 'ue'), 'ß', 'ss'), 'Ä', 'Ae'), 'Ö', 'Oe'), 'Ü', 'Ue'),
    'ø', 'oe'), 'Ø', 'Oe'), 'å', 'aa'), 'Å', 'Aa'), 'æ', 'ae'), 'Æ', 'Ae'), 'ł', 'l'), 'Ł', 'L'));
create or replace macro events.fill(pattern, salt, id) as array_to_string(list_transform(
    string_split(pattern, ''), lambda c, i: case c
        when '#' then ((events.h(salt, id) >> (3 * i)) % 10)::text
        when '?' then 'ABCDEFGHJKLMNPRSTUVWXYZ'[1 + ((events.h(salt, id) >> (3 * i)) % 23)::int]
        else c end), '');
create or replace macro events.seconds(salt, id, low, high) as
    to_seconds((low + events.n(salt, id, high - low))::bigint);
-- most of a shop's orders come in the afternoon and evening, some at any hour
create or replace macro events.clock(salt, id) as to_seconds(floor(case
    when events.u(salt || ' any', id) < 0.08 then events.u(salt, id) * 86400
    else 21600 + (events.u(salt, id) + events.u(salt || ' 2', id)) * 32100 end)::bigint);
-- dirt that more than one system has: how people type the same thing
create or replace macro events.typed_email(email, salt, id) as case
    when events.u(salt || ' email', id) < 0.03 then upper(email)
    when events.u(salt || ' email', id) < 0.06 then upper(email[1]) || email[2:]
    when events.u(salt || ' email', id) < 0.08 then email || ' '
    when events.u(salt || ' email', id) < 0.09 then ' ' || email
    else email end;
create or replace macro events.calling_code(phone) as
    regexp_extract(phone, '^\+(352|353|358|351|420|359|49|43|41|33|32|31|44|46|45|47|48|34|39|81|61|1)', 1);
create or replace macro events.typed_phone(phone, salt, id) as case
    when events.u(salt || ' phone', id) < 0.45 then phone
    when events.u(salt || ' phone', id) < 0.60 then '00' || phone[2:]
    when events.u(salt || ' phone', id) < 0.78 then '+' || events.calling_code(phone) || ' '
        || regexp_replace(phone[2 + len(events.calling_code(phone)):], '(...)', '\1 ', 'g')
    when events.u(salt || ' phone', id) < 0.92 then '+' || events.calling_code(phone) || '-'
        || phone[2 + len(events.calling_code(phone)):][1:3] || '-'
        || phone[2 + len(events.calling_code(phone)):][4:]
    when events.calling_code(phone) in ('49', '43', '41', '33', '32', '31', '44', '353', '46', '81', '61')
        then '0' || phone[2 + len(events.calling_code(phone)):][1:2] || '/'
        || phone[2 + len(events.calling_code(phone)):][3:]
    else phone end;
create or replace macro events.typed_firm(name, salt, id) as case
    when events.u(salt || ' firm', id) < 0.55 then name
    when events.u(salt || ' firm', id) < 0.65 then upper(name)
    when events.u(salt || ' firm', id) < 0.75 then events.fold(name)
    else replace(replace(replace(replace(replace(replace(
        name, ' GmbH', ' G.m.b.H.'), ' Ltd', ' Limited'), ' S.A.', ' SA'), ' B.V.', ' BV'), ' AG', ' A.G.'),
        ' S.r.l.', ' SRL') end;
create or replace macro events.typed_vat(vat_id, salt, id) as case
    when events.u(salt || ' vat', id) < 0.60 then vat_id
    when events.u(salt || ' vat', id) < 0.75 then vat_id[1:2] || ' ' || vat_id[3:]
    when events.u(salt || ' vat', id) < 0.85 then vat_id[1:2] || ' '
        || trim(regexp_replace(vat_id[3:], '(...)', '\1 ', 'g'))
    when events.u(salt || ' vat', id) < 0.90 then lower(vat_id)
    else vat_id[3:] end;
create or replace macro events.local_price(price, factor) as (case
    when factor = 1 then price::double
    when factor > 100 then round(price::double * factor / 10) * 10
    when factor > 4 then round(price::double * factor)
    else ceil(price::double * factor) - 0.05 end)::decimal(10, 2);
