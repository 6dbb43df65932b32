"""The shops in town: one SQLite file of the till system as of a date, in local time and cents of local currency.

`write` fills a new file, or changes one that holds an earlier date in place by exactly the rows that differ.
"""

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb

from sandbox.world import cutoff

SCHEMA = """
create table stores (
    store_id text primary key, name text not null, city text not null, country_code text not null,
    timezone text not null, currency text not null, opened_on text not null, updated_at text not null
);
create table members (
    member_id text primary key, full_name text not null, email text, phone text, postal_code text not null,
    country_code text not null, joined_on text not null, updated_at text not null
);
create table sales (
    sale_id text primary key, store_id text not null, member_id text, sold_at text not null, currency text not null,
    total_cents integer not null, voided_at text, updated_at text not null
);
create table sale_lines (
    line_id integer primary key, sale_id text not null, line_number integer not null, ean text not null,
    quantity integer not null, unit_price_cents integer not null, discount_cents integer not null
);
"""

TABLES = {"stores": "store_id", "members": "member_id", "sales": "sale_id", "sale_lines": "line_id"}

_PROJECTION = """
create or replace table $schema.stores as
select
    store_id, name, city, country_code, timezone,
    if(currency_changes_at < $cutoff, next_currency, currency) as currency,
    opened_on::text as opened_on,
    strftime(if(currency_changes_at < $cutoff, currency_changes_at, known_at), '%Y-%m-%dT%H:%M:%SZ') as updated_at
from events.stores where known_at < $cutoff
order by 1;

create or replace table $schema.members as
select
    m.member_id,
    case when events.u('till name', p.party_id) < 0.35 then events.fold(p.name)
        when events.u('till name', p.party_id) < 0.45 then upper(p.name) else p.name end as full_name,
    case when m.has_email then events.typed_email(p.email, 'till', p.party_id) end as email,
    case when m.has_phone or m.phone_added_at < $cutoff
        then events.typed_phone(p.phone, 'till', p.party_id) end as phone,
    m.postal_code, p.country_code, m.known_at::date::text as joined_on,
    strftime(if(m.phone_added_at < $cutoff and p.phone is not null, m.phone_added_at, m.known_at), '%Y-%m-%dT%H:%M:%SZ')
        as updated_at
from events.store_members as m join events.parties as p using (party_id)
where m.known_at < $cutoff
order by 1;

create or replace table $schema.sales as
select
    sale_id, store_id, member_id, strftime(sold_at, '%Y-%m-%d %H:%M:%S') as sold_at, currency, total_cents,
    if(void_known_at < $cutoff, strftime(voided_at, '%Y-%m-%d %H:%M:%S'), null) as voided_at,
    strftime(if(void_known_at < $cutoff, void_known_at, known_at), '%Y-%m-%d %H:%M:%S') as updated_at
from events.store_sales where known_at < $cutoff
order by 1;

create or replace table $schema.sale_lines as
select line_id, sale_id, line_number, ean, quantity, unit_price_cents, discount_cents
from events.store_sale_lines where known_at < $cutoff
order by 1;
"""


def project(con: duckdb.DuckDBPyConnection, *, date: dt.date, schema: str = "stores") -> None:
    """Create the tills' tables as of `date` in `schema` of the world's connection, columns as in `SCHEMA`."""
    con.execute(f"create schema if not exists {schema}")
    con.execute(_PROJECTION.replace("$schema", schema).replace("$cutoff", f"timestamp '{cutoff(date)}'"))


def write(
    world_con: duckdb.DuckDBPyConnection, sqlite_path: Path, *, date: dt.date, previous: dt.date | None
) -> dict[str, int]:
    """Bring the file at `sqlite_path` to `date` in one transaction; rows inserted, updated and deleted per table.

    Without `previous` the tables are created again; otherwise the file must hold the state of `previous`.
    """
    project(world_con, date=date)
    if previous:
        project(world_con, date=previous, schema="stores_before")
    sqlite_path.parent.mkdir(parents=True, exist_ok=True)
    written = {}
    try:
        with closing(sqlite3.connect(sqlite_path, isolation_level=None)) as till:
            till.execute("begin immediate")
            if not previous:
                for table in TABLES:
                    till.execute(f"drop table if exists {table}")
                for statement in SCHEMA.split(";\n"):
                    till.execute(statement)
            for table, key in TABLES.items():
                written[table] = _apply(world_con, till, table, key, differs=previous is not None)
            till.execute("commit")
    finally:
        world_con.execute("drop schema if exists stores_before cascade")
        world_con.execute("drop schema stores cascade")
    return written


def _apply(
    con: duckdb.DuckDBPyConnection, till: sqlite3.Connection, table: str, key: str, *, differs: bool
) -> int:
    """Upsert the rows of `table` that are new or changed and delete those that are gone; how many in all."""
    result = con.execute(
        f"from stores.{table}"
        + (f" except from stores_before.{table}" if differs else "")
        + f" order by {key}"
    )
    columns = [column[0] for column in result.description]
    rows = result.fetchall()
    values = ", ".join(f"{column} = excluded.{column}" for column in columns if column != key)
    till.executemany(
        f"insert into {table} values ({', '.join('?' * len(columns))}) on conflict ({key}) do update set {values}",
        rows,
    )
    gone = (
        con.execute(
            f"select {key} from stores_before.{table} except select {key} from stores.{table}"
        ).fetchall()
        if differs
        else []
    )
    till.executemany(f"delete from {table} where {key} = ?", gone)
    return len(rows) + len(gone)
