"""The online shop: its PostgreSQL database as of a date, projected from the world's events with the shop's dirt.

`write` fills an empty database, or changes one that holds an earlier date by exactly the rows that differ.
"""

import datetime as dt

import duckdb

from sandbox.world import cutoff

SCHEMA = """
create table customers (
    customer_id bigint primary key, email text not null, full_name text not null, phone text, company_name text,
    vat_id text, marketing_opt_in boolean not null, created_at timestamptz not null, updated_at timestamptz not null,
    deleted_at timestamptz
);
create table addresses (
    address_id bigint primary key, customer_id bigint not null, kind text not null, street text not null,
    postal_code text not null, city text not null, country_code text not null, updated_at timestamptz not null
);
create table products (
    product_id bigint primary key, sku text not null, ean text not null, name text not null, category text not null,
    list_price numeric(10, 2) not null, is_active boolean not null, updated_at timestamptz not null
);
create table orders (
    order_id bigint primary key, customer_id bigint not null, status text not null, currency text not null,
    shipping_country text not null, shipping_postal_code text not null, ordered_at timestamptz not null,
    cancelled_at timestamptz, updated_at timestamptz not null
);
create table order_items (
    order_item_id bigint primary key, order_id bigint not null, line_number int not null, product_id bigint not null,
    quantity int not null, unit_price numeric(10, 2) not null, discount_amount numeric(10, 2) not null,
    updated_at timestamptz not null
);
create table payments (
    payment_id bigint primary key, order_id bigint not null, method text not null, amount numeric(12, 2) not null,
    currency text not null, status text not null, paid_at timestamptz, updated_at timestamptz not null
);
create table refunds (
    refund_id bigint primary key, order_id bigint not null, order_item_id bigint not null, quantity int not null,
    amount numeric(12, 2) not null, reason text not null, refunded_at timestamptz not null,
    updated_at timestamptz not null
);
"""

TABLES = {
    "customers": "customer_id",
    "addresses": "address_id",
    "products": "product_id",
    "orders": "order_id",
    "order_items": "order_item_id",
    "payments": "payment_id",
    "refunds": "refund_id",
}

# `updated_at` is the newest of the events that made the row what it is, so it rises whenever the row changes.
_PROJECTION = """
create or replace table $schema.customers as
with states as (
    select
        *, opt_changed_at < least($cutoff, coalesce(deleted_at, $cutoff)) as has_changed_opt,
        deleted_at < $cutoff as is_deleted
    from events.shop_customers where known_at < $cutoff
)
select
    c.customer_id, events.typed_email(p.email, 'shop', p.party_id) as email,
    case when events.u('shop name', p.party_id) < 0.03 then upper(p.first_name || ' ' || p.last_name)
        when events.u('shop name', p.party_id) < 0.06 then lower(p.first_name || ' ' || p.last_name)
        else p.first_name || ' ' || p.last_name end as full_name,
    case when c.has_phone then events.typed_phone(p.phone, 'shop', p.party_id) end as phone,
    case when p.kind = 'firm' then events.typed_firm(p.name, 'shop', p.party_id) end as company_name,
    events.typed_vat(p.vat_id, 'shop', p.party_id) as vat_id,
    if(has_changed_opt, not c.opt_in, c.opt_in) as marketing_opt_in,
    timezone('UTC', c.known_at) as created_at,
    timezone('UTC', greatest(c.known_at, if(has_changed_opt, c.opt_changed_at, null), if(is_deleted, c.deleted_at,
        null)))
        as updated_at,
    timezone('UTC', if(is_deleted, c.deleted_at, null)) as deleted_at
from states as c join events.parties as p using (party_id)
order by 1;

create or replace table $schema.addresses as
with held as (
    select
        c.customer_id, k.kind, a.street, a.postal_code, a.city, p.country_code,
        greatest(c.known_at, a.known_at) as known_at, a.valid_to
    from events.shop_customers as c
    join events.parties as p using (party_id)
    join events.party_addresses as a on a.party_id = c.party_id and coalesce(a.valid_to > c.known_at, true)
    join (values ('billing'), ('shipping')) as k (kind)
        on k.kind = 'billing' or events.u('shipping address', c.customer_id) < 0.4
), numbered as (
    select *, row_number() over (order by known_at, customer_id, kind) + 400000 as address_id from held
)
select
    address_id, customer_id, kind, street, postal_code, city, country_code, timezone('UTC', known_at) as updated_at
from numbered where known_at < $cutoff and coalesce(valid_to >= $cutoff, true)
order by 1;

create or replace table $schema.products as
select
    product_id, sku, ean, name, category, list_price_eur as list_price, is_active, timezone('UTC', known_at)
        as updated_at
from events.product_versions where known_at < $cutoff
qualify row_number() over (partition by product_id order by version desc) = 1
order by 1;

create or replace temp table shop_standing as
select
    order_id, customer_id, currency, shipping_country, shipping_postal_code, payment_method, known_at,
    if(paid_at < $cutoff, paid_at, null) as paid_at, if(shipped_at < $cutoff, shipped_at, null) as shipped_at,
    if(delivered_at < $cutoff, delivered_at, null) as delivered_at,
    if(cancelled_at < $cutoff, cancelled_at, null) as cancelled_at
from events.shop_orders where known_at < $cutoff and coalesce(purged_at >= $cutoff, true);

create or replace table $schema.orders as
select
    order_id, customer_id,
    case when cancelled_at is not null then 'cancelled' when delivered_at is not null then 'delivered'
        when shipped_at is not null then 'shipped' when paid_at is not null then 'paid' else 'placed' end as status,
    currency, shipping_country, shipping_postal_code, timezone('UTC', known_at) as ordered_at,
    timezone('UTC', cancelled_at) as cancelled_at,
    timezone('UTC', greatest(known_at, paid_at, shipped_at, delivered_at, cancelled_at)) as updated_at
from shop_standing order by 1;

create or replace table $schema.order_items as
select
    i.order_item_id, i.order_id, i.line_number, i.product_id, i.quantity, i.unit_price, i.discount_amount,
    timezone('UTC', i.known_at) as updated_at
from events.shop_order_items as i semi join shop_standing as o using (order_id)
order by 1;

create or replace table $schema.payments as
with totals as (
    select order_id, sum(quantity * unit_price - discount_amount)::decimal(12, 2) as amount
    from events.shop_order_items group by order_id
)
select
    o.order_id + 600000 as payment_id, o.order_id, o.payment_method as method, t.amount, o.currency,
    case when o.cancelled_at is not null and o.paid_at is not null then 'refunded'
        when o.cancelled_at is not null then 'failed' when o.paid_at is not null then 'captured' else 'pending' end
        as status,
    timezone('UTC', o.paid_at) as paid_at,
    timezone('UTC', greatest(o.known_at, o.paid_at, o.cancelled_at)) as updated_at
from shop_standing as o join totals as t using (order_id)
order by 1;

create or replace table $schema.refunds as
select
    refund_id, order_id, order_item_id, quantity, amount, reason, timezone('UTC', known_at) as refunded_at,
    timezone('UTC', known_at) as updated_at
from events.shop_refunds where known_at < $cutoff
order by 1;

drop table shop_standing;
"""


