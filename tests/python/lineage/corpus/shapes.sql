-- name: star_exclude
select * exclude (email, referrer_id) from customers;

-- name: star_replace
select * replace (round(amount) as amount, upper(status) as status) from orders;

-- name: star_rename
select * rename (full_name as name, country as country_code) from customers;

-- name: star_exclude_replace_rename
select o.* exclude (channel) replace (amount * 2 as amount) rename (status as state), c.country from orders o left join customers c using (customer_id);

-- name: star_like
select * like '%_id' from orders;

-- name: qualified_star_like
select o.* like '%d%', c.full_name from orders o join customers c using (customer_id);

-- name: star_exclude_qualified
select * exclude (c.country, a.customer_id) from customers c join addresses a on a.customer_id = c.customer_id;

-- name: star_not_like
select * not like '%a%' from orders;

-- name: columns_regex
select columns('^(order|amount)') from orders;

-- name: columns_lambda
select columns(c -> c like '%_id') from orders;

-- name: columns_list
select columns(['status', 'amount']) from orders;

-- name: columns_in_aggregate
select max(columns(* exclude (channel, ordered_at))) from orders;

-- name: columns_twice
select max(columns('^q')) - min(columns('^q')) from budgets;

-- name: columns_unpacked
select region, greatest(*columns('^q')) as best from budgets;

-- name: columns_in_where
select region from budgets where columns('^q[13]') > 6;

-- name: columns_renamed
select columns('q(\d)') as 'quarter_\1' from budgets;

-- name: row_as_struct
select o.order_id, o as whole from orders o where o.amount > 100;

-- name: pivot_statement_static
pivot orders on status in ('paid', 'cancelled') using sum(amount) group by currency;

-- name: pivot_statement_dynamic
pivot orders on currency using sum(amount) as total, count(*) as n group by status;

-- name: pivot_without_group
pivot (select status, currency, amount from orders) on currency in ('EUR', 'USD') using max(amount);

-- name: pivot_sql_standard
select * from (select channel, currency, amount from orders) pivot (sum(amount) as s, max(amount) as m for currency in ('EUR', 'USD' as dollars) group by channel);

-- name: pivot_two_columns
pivot orders on status in ('paid'), currency in ('EUR', 'USD') using sum(amount) group by channel;

-- name: pivot_in_cte
with monthly as (pivot orders on month(ordered_at) in (3, 4) using sum(amount) as amount group by customer_id)
select c.full_name, m."3_amount" as march, m."4_amount" as april from monthly m join customers c using (customer_id);

-- name: dynamic_pivot_then_select
with wide as (pivot events on kind using count(*) group by user_id) select user_id, buy, cart + view as other from wide;

-- name: unpivot_statement
unpivot budgets on q1, q2, q3, q4 into name quarter value amount;

-- name: unpivot_columns
unpivot budgets on columns('^q') into name quarter value amount;

-- name: unpivot_expression
unpivot budgets on q1 * 2 as doubled, q3 as third into name part value amount;

-- name: unpivot_standard_nulls
select region, quarter, amount from budgets unpivot include nulls (amount for quarter in (q1, q2 as second));

-- name: unpivot_pairs
unpivot budgets on (q1, q2) as first, (q3, q4) as second into name half value early, late;

-- name: unpivot_then_aggregate
select region, max(amount) as best, arg_max(quarter, amount) as best_quarter from (unpivot budgets on q1, q2, q3, q4 into name quarter value amount) group by region;

-- name: conditional_pivot
select customer_id, sum(case when status = 'paid' then amount else 0 end) as paid, max(if(channel = 'web', ordered_at, null)) as last_web from orders group by customer_id;

-- name: unnest_in_select
select doc_id, unnest(tags) as tag from documents;

-- name: unnest_lateral
select d.doc_id, t.score from documents d, unnest(d.scores) t(score) where t.score > 1;

-- name: unnest_cross_join_left
select d.doc_id, u.tag from documents d left join unnest(d.tags) u(tag) on true;

-- name: unnest_with_ordinality
select d.doc_id, u.tag, u.place from documents d, unnest(d.tags) with ordinality as u(tag, place);

-- name: unnest_struct
select doc_id, unnest(owner) from documents;

-- name: unnest_struct_recursive
select doc_id, unnest(owner, recursive := true) from documents;

-- name: struct_star
select doc_id, owner.* from documents;

