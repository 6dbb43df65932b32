"""Statements and calls that must not work; each is refused and noted, and nothing of the machine comes back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from google.protobuf.any_pb2 import Any as StagedFile

from sluice.serve import flight_sql

from .conftest import Served

CANARY = "the-canary-of-this-machine"

ATTACKS = {
    # files
    "read csv": "from read_csv('{file}')",
    "read text": "select * from read_text('{file}')",
    "read blob": "select content from read_blob('{file}')",
    "read json": "from read_json('{file}')",
    "read parquet": "from read_parquet('{file}')",
    "sniff csv": "from sniff_csv('{file}')",
    "glob": "from glob('{folder}/*')",
    "replacement scan": "from '{file}'",
    "replacement scan, double quotes": 'from "{file}"',
    "replacement scan in a subquery": "select (select max(column0) from '{file}')",
    "replacement scan behind a cte of the name": 'select * from (with "{file}" as (select 1) from "{file}") a, "{file}"',
    "replacement scan of a python variable": "from statements",
    "system view behind a cte of the name": "select * from (with duckdb_logs as (select 1) from duckdb_logs), duckdb_logs",
    "system view before a cte of the name": "with a as (from duckdb_databases), duckdb_databases as (select 1) from a",
    "scan arrow": "from arrow_scan(1, 2, 3)",
    "copy out": "copy dim_products to '{folder}/out.csv'",
    "copy in": "copy dim_products from '{file}'",
    "copy of a query": "copy (select 1) to '{folder}/out.parquet' (format parquet)",
    "export": "export database '{folder}/out'",
    "import": "import database '{folder}/out'",
    "parquet metadata": "from parquet_metadata('{file}')",
    "database by file": "from '{warehouse}'",
    # other databases and extensions
    "attach the warehouse": "attach '{warehouse}' as w",
    "attach memory": "attach ':memory:' as m",
    "detach": "detach published",
    "use": "use memory",
    "install": "install httpfs",
    "load": "load httpfs",
    "force install": "force install httpfs from 'http://127.0.0.1:1'",
    "create secret": "create secret (type s3, key_id 'a', secret 'b')",
    "other catalog": "from memory.main.dim_products",
    "system catalog": "from system.main.duckdb_settings",
    # settings, environment, the server itself
    "getenv": "select getenv('CANARY')",
    "current setting": "select current_setting('temp_directory')",
    "settings": "from duckdb_settings()",
    "secrets": "from duckdb_secrets()",
    "databases": "from duckdb_databases()",
    "log": "from duckdb_logs",
    "log parser": "select parse_duckdb_log_message('FileSystem', 'x')",
    "write log": "select write_log('x')",
    "variable": "select getvariable('masking_key')",
    "set": "set threads = 1",
    "set global": "set global enable_external_access = true",
    "reset": "reset lock_configuration",
    "set variable": "set variable x = 1",
    "pragma": "pragma database_list",
    "pragma as call": "call pragma_version()",
    "pragma as table": "from pragma_database_list()",
    "pragma with value": "pragma enable_profiling = 'json'",
    "checkpoint": "checkpoint",
    "vacuum": "vacuum",
    "force close": "select sleep_ms(100000)",
    "sequence": "select nextval('s')",
    # writing
    "create table": "create table x as select 1",
    "create temp table": "create temp table x as select 1",
    "create macro": "create macro m(x) as x",
    "create temp macro": "create temp macro m() as table from read_csv('{file}')",
    "create view": "create temp view v as from dim_products",
    "create function": "create function f(a) as a + 1",
    "create type": "create type t as enum ('a')",
    "insert": "insert into dim_products values ('a', 'b')",
    "update": "update dim_products set title = 'x'",
    "delete": "delete from dim_products",
    "truncate": "truncate dim_products",
    "merge": "merge into dim_products p using dim_products q on p.sku = q.sku when matched then delete",
    "drop": "drop table dim_products",
    "alter": "alter table dim_products add column x int",
    "comment": "comment on table dim_products is 'x'",
    "write in a cte": "with x as (insert into dim_products values ('a', 'b') returning *) from x",
    "begin": "begin",
    # statements in statements, quoting
    "two statements": "select 1; drop table dim_products",
    "two statements behind a comment": "select 1 /* ; */; set threads = 1",
    "no statement": ";",
    "prepare": "prepare p as select 1",
    "execute": "execute p",
    "explain analyze": "explain analyze delete from dim_products",
    "explain": "explain select 1",
    "query()": "from query('select 1')",
    "query_table()": "from query_table('duckdb_settings')",
    "serialized query": "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "deserialized query": "select json_deserialize_sql(json_serialize_sql('select 1'))",
    "serialized plan": "select json_serialize_plan('select 1')",
    "function with schema": "select main.getenv('CANARY')",
    "function by dot": "select 'CANARY'.getenv()",
    "function in quotes": "select \"getenv\"('CANARY')",
    "function in capitals": "select GETENV('CANARY')",
    "function in a lambda": "select list_transform(['CANARY'], lambda x: getenv(x))",
    "function in order by": "from dim_products order by getenv(sku)",
    "function in a window": "select sum(1) over (partition by getenv(sku)) from dim_products",
    "function as window": "select read_text('{file}') over ()",
    "function in limit": "from dim_products limit (select count(*) from read_csv('{file}'))",
    "function in values": "values (getenv('CANARY'))",
    "function in having": "select count(*) from dim_products having getenv('CANARY') = 'x'",
    "function in a recursive cte": "with recursive r as (select 1 i union all select i from r, glob('*')) from r",
    "function in a join": "from dim_products p join glob('*') g on true",
    "function in a lateral join": "from dim_products p, lateral (from read_text(p.title))",
    "function in a pivot": "unpivot (from glob('*')) on file into name n value v",
    "describe a file": "describe from '{file}'",
    "summarize a file": "summarize '{file}'",
    "show databases": "show databases",
    "internal function": "select __internal_decompress_string(1::ubigint)",
    "unicode letters": "\u0455elect 1",
    "closing the wrapper": "select 1) limit 0; drop table dim_products; select * from (select 1",
    "nested comment": "/* /* */ drop table dim_products",
    "full-width letters": "\uff53elect 1",
    "unicode escapes": 'select U&"\\0067etenv"(1)',
    "line separator": "select 1\u2028; drop table dim_products",
    "dollar quotes": "select $$a$$; drop table dim_products",
    "doubled semicolon": "select 1;; select 2",
    # what DuckDB has besides
    "summarize the replacement scan of a query": "summarize from '{file}'",
    "describe a reading function": "describe select * from read_csv('{file}')",
    "files by pattern": "from '{folder}/*.csv'",
    "reading in a list": "select [x for x in glob('{folder}/*')]",
    "reading in exists": "select exists (from '{file}')",
    "reading in a materialized cte": "with x as materialized (from '{file}') from x",
    "secret by path": "from which_secret('s3://x', 's3')",
    "storage info": "from pragma_storage_info('dim_products')",
    "database size": "from pragma_database_size()",
    "temporary files": "from duckdb_temporary_files()",
    "auto complete": "from sql_auto_complete('sel')",
    "query table by list": "from query_table(['dim_products', 'duckdb_settings'])",
    "parquet key": "pragma add_parquet_key('k', '0123456789112345')",
    "logging": "call enable_logging()",
    "copy to the console": "copy (from dim_products) to '/dev/stdout'",
    "force checkpoint": "force checkpoint",
    "statistics": "select stats(sku) from dim_products",
    "transaction number": "select txid_current()",
    "alias of the grant": "with dim_products as (from secret_salaries) from dim_products",
    "cloud database": "attach if not exists 'md:'",
    # other audiences
    "warehouse table": "from warehouse.marts.secret_salaries",
    "table that was not granted": "from secret_salaries",
    "raw column": "select salary from marts.secret_salaries",
    "parameter": "select * from dim_products where sku = ?",
}


@pytest.fixture(scope="module")
def places(served: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("loot")
    (folder / "secret.csv").write_text(CANARY)
    os.environ["CANARY"] = CANARY
    return {
        "folder": str(folder),
        "file": str(folder / "secret.csv"),
        "warehouse": str(served.company.settings.warehouse),
    }


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.sample(60)
def test_attack_is_refused_and_noted(name: str, served: Served, places: dict[str, str]) -> None:
    sql = ATTACKS[name].format(**places) if "{" in ATTACKS[name] else ATTACKS[name]
    before = len(served.ledger)
    with pytest.raises(adbc_driver_manager.Error) as refused:
        served.ask(sql)
    assert "not allowed" in str(refused.value), refused.value
    assert CANARY not in str(refused.value)
    noted = [row for row in served.ledger[before:] if row[0] == "refused"]
    assert noted, "no row in the ledger"
    assert noted[0][1] == "anna"
    assert not list(Path(places["folder"]).glob("out*"))


def test_nothing_was_changed_by_all_that(served: Served) -> None:
    assert served.ask("select count(*) from dim_products") == [(40,)]
    assert served.ask("show tables") == [("dim_customers",), ("dim_products",), ("fct_orders",)]


@pytest.mark.parametrize("token", ["", "wrong", "Bearer", "' or 1=1 --", "a" * 4_000])
def test_without_the_token_nobody_gets_in(token: str, served: Served) -> None:
    with pytest.raises(adbc_driver_manager.Error, match="UNAUTHENTICATED"):
        served.ask("select 1", token=token)
    assert ("refused", "unknown") in {(event, who) for event, who, _ in served.ledger}


def test_a_token_of_another_audience_does_not_fit(served: Served) -> None:
    token = served.tokens.issue("support", "sven")
    with pytest.raises(adbc_driver_manager.Error, match="UNAUTHENTICATED"):
        served.ask("select 1", token=token)


def _raw(served: Served) -> tuple[fl.FlightClient, fl.FlightCallOptions]:
    client = fl.connect(f"grpc://127.0.0.1:{served.server.port}")
    return client, fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {served.token}".encode())])


def test_a_ticket_of_ones_own_is_checked_too(served: Served) -> None:
    client, options = _raw(served)
    for sql in ("select getenv('CANARY')", "drop table dim_products", "select 1; select 2"):
        ticket = fl.Ticket(flight_sql.pack("TicketStatementQuery", statement_handle=sql.encode()))
        with pytest.raises(fl.FlightUnauthorizedError):
            client.do_get(ticket, options).read_all()
        handle = flight_sql.pack("CommandPreparedStatementQuery", prepared_statement_handle=sql.encode())
        with pytest.raises(fl.FlightUnauthorizedError):
            client.get_flight_info(fl.FlightDescriptor.for_command(handle), options)


@pytest.mark.parametrize("junk", [b"", b"\xff" * 100, b"select 1", b"\x0a\x05hello"])
def test_junk_is_refused(junk: bytes, served: Served) -> None:
    client, options = _raw(served)
    before = len(served.ledger)
    with pytest.raises(fl.FlightUnauthorizedError):
        client.do_get(fl.Ticket(junk), options).read_all()
    assert served.ledger[before:][-1][0] == "refused"


def test_a_handle_that_is_no_text_is_refused(served: Served) -> None:
    client, options = _raw(served)
    ticket = fl.Ticket(flight_sql.pack("TicketStatementQuery", statement_handle=b"select \xff"))
    handle = flight_sql.pack("CommandPreparedStatementQuery", prepared_statement_handle=b"select \xff")
    before = len(served.ledger)
    with pytest.raises(fl.FlightUnauthorizedError, match="not the handle"):
        client.do_get(ticket, options).read_all()
    with pytest.raises(fl.FlightUnauthorizedError, match="not the handle"):
        client.get_flight_info(fl.FlightDescriptor.for_command(handle), options)
    assert [row[0] for row in served.ledger[before:] if row[0] != "connect"] == ["refused"] * 2


def _put(client: fl.FlightClient, table: pa.Table, options: fl.FlightCallOptions) -> None:
    """Send rows; it fails here or there, whenever the refusal arrives."""
    writer, _ = client.do_put(fl.FlightDescriptor.for_path("dim_products"), table.schema, options)
    with contextlib.closing(writer):
        writer.write_table(table)


def test_what_writes_is_refused(served: Served) -> None:
    client, options = _raw(served)
    table = pa.table({"sku": ["x"], "title": ["y"]})
    with pytest.raises((fl.FlightError, OSError), match="read-only"):
        _put(client, table, options)
    for action in (
        "BeginTransaction",
        "EndTransaction",
        "BeginSavepoint",
        "CancelQuery",
        "CancelFlightInfo",
        "x",
    ):
        with pytest.raises(fl.FlightUnauthorizedError):
            list(client.do_action(fl.Action(action, b""), options))
    for command in ("CommandStatementUpdate", "CommandStatementIngest", "CommandStatementSubstraitPlan"):
        packed = StagedFile(
            type_url=f"type.googleapis.com/{flight_sql.PACKAGE}.{command}"
        ).SerializeToString()
        with pytest.raises(fl.FlightUnauthorizedError):
            client.get_flight_info(fl.FlightDescriptor.for_command(packed), options)
    with pytest.raises(fl.FlightUnauthorizedError):
        list(client.list_flights(options=options))
    assert served.ask("select count(*) from dim_products") == [(40,)]


def test_the_catalogue_shows_one_audience(served: Served) -> None:
    """Whatever the filters say: dim_products is not granted to support, secret_salaries to nobody."""
    client, options = _raw(served)
    for pattern in ("", "%", "secret%", "%salaries"):
        command = flight_sql.pack("CommandGetTables", table_name_filter_pattern=pattern, include_schema=True)
        info = client.get_flight_info(fl.FlightDescriptor.for_command(command), options)
        names = client.do_get(info.endpoints[0].ticket, options).read_all()["table_name"].to_pylist()
        assert set(names) <= {"dim_customers", "dim_products", "fct_orders"}
    shown = served.ask(
        "select distinct table_catalog, table_name from information_schema.columns order by all"
    )
    assert shown == [("published", name) for name in ("dim_customers", "dim_products", "fct_orders")]
