-- The small tables all queries of the corpus read. Rows are few but make joins miss, groups differ and ties happen.
create table customers as from (values
    (1, 'Ada Berg', 'ada@a.example', 'DE', date '2024-01-05', null),
    (2, 'Bo Cruz', 'bo@b.example', 'AT', date '2024-02-10', 1),
    (3, 'Cy Dahl', null, 'SE', date '2024-02-20', 1),
    (4, 'Di Eck', 'di@d.example', 'DE', date '2024-03-15', 2),
    (5, 'Ed Fog', 'ed@e.example', 'FR', date '2024-04-01', null)
) t(customer_id, full_name, email, country, signup_date, referrer_id);

create table orders as from (values
    (100, 1, 'paid', 'EUR', 120.50, timestamp '2024-03-01 10:00:00', 'web'),
    (101, 1, 'paid', 'EUR', 80.00, timestamp '2024-03-20 09:30:00', 'app'),
    (102, 2, 'cancelled', 'USD', 45.25, timestamp '2024-03-20 12:00:00', 'web'),
    (103, 2, 'paid', 'USD', 310.00, timestamp '2024-04-02 08:15:00', 'shop'),
    (104, 3, 'placed', 'SEK', 999.90, timestamp '2024-04-15 20:45:00', 'app'),
    (105, 4, 'paid', 'EUR', 80.00, timestamp '2024-05-01 00:00:00', 'web'),
    (106, 9, 'paid', 'EUR', 15.75, timestamp '2024-05-03 11:11:00', null)
) t(order_id, customer_id, status, currency, amount, ordered_at, channel);

create table order_items as from (values
    (1, 100, 'M1', 1, 100.00),
    (2, 100, 'C1', 2, 10.25),
    (3, 101, 'C1', 8, 10.00),
    (4, 102, 'A1', 1, 45.25),
    (5, 103, 'M2', 1, 310.00),
    (6, 104, 'M1', 9, 111.10),
    (7, 105, 'C2', 4, 20.00),
    (8, 999, 'A1', 1, 5.00)
) t(item_id, order_id, sku, quantity, unit_price);

create table products as from (values
    ('M1', 'machine', 'Uno', 109.00, true),
    ('M2', 'machine', 'Due', 319.00, true),
    ('C1', 'coffee', 'Bruno', 10.50, true),
    ('C2', 'coffee', 'Nero', 19.00, false),
    ('A1', 'accessory', 'Brush', 49.00, true),
    ('A2', 'accessory', 'Cup', 9.00, null)
) t(sku, category, title, list_price, is_active);

create table rates as from (values
    ('USD', date '2024-03-01', 1.08), ('USD', date '2024-03-19', 1.10), ('USD', date '2024-04-01', 1.07),
    ('SEK', date '2024-03-01', 11.20), ('SEK', date '2024-04-14', 11.60), ('EUR', date '2024-01-01', 1.00)
) t(currency, rate_date, units_per_eur);

create table payments as from (values
    (1, 100, 120.50, 'card', 'captured', timestamp '2024-03-01 10:05:00'),
    (2, 101, 50.00, 'card', 'captured', timestamp '2024-03-20 09:31:00'),
    (3, 101, 30.00, 'voucher', 'captured', timestamp '2024-03-20 09:32:00'),
    (4, 102, 45.25, 'card', 'refunded', timestamp '2024-03-20 12:01:00'),
    (5, 103, 310.00, 'invoice', 'pending', null),
    (6, 105, 80.00, 'card', 'failed', timestamp '2024-05-01 00:01:00')
) t(payment_id, order_id, amount, method, status, paid_at);

create table employees as from (values
    (1, null, 'Root', 'board', 200), (2, 1, 'Ann', 'sales', 120), (3, 1, 'Ben', 'tech', 130),
    (4, 2, 'Cat', 'sales', 90), (5, 3, 'Dan', 'tech', 95), (6, 5, 'Eve', 'tech', 70)
) t(employee_id, manager_id, name, dept, salary);