def project(con: duckdb.DuckDBPyConnection, *, date: dt.date, schema: str = "shop") -> None:
    """Create the shop's tables as of `date` in `schema` of the world's connection, columns as in `SCHEMA`."""
    con.execute("set timezone = 'UTC'")
    con.execute(f"create schema if not exists {schema}")
    con.execute(_PROJECTION.replace("$schema", schema).replace("$cutoff", f"timestamp '{cutoff(date)}'"))


def write(
    world_con: duckdb.DuckDBPyConnection, pg_url: str, *, date: dt.date, previous: dt.date | None
) -> dict[str, int]:
    """Bring the database at `pg_url` to `date` in one transaction; rows inserted, updated and deleted per table.

    Without `previous` the tables are created again; otherwise the database must hold the state of `previous`.
    """
    import duckdb_extensions

    duckdb_extensions.import_extension("postgres_scanner", con=world_con)
    world_con.execute("load postgres_scanner")
    project(world_con, date=date)
    if previous:
        project(world_con, date=previous, schema="shop_before")
    world_con.execute(f"attach '{pg_url}' as shop_db (type postgres)")
    try:
        world_con.execute("begin")
        try:
            written = _advance(world_con) if previous else _fill(world_con)
        except BaseException:
            world_con.execute("rollback")
            raise
        world_con.execute("commit")
    finally:
        world_con.execute("detach shop_db")
        world_con.execute("drop schema if exists shop_before cascade")
        world_con.execute("drop schema shop cascade")
    return written


def _run(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Run a statement inside PostgreSQL, in the transaction under way."""
    con.execute("call postgres_execute('shop_db', ?)", [sql])


def _count(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = con.execute(sql).fetchone()
    return int(row[0]) if row else 0


def _fill(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    _run(con, "".join(f"drop table if exists {table};" for table in TABLES) + SCHEMA)
    con.execute("call pg_clear_cache()")
    return {
        table: _count(con, f"insert into shop_db.public.{table} select * from shop.{table}")
        for table in TABLES
    }


def _advance(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    written = {}
    for table, key in TABLES.items():
        con.execute(f"""
            create or replace temp table changed as from shop.{table} except from shop_before.{table};
            create or replace temp table gone as
                select {key} from shop_before.{table} except select {key} from shop.{table};
        """)
        columns = [
            name for (name,) in con.execute(f"select column_name from (describe shop.{table})").fetchall()
        ]
        written[table] = _count(con, "select (select count(*) from changed) + (select count(*) from gone)")
        if not written[table]:
            continue
        _run(con, f"create table incoming (like {table}); create table outgoing (id bigint)")
        con.execute("call pg_clear_cache()")
        con.execute(f"insert into shop_db.public.incoming select * from changed order by {key}")
        con.execute("insert into shop_db.public.outgoing select * from gone")
        values = ", ".join(f"{column} = excluded.{column}" for column in columns if column != key)
        _run(
            con,
            f"delete from {table} where {key} in (select id from outgoing);"
            f"insert into {table} select * from incoming on conflict ({key}) do update set {values};"
            "drop table incoming; drop table outgoing",
        )
    con.execute("drop table changed; drop table gone")
    return written
