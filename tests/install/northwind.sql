create table categories (category_id int primary key, category_name text not null, description text);
create table suppliers (supplier_id int primary key, company_name text not null, city text, country text);
create table products (
    product_id int primary key, product_name text not null, supplier_id int references suppliers,
    category_id int references categories, unit_price numeric(10, 2) not null, discontinued boolean not null
);
create table customers (
    customer_id text primary key, company_name text not null, contact_name text, email text, country text not null,
    updated_at timestamptz not null
);
create table orders (
    order_id int primary key, customer_id text not null references customers, order_date date not null,
    shipped_date date, freight numeric(10, 2) not null, updated_at timestamptz not null
);
create table order_details (
    order_id int references orders, product_id int references products, unit_price numeric(10, 2) not null,
    quantity int not null, discount numeric(4, 2) not null, primary key (order_id, product_id)
);
comment on table order_details is 'Lines of orders.';
comment on column orders.freight is 'Freight in EUR.';
insert into categories select i, 'Category ' || i, 'Goods of kind ' || i from generate_series(1, 8) i;
insert into suppliers select i, 'Supplier ' || i, 'City ' || i % 20, (array['DE', 'FR', 'IT'])[1 + i % 3]
    from generate_series(1, 29) i;
insert into products select i, 'Product ' || i, 1 + i % 29, 1 + i % 8, (i * 7 % 90) + 0.99, i % 11 = 0
    from generate_series(1, 77) i;
insert into customers select 'C' || lpad(i::text, 4, '0'), 'Company ' || i, 'Ann Number' || i,
    'ann' || i || '@example.com', (array['DE', 'FR', 'IT', 'US'])[1 + i % 4],
    timestamptz '2026-01-01 UTC' + i * interval '1 hour' from generate_series(1, 91) i;
insert into orders select 10247 + i, 'C' || lpad((1 + i * 31 % 91)::text, 4, '0'), date '2026-01-01' + i / 3,
    case when i % 40 > 0 then date '2026-01-04' + i / 3 end, (i * 13 % 1000) / 10.0,
    timestamptz '2026-01-01 UTC' + i * interval '8 hours' from generate_series(1, 830) i;
insert into order_details select 10247 + i, 1 + (i * 17 + j * 5) % 77, ((i + j) * 7 % 90) + 0.99, 1 + (i * j) % 30,
    (i % 4) * 0.05 from generate_series(1, 830) i, generate_series(1, 3) j;