-- name: struct_fields
select doc_id, owner.name as owner_name, owner.team.label as team, owner['team']['id'] as team_id, struct_extract(owner, 'name') as again from documents;

-- name: struct_field_filter
select d.doc_id from documents d where d.owner.team.id = 1;

-- name: struct_through_cte
with teams as (select doc_id, owner.team as team from documents) select team.label as label, count(*) as n from teams group by all;

-- name: struct_made_and_taken_apart
with packed as (select order_id, {'money': amount, 'where': channel} as facts from orders) select order_id, facts.money * 2 as twice, facts.where as place from packed;

-- name: list_functions
select doc_id, list_sum(scores) as total, len(tags) as tag_count, list_transform(scores, s -> s * doc_id) as scaled, list_filter(scores, lambda s: s > 1) as big, list_reduce(list_append(scores, 0), (a, b) -> a + b) as summed from documents;

-- name: list_comprehension
select doc_id, [upper(t) for t in tags if len(t) > 3] as long_tags, [s + doc_id for s in scores] as moved from documents;

-- name: list_and_map_access
select doc_id, scores[1] as first_score, tags[1:1] as head, attributes['w'] as width, map_keys(attributes) as keys from documents;

-- name: list_aggregated_and_unnested
with lists as (select customer_id, list(amount order by ordered_at) as amounts from orders group by 1) select customer_id, unnest(amounts) as amount from lists;

-- name: list_of_structs
with lists as (select customer_id, list({'id': order_id, 'money': amount} order by order_id) as items from orders group by customer_id)
select customer_id, list_sum([i.money for i in items]) as total, [i.id for i in items] as ids from lists;

-- name: json_arrow
select event_id, page->>'$.group' as page_group, page->'meta'->>'lang' as lang, load_ms from page_views;

-- name: json_arrow_in_function
select lower(page->>'path') as path, coalesce(page->'$.meta.tags', '[]') as tags, max(session->'id') over () as top from page_views;

-- name: json_group_filter
select page->>'$.group' as page_group, count(distinct event_id) as views, avg(load_ms) as load_ms from page_views where session->>'$.visitor' <> '3' group by 1;

-- name: json_through_ctes
with source as (select * from page_views), renamed as (select event_id, page as document, session->>'id' as session_id from source)
select session_id, document->'meta'->>'lang' as lang, json_extract_string(document, '$.path') as path from renamed;

-- name: json_lines
select i.number, line->>'sku' as sku, (line->>'q')::int * (line->>'p')::double as amount
from (select number, unnest(lines::json[]) as line from invoices) i;

-- name: json_lines_typed
with lines as (select number, unnest(from_json(lines, '[{"sku":"VARCHAR","q":"INTEGER","p":"DOUBLE"}]')) as line, account->>'name' as account from invoices)
select account, line.sku, sum(line.q * line.p) as amount from lines group by all;

-- name: json_lines_recursive
select number, unnest(from_json(lines, '[{"sku":"VARCHAR","q":"INTEGER"}]'), recursive := true) from invoices;

-- name: json_each_lines
select i.number, cast(l.key as integer) + 1 as line_number, l.value->>'sku' as sku, l.value->>'$.p' as price
from invoices i, json_each(i.lines) as l where l.value->>'q' <> '5';

-- name: json_each_of_object
select event_id, field.key, field.value as content from page_views, json_each(page, '$.meta') field;

-- name: json_array_wildcard
select event_id, page->'$.meta.tags[*]' as tags, json_array_length(page->'$.meta.tags') as tag_count from page_views;

-- name: json_built
select json_object('id', order_id, 'money', amount)::text as document from orders where currency = 'EUR';

-- name: generate_series_calendar
select d.day::date as day, count(o.order_id) as orders from generate_series(date '2024-03-19', date '2024-03-22', interval 1 day) d(day)
left join orders o on o.ordered_at::date = d.day::date group by 1;

-- name: generate_series_lateral
select i.item_id, n.range + 1 as piece from order_items i, range(i.quantity) n where i.quantity < 5;

-- name: generate_series_per_row
select i.item_id, n.generate_series as piece from order_items i, generate_series(1, least(i.quantity, 4)) n;

-- name: unnest_range
select order_id, unnest(range(least(quantity, 12))) as piece, sku from order_items;

-- name: recursive_hierarchy
with recursive tree as (
    select employee_id, name, 1 as depth, name as path from employees where manager_id is null
    union all
    select e.employee_id, e.name, t.depth + 1, t.path || '/' || e.name from employees e join tree t on e.manager_id = t.employee_id
    where t.depth < 6
)
select name, depth, path from tree;