create table addresses as from (values
    (1, 1, 'Bonn', 'DE', timestamp '2024-01-05 00:00:00'),
    (2, 1, 'Berlin', 'DE', timestamp '2024-03-10 00:00:00'),
    (3, 2, 'Wien', 'AT', timestamp '2024-02-10 00:00:00'),
    (4, 2, 'Graz', 'AT', timestamp '2024-04-01 00:00:00'),
    (5, 3, 'Lund', 'SE', timestamp '2024-02-20 00:00:00'),
    (6, 2, 'Linz', 'AT', timestamp '2024-04-20 00:00:00')
) t(address_id, customer_id, city, country, updated_at);

create table events as from (values
    (1, 'u1', 'view', timestamp '2024-05-01 10:00:00', 3),
    (2, 'u1', 'cart', timestamp '2024-05-01 10:05:00', 1),
    (3, 'u1', 'buy', timestamp '2024-05-01 10:20:00', 1),
    (4, 'u2', 'view', timestamp '2024-05-01 11:00:00', 5),
    (5, 'u2', 'view', timestamp '2024-05-01 12:30:00', 2),
    (6, 'u2', 'cart', timestamp '2024-05-01 12:35:00', null),
    (7, 'u3', 'view', timestamp '2024-05-02 09:00:00', 7),
    (8, 'u1', 'view', timestamp '2024-05-03 08:00:00', 4)
) t(event_id, user_id, kind, occurred_at, score);

create table readings as from (values
    ('s1', date '2024-06-01', 10), ('s1', date '2024-06-02', 12), ('s1', date '2024-06-04', 11),
    ('s1', date '2024-06-05', 11), ('s2', date '2024-06-01', 5), ('s2', date '2024-06-03', null),
    ('s2', date '2024-06-04', 7)
) t(sensor, day, reading);

create table budgets as from (values
    ('north', 2023, 10, 20, 30, null), ('north', 2024, 11, 21, 31, 41), ('south', 2024, 5, null, 15, 25),
    ('west', 2024, 7, 8, 9, 10)
) t(region, year, q1, q2, q3, q4);

create table page_views (event_id integer, page json, session json, load_ms double);
insert into page_views values
    (1, '{"path":"/","group":"home","meta":{"lang":"de","tags":["x","y"]}}', '{"id":"a","visitor":1}', 120),
    (2, '{"path":"/m1","group":"product","meta":{"lang":"de","tags":["z"]}}', '{"id":"a","visitor":1}', 250),
    (3, '{"path":"/c1","group":"product","meta":{"lang":"en","tags":[]}}', '{"id":"b","visitor":2}', 90),
    (4, '{"path":"/pay","group":"checkout","meta":{"lang":"en"}}', '{"id":"b","visitor":2}', 400),
    (4, '{"path":"/pay","group":"checkout","meta":{"lang":"en"}}', '{"id":"b","visitor":2}', 400);

create table invoices (number text, lines json, account json);
insert into invoices values
    ('R1', '[{"sku":"M1","q":2,"p":10.5},{"sku":"C1","q":1,"p":3}]', '{"name":"Firm A","vat":"DE1"}'),
    ('R2', '[{"sku":"C1","q":5,"p":2.5}]', '{"name":"Firm B","vat":null}'),
    ('R3', '[]', '{"name":"Firm A","vat":"DE1"}');

create table documents (
    doc_id integer, tags varchar[], scores integer[],
    owner struct(name varchar, team struct(id integer, label varchar)), attributes map(varchar, integer)
);
insert into documents values
    (1, ['red', 'blue'], [3, 1, 2], {'name': 'Ann', 'team': {'id': 1, 'label': 'one'}}, map {'w': 1, 'h': 2}),
    (2, ['blue'], [5], {'name': 'Ben', 'team': {'id': 2, 'label': 'two'}}, map {'w': 7}),
    (3, [], [], {'name': 'Cat', 'team': {'id': 1, 'label': 'one'}}, map {'h': 4}),
    (4, null, [9, 9], {'name': 'Dan', 'team': null}, null);