-- name: recursive_distinct
with recursive reach(customer_id) as (
    select customer_id from customers where referrer_id is null union select c.customer_id from customers c join reach r on c.referrer_id = r.customer_id
)
select c.full_name from reach join customers c using (customer_id);

-- name: recursive_numbers
with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < (select least(max(quantity), 30) from order_items)) select n, count(i.item_id) as items from numbers left join order_items i on i.quantity = n group by n;

-- name: recursive_total_salary
with recursive below as (
    select employee_id as boss, employee_id, salary, 1 as level from employees
    union all
    select b.boss, e.employee_id, e.salary, b.level + 1 from below b join employees e on e.manager_id = b.employee_id
    where b.level < 6
)
select boss, sum(salary) as cost, count(*) - 1 as reports from below group by boss;

-- name: from_first
from orders select order_id, amount where status = 'paid';

-- name: prefix_alias
select total: sum(amount), buyers: count(distinct customer_id) from orders;

-- name: exclude_from_join
select * exclude (customer_id) from customers join orders using (customer_id) where country = 'DE';

-- name: duplicate_names
select a.* , b.amount as other from (select * from orders o join payments p on p.order_id = o.order_id) a join orders b on b.order_id = a.order_id_1;

-- name: chained_calls
select full_name.upper().replace('A', 'x') as loud, scores.list_transform(s -> s + 1) as more from customers positional join documents;

-- name: casts_and_times
select order_id, cast(amount as integer) as whole, try_cast(channel as integer) as bad, ordered_at at time zone 'UTC' as at_utc, extract(hour from ordered_at) as hour, strftime(ordered_at, '%Y-%m') as month from orders;

-- name: keyword_positions
select #2 as second from orders where #1 > 101;

-- name: materialized_cte_twice
with big as materialized (select * from orders where amount > 60) select a.order_id, b.order_id as other from big a join big b on a.currency = b.currency and a.order_id < b.order_id;

-- name: nested_with
with outer_cte as (with inner_cte as (select customer_id, amount from orders where status = 'paid') select customer_id, sum(amount) as total from inner_cte group by 1)
select full_name, total from customers left join outer_cte using (customer_id);

-- name: cte_shadows_table
with orders as (select order_id, status as amount from orders) select amount, count(*) as n from orders group by 1;

-- name: create_table_as
create or replace temp table made as select sku, sum(quantity) as sold from order_items group by sku;

-- name: list_filter_lambda
select doc_id, list_filter(scores, lambda x: x > doc_id) as f, list_transform(tags, lambda t: t || owner.name) as g from documents;

-- name: list_reduce
select doc_id, list_reduce(scores, lambda a, b: a + b * doc_id) as r from documents where len(scores) > 0;

-- name: list_comprehension_with_condition
select doc_id, [x * 2 for x in scores if x > doc_id] as c from documents;

-- name: struct_extract_nested
select owner.team.label as l, struct_extract(owner, 'name') as n, owner['team']['id'] as i from documents;

-- name: generate_subscripts
select doc_id, generate_subscripts(scores, 1) as i, unnest(scores) as s from documents;

-- name: columns_lambda_where
select * from budgets where columns(c -> c like 'q%') > 1;

-- name: struct_insert_and_pack
select struct_insert(owner, doc := doc_id) as s, struct_pack(a := doc_id, b := owner.name).b as t from documents;

-- name: slices_and_format
select email[1:3] as a, country[-1] as b, format('{}-{}', full_name, customer_id) as c from customers;

-- name: recursive_paths
with recursive r(employee_id, name, lvl) as (select employee_id, name, 0 from employees where manager_id is null union all select e.employee_id, r.name || '/' || e.name, lvl + 1 from employees e join r on e.manager_id = r.employee_id where lvl < 3) select * from r;

-- name: field_of_an_unnamed_row
select s.second, (row(order_id, channel)::struct(a bigint, b varchar)).a as first
from (select (status, amount)::struct(first varchar, second varchar) as s, order_id, channel from orders);

-- name: alias_to_the_right
select amount as before, amount / 100 as amount, before || '' as again from orders;

-- name: grouping_of_columns
select status, grouping(status) as is_total, grouping_id(status, channel) as which, sum(amount) as total
from orders group by rollup (status, channel);
