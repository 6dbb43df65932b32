"""Tables of real servers arrive as they are, also when they change between two loads."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import pytest

from servers import MariaDB, Postgres
from tests.python.project import Outcome, Project

ORDER = """
create schema "{s} Ä";
create type "{s} Ä".mood as enum ('sad', 'happy');
create domain "{s} Ä".price as numeric check (value >= 0);
create type "{s} Ä".pair as (a int, b numeric);
create table "{s} Ä"."Order" (
    "Id" bigint primary key, "select" text, "Größe" numeric, "Free" numeric, wide numeric(50, 10), scaled numeric(3, -2),
    n2 numeric(10, 2), j json, jb jsonb, u uuid, e "{s} Ä".mood, ints int[], numerics numeric[], texts text[],
    matrix int[][], span interval, tz timetz, day date, at timestamptz, plain timestamp, bytes bytea, cash money,
    bits bit(5), dom "{s} Ä".price, comp "{s} Ä".pair, address inet, "double" double precision, gone int
);
alter table "{s} Ä"."Order" drop column gone;
insert into "{s} Ä"."Order" values
    (1, 'a', 12345678901234567890.12345678, 1.10, 1234567890123456789012345678.0123456789, 12300, 1.25,
     '{{"a":1.10}}', '{{"b": 12345678901234567890.123}}', '11111111-2222-3333-4444-555555555555', 'happy',
     '{{1,null,3}}', '{{12345678901234567890.12,1.5}}', '{{"a","b,c",null}}', '{{{{1,2}},{{3,4}}}}',
     '1 year 2 mons 3 days 04:05:06.789', '10:00:00+02', '2024-01-05', '2024-01-05 10:00:00.123456+02',
     '2024-01-05 10:00', '\\xDEADBEEF', '1234.56', '10101', '5.5', '(1,2.5)', '10.0.0.1/8', 0.1);
insert into "{s} Ä"."Order" ("Id") values (2);
insert into "{s} Ä"."Order" ("Id", day, at, "double") values (3, 'infinity', '-infinity', 'NaN');
"""

THROUGH_PYMYSQL = pytest.param("mysql+pymysql", marks=pytest.mark.full)
THROUGH_PYSQLITE = pytest.param("sqlite+pysqlite", marks=pytest.mark.full)


def postgres(
    project: Project, server: Postgres, tables: Mapping[str, Mapping[str, Any]], **more: Any
) -> None:
    """Declare tables of the server's schema that is named like the source."""
    project.connect("pg", url=server.url)
    project.declare("pg", {"kind": "database", "connection": "pg"}, tables, **more)


def in_schema(server: Postgres, schema: str, statements: str) -> None:
    server.sql(f"set search_path = {schema};\n{statements}")


def statuses(outcome: Outcome) -> dict[str, str]:
    return {t.table: t.error or str(t.rows) for s in outcome.sources for t in s.tables}


def test_postgres_columns_of_every_type(postgres_server: Postgres, tmp_path: Path) -> None:
    postgres_server.sql(ORDER.format(s="Exotic"))
    postgres_server.sql(
        'create schema exotic; create view exotic.seen as select "Id", "Free" from "Exotic Ä"."Order";'
        "create materialized view exotic.kept as select 1 as one;"
        "create table exotic.parts (id int, day date) partition by range (day);"
        "create table exotic.p1 partition of exotic.parts for values from ('2024-01-01') to ('2025-01-01');"
        "insert into exotic.parts values (1, '2024-02-02')"
    )
    project = Project(tmp_path)
    tables: dict[str, dict[str, Any]] = {
        "orders": {"table": "Exotic Ä.Order", "primary_key": "Id"},
        "seen": {"table": "exotic.seen", "filter": '"Free" > 1.05'},
        "kept": {"table": "exotic.kept"},
        "parts": {"table": "exotic.parts", "primary_key": "id"},
        "missing": {"table": "exotic.nowhere"},
    }
    postgres(project, postgres_server, tables, columns={"seen": {"free": "text"}})
    found = statuses(project.load())
    assert "missing: the source has no table 'exotic.nowhere'" in found.pop("missing")
    assert found == {"orders": "3", "seen": "1", "kept": "1", "parts": "1"}
    assert project.raw("select * exclude (_loaded_at, _load_id) from pg.seen") == [(1, "1.10")]
    row = dict(zip(project.types("pg.orders"), project.raw("from pg.orders where id = 1")[0], strict=True))
    expected = {
        "select": "a",
        "grosse": Decimal("12345678901234567890.12345678"),
        "free": Decimal("1.10"),
        "wide": Decimal("1234567890123456789012345678.0123456789"),
        "scaled": Decimal(12300),
        "j": '{"a":1.10}',
        "jb": '{"b": 12345678901234567890.123}',
        "u": "11111111-2222-3333-4444-555555555555",
        "e": "happy",
        "ints": "[1,null,3]",
        "numerics": "[12345678901234567890.12,1.5]",
        "texts": '["a","b,c",null]',
        "matrix": "[[1,2],[3,4]]",
        "span": "1 year 2 months 3 days 04:05:06.789",
        "tz": "10:00:00+02",
        "bytes": b"\xde\xad\xbe\xef",
        "cash": "$1,234.56",
        "bits": "10101",
        "dom": Decimal("5.5"),
        "comp": '{"a":1,"b":2.5}',
        "address": "10.0.0.1/8",
        "double": 0.1,
    }
    assert {name: row[name] for name in expected} == expected
    types = project.types("pg.orders")
    assert {types[n] for n in ("grosse", "free", "wide", "scaled", "dom")} == {"DECIMAL(38,10)"}
    assert {types[n] for n in ("j", "jb", "ints", "numerics", "texts", "matrix", "comp")} == {"JSON"}
    assert (types["at"], types["plain"]) == ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP")
    at = 'select "at"::varchar, day::varchar, isnan("double") from pg.orders where id in (1, 3) order by id'
    assert project.raw(at) == [
        ("2024-01-05 08:00:00.123456+00", "2024-01-05", False),
        ("-infinity", "infinity", True),
    ]
    postgres(
        project,
        postgres_server,
        {k: v for k, v in tables.items() if k != "missing"},
        columns={"seen": {"free": "text"}},
    )
    assert statuses(project.load()) == {"orders": "0", "seen": "0", "kept": "0", "parts": "0"}


def test_postgres_incremental(postgres_server: Postgres, tmp_path: Path) -> None:
    """Boundary values, null cursors, late rows, deletions and returns: raw equals the source every time."""
    project = Project(tmp_path)
    postgres_server.sql("create schema inc")

    def run(statements: str) -> None:
        in_schema(postgres_server, "inc", statements)

    columns = '(id bigint primary key, v text, n numeric, "UpdatedAt" timestamptz)'
    rows = "(1,'a',1.5,'2024-01-01'), (2,'b',2.5,'2024-01-02'), (3,'c',3.5,'2024-01-02'), (4,'d',4.5,null)"
    for table in ("plain", "exact", "looking", "compared", "filtered", "infinite"):
        run(f"create table {table} {columns}; insert into {table} values {rows}")
        if table != "exact":
            run(f"alter table {table} alter n type numeric(10,1)")
    run(
        "create table events (v text, at timestamp); insert into events values ('a', '2024-01-01'), ('a', '2024-01-01')"
    )
    keys = {"primary_key": "id", "cursor": "UpdatedAt"}
    deleting = {**keys, "deletes": "compare_keys", "shrink_limit": 0}
    tables: dict[str, dict[str, Any]] = {
        "plain": {**keys, "columns": {"exclude": ["n"]}},
        "exact": keys,
        "looking": {**keys, "lookback": "2d"},
        "compared": {**deleting, "columns": {"include": ["id", "v", "UpdatedAt"]}},
        "filtered": {**deleting, "filter": "v <> 'b'"},
        "infinite": keys,
        "events": {"cursor": "at"},
    }
    postgres(project, postgres_server, {t: {"table": f"inc.{t}", **k} for t, k in tables.items()})
    first = project.load()
    assert statuses(first) == {
        **dict.fromkeys(("plain", "exact", "looking", "compared", "infinite"), "4"),
        "filtered": "3",
        "events": "2",
    }
    assert project.load().rows == 0

    for table in ("plain", "exact", "looking", "compared", "filtered", "infinite"):
        run(
            f"insert into {table} values (5,'e',5.5,'2024-01-02'), (6,'f',6.5,'2024-01-03');"  # boundary, new
            f"update {table} set v = 'D' where id = 4;"  # no cursor
            f"delete from {table} where id = 1"
        )
    run("insert into infinite values (7,'g',7.5,'infinity')")
    run("insert into looking values (8,'late',1,'2024-01-01 12:00')")
    run("insert into events values ('a', '2024-01-01'), ('b', '2024-01-02')")
    run("update filtered set v = 'b' where id = 3")  # leaves the filter; its cursor does not move
    second = project.load()
    assert not second.errors
    assert [second[t].rows for t in ("plain", "exact", "looking", "infinite", "events")] == [3, 3, 4, 4, 2]
    assert (second["compared"].rows, second["compared"].deleted) == (4, 1)
    assert (second["filtered"].rows, second["filtered"].deleted) == (5, 2)
    assert project.raw("select id, v, _deleted_at is null from pg.compared order by id") == [
        (1, "a", False), (2, "b", True), (3, "c", True), (4, "D", True), (5, "e", True), (6, "f", True)
    ]  # fmt: skip
    assert set(project.types("pg.compared")) == {
        "id",
        "v",
        "updated_at",
        "_deleted_at",
        "_loaded_at",
        "_load_id",
    }
    assert project.raw("select count(*) from pg.events") == [(4,)]
    assert project.load().rows == 0

    # back with its old cursor, committed late with an old cursor, newer than a cursor at infinity
    for table in ("compared", "filtered"):
        run(f"insert into {table} values (1,'a',1.5,'2024-01-01'), (9,'i',9.5,'2023-01-01')")
    run("insert into infinite values (8,'h',8.5,'2024-01-04')")
    third = project.load()
    assert not third.errors
    assert [third[t].rows for t in ("compared", "filtered", "infinite")] == [2, 2, 1]
    assert project.raw("select id from pg.compared where _deleted_at is null order by id") == [
        (n,) for n in (1, 2, 3, 4, 5, 6, 9)
    ]
    assert project.raw("select id from pg.filtered where _deleted_at is null order by id") == [
        (n,) for n in (1, 4, 5, 6, 9)
    ]
    assert project.load().rows == 0

    run("delete from compared")  # all of them
    fourth = project.load("pg.compared")
    assert (fourth["compared"].rows, fourth["compared"].deleted) == (7, 7)
    assert project.raw("select count(*) from pg.compared where _deleted_at is null") == [(0,)]
    assert project.load().rows == 0


def test_postgres_changed_rows_of_every_type(postgres_server: Postgres, tmp_path: Path) -> None:
    """Changed rows are asked of PostgreSQL by a query of its own, and come as whole tables do."""
    project = Project(tmp_path)
    postgres_server.sql(
        "create schema changed; create type changed.mood as enum ('sad', 'happy');"
        "create type changed.pair as (a int, b numeric); create domain changed.price as numeric(10,2)"
    )

    def run(statements: str) -> None:
        in_schema(postgres_server, "changed", statements)

    values = (
        "'happy', row(1, 2.5), 1.50, '{1,2}', 5, '11111111-2222-3333-4444-555555555555', '1.25', '10.0.0.1/8'"
    )
    columns = "m mood, p pair, c price, xs int[], o oid, u uuid, f double precision, i inet, tag text"
    run(f"create table plain (id int primary key, {columns}, seen timestamp)")
    run("create table pointed (id int primary key, at point, seen timestamp)")
    run("create table tagged (id int primary key, code text)")

    def insert(number: int, day: str, code: str) -> None:
        run(f"insert into plain values ({number}, {values}, 't', '{day}')")
        run(f"insert into pointed values ({number}, '(1,2)', '{day}')")
        run(f"insert into tagged values ({number}, '{code}')")

    keys = {"primary_key": "id", "cursor": "seen"}
    tables = {"plain": keys, "pointed": keys, "tagged": {"primary_key": "id", "cursor": "code"}}
    postgres(project, postgres_server, {t: {"table": f"changed.{t}", **k} for t, k in tables.items()})
    insert(1, "2024-01-01", "B")
    assert statuses(project.load()) == dict.fromkeys(tables, "1")
    insert(2, "2024-01-02", "a")  # above B for raw, below it in most collations
    assert statuses(project.load()) == dict.fromkeys(tables, "1")
    for table in ("plain", "pointed"):
        first, second = project.raw(
            f"select * exclude (id, seen, _loaded_at, _load_id) from pg.{table} order by id"
        )
        assert first == second


def test_postgres_tables_are_read_at_one_moment(postgres_server: Postgres, tmp_path: Path) -> None:
    """A row committed between the reading of two tables is in neither."""
    from sluice.load import read_ahead
    from sluice.load.normalise import normalise

    postgres_server.sql("create schema snap; create table snap.a (id int); create table snap.b (id int)")
    postgres_server.sql("insert into snap.a values (1); insert into snap.b values (1)")
    project = Project(tmp_path)
    postgres(project, postgres_server, {"a": {"table": "snap.a"}, "b": {"table": "snap.b"}})

    def normalising(extracted: Any, *rest: Any) -> Any:
        staged = normalise(extracted, *rest)
        if extracted.table.name == "a":
            postgres_server.sql("insert into snap.a values (2); insert into snap.b values (2)")
        return staged

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_ahead, "normalise", normalising)
        assert statuses(project.load()) == {"a": "1", "b": "1"}
    assert statuses(project.load()) == {"a": "2", "b": "2"}


ORDERED = {
    "zoned": ("timestamptz", "timestamp", "2024-01-02 00:00+00", "2024-01-02 01:00+00"),
    "numbers": ("numeric", None, "9.5", "10.5"),
    "whole": ("int", "decimal(10,2)", "9", "10"),
    "uuids": ("uuid", None, "00000000-0000-0000-0000-000000000002", "ffffffff-0000-0000-0000-000000000003"),
    "texts": ("text", None, "Z", "a"),
}
"""Cursors: the source's type, the declared one, a value and a higher one."""
NOT_ORDERED = {
    "moods": ("cursors.mood", None, "z", "a"),
    "amounts": ("money", None, "9", "10"),
    "declared": ("int", "text", "9", "10"),
    "named": ("text", "integer", "9", "10"),
}
"""Those whose highest value in raw would not be the source's."""


def test_postgres_cursors_of_every_type(postgres_server: Postgres, tmp_path: Path) -> None:
    """The highest value in raw is the source's, or the cursor is refused; whatever zone the server has."""
    project = Project(tmp_path / "p")
    cursors = ORDERED | NOT_ORDERED
    statements = ["create schema cursors"]
    statements += ["create type cursors.mood as enum ('z', 'a')"]
    for name, (kind, _, value, _) in cursors.items():
        statements.append(f"create table cursors.{name} (id numeric primary key, c {kind})")
        statements.append(f"insert into cursors.{name} values (1, '{value}'), (2, null)")
    postgres_server.sql(";".join(statements))
    load = {"primary_key": "id", "cursor": "c", "deletes": "compare_keys"}
    tables = {name: {"table": f"cursors.{name}", **load} for name in cursors}
    declared = {n: {"id": "decimal(38,10)", "c": d} for n, (_, d, _, _) in cursors.items() if d}
    postgres(project, postgres_server, tables, columns=declared)
    postgres_server.sql("alter role owner set timezone = 'America/New_York'")
    try:
        first = project.load()
        for name, (_, _, _, higher) in ORDERED.items():
            postgres_server.sql(f"insert into cursors.{name} values (3, '{higher}')")
        second = statuses(project.load())
    finally:
        postgres_server.sql("alter role owner reset timezone")
    assert all("rows would be missed" in (first[name].error or "") for name in NOT_ORDERED), statuses(first)
    assert {name: second[name] for name in ORDERED} == dict.fromkeys(ORDERED, "1")


FOLDED = {  # texts that the source orders without regard to case, where this PostgreSQL can; raw orders bytes
    "postgresql+psycopg2": "text",
    "mysql": "varchar(9) character set latin1 collate latin1_general_ci",
    "mysql+pymysql": "varchar(9) character set latin1 collate latin1_general_ci",
    "sqlite": "text collate nocase",
    "sqlite+pysqlite": "text collate nocase",
}


@pytest.mark.parametrize("driver", FOLDED)
@pytest.mark.sample(2)
def test_a_text_cursor_may_rise_as_the_source_orders_or_as_raw_does(
    tmp_path: Path, driver: str, request: pytest.FixtureRequest
) -> None:
    project = Project(tmp_path / "project")
    kind = driver.partition("+")[0]
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'till.db'}"

        def run(statement: str) -> None:
            with sqlite3.connect(tmp_path / "till.db") as con:
                con.execute(statement)
    else:
        server = request.getfixturevalue({"mysql": "mariadb_server", "postgresql": "postgres_server"}[kind])
        url = server.url
        run = server.sql if kind == "postgresql" else lambda statement: maria(server, statement)

    project.connect("s", url=url.replace(kind, driver, 1))
    tables = ("by_bytes", "by_source")
    project.declare(
        "s",
        {"kind": "database", "connection": "s"},
        {t: {"table": f"folded_{t}", "primary_key": "id", "cursor": "code"} for t in tables},
    )

    def insert(number: int, *codes: str) -> None:
        for table, code in zip(tables, codes if kind != "postgresql" else codes[:1] * 2, strict=True):
            run(f"insert into folded_{table} values ({number}, '{code}')")

    for table in tables:
        run(f"drop table if exists folded_{table}")
        run(f"create table folded_{table} (id int primary key, code {FOLDED[driver]})")
    insert(1, "A", "a")
    insert(2, "B", "a")
    assert statuses(project.load()) == dict.fromkeys(tables, "2")
    insert(3, "a", "B")
    assert statuses(project.load()) == dict.fromkeys(tables, "1")
    insert(4, "b", "c")
    insert(5, "b", "\u00e4")  # of one byte there, of two in raw
    assert statuses(project.load()) == dict.fromkeys(tables, "2")
    insert(6, "b", "\u00f6")
    assert statuses(project.load()) == dict.fromkeys(tables, "1")
    for table in tables:
        (begin, after) = ("A", "C") if table == "by_bytes" else ("a", "b")
        assert statuses(project.load(f"s.{table}", window=(begin, after))) == {table: "0"}


def test_postgres_numbers_through_sqlalchemy(postgres_server: Postgres, tmp_path: Path) -> None:
    """Psycopg gives decimals, which SQLAlchemy does not tell: none may come as a double."""
    postgres_server.sql(
        "create table numbers_sa (id numeric(38,0) primary key, price numeric(20,2), free numeric, c numeric(20,1));"
        " insert into numbers_sa values (99999999999999999999999999999999999991, 123456789012345678.91,"
        " 12345678901234567890.125, 9.5), (99999999999999999999999999999999999992, 0.1, 1, 9.5)"
    )
    project = Project(tmp_path)
    project.connect("pg", url=postgres_server.url.replace("postgresql:", "postgresql+psycopg2:"))
    load = {"table": "numbers_sa", "primary_key": "id", "cursor": "c"}
    project.declare("pg", {"kind": "database", "connection": "pg"}, {"t": load})
    assert statuses(project.load()) == {"t": "2"}
    assert project.raw("select id, price, free from pg.t order by id limit 1") == [
        (
            Decimal(99999999999999999999999999999999999991),
            Decimal("123456789012345678.91"),
            Decimal("12345678901234567890.125"),
        )
    ]
    postgres_server.sql("insert into numbers_sa values (1, 1, 1, 9.4), (2, 1, 1, 10.5)")
    assert statuses(project.load()) == {"t": "1"}


def test_postgres_an_error_stays_with_its_table(postgres_server: Postgres, tmp_path: Path) -> None:
    """The server refuses all that comes in a transaction with an error: the next table gets another one."""
    postgres_server.sql(
        'create schema alone; create table alone.good (id int primary key, "Name" text);'
        " insert into alone.good values (1, 'a');"
        ' create table alone.twins (id int primary key, name text, "Name" text);'
        " insert into alone.twins values (1, 'b', 'c');"
        " create view alone.broken as select id, 1 / (id - 1) as x from alone.good;"
    )
    project = Project(tmp_path / "p")
    names = {"spelled": "Good", "twins": "twins", "broken": "broken", "absent": "absent", "good": "good"}
    tables = {t: {"table": f"alone.{name}", "primary_key": "id"} for t, name in names.items()}
    postgres(project, postgres_server, tables)

    told = statuses(project.load())
    assert "pg.spelled: the source has no table 'alone.Good'" in told["spelled"]
    assert "'name' and 'Name' differ in case only" in told["twins"]
    assert "division by zero" in told["broken"]
    assert "the source has no table 'alone.absent'" in told["absent"]
    assert told["good"] == "1"
    assert project.raw("select id, name from pg.good") == [(1, "a")]


def test_a_refused_connection_says_which_and_shows_no_password(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    project = Project(tmp_path)
    address = f"127.0.0.1:{postgres_server.ports['sql']}"
    project.connect("pg", url=f"postgresql://owner:canary-123@{address}/shop")
    project.declare("pg", {"kind": "database", "connection": "pg"}, {"a": {}, "b": {}})
    (error,) = project.load().errors
    assert "pg: cannot connect to" in error
    assert address in error
    assert "canary-123" not in error
    project.connect("pg", url="sqlite:///nowhere.db")
    assert "there is no SQLite file 'nowhere.db'" in project.load().error
    project.connect("pg", url="nonsense+driver://u:canary-123@h/d")
    error = project.load().error
    assert "pg: nothing here reads h/d (connection 'pg'): " in error
    assert "Install the SQLAlchemy dialect" in error
    assert "canary-123" not in error
    for password in ("canary/123", "canary-123]", "canary:1#23"):
        project.connect("pg", url=f"mysql://u:{password}@h/d")
        error = project.load().error
        assert "connections.pg.url cannot be read" in error
        assert "canary" not in error
    project.connect("pg", url=f"postgresql+psycopg2://owner:canary-123@{address}/shop")
    error = project.load().error
    assert f"pg: cannot connect to {address}/shop" in error
    assert "password authentication failed" in error
    assert "canary-123" not in error


MARIA = r"""
create table everything (
    id bigint unsigned primary key, wide decimal(65, 30), price decimal(10, 2), day date, at datetime(6),
    stamp timestamp(6) null, doc json, small tinyint(1), kind enum('a', 'b'), parts set('x', 'y'), span time(6),
    bits bit(3), bytes varbinary(5), words text character set utf8mb4 collate utf8mb4_bin, ratio double,
    uint int unsigned);
set time_zone = '+02:00';
insert into everything values (18446744073709551615, 12345678901234567890.123456789, 1.25, '2024-01-05',
    '2024-01-05 10:00:00.123456', '2024-01-05 10:00:00.123456', '{"a":1.10}', 5, 'a', 'x,y', '100:00:00.5', b'101',
    x'00ff', 'ü😀', 0.30000000000000004, 4294967295);
insert into everything (id) values (2);
set sql_mode = '';
create table zero_dates (id int primary key, day date not null, at datetime);
insert into zero_dates values (1, '0000-00-00', '2024-00-05 00:00:00'), (2, '2024-01-01', null);
create table vast (v decimal(65, 30));
insert into vast values (12345678901234567890123456789012345.12);
create table `Änderung` (`Id` int, `Wann` datetime(6), `select` varchar(9), primary key (`Id`));
insert into `Änderung` values (1, '2024-01-01', 'a'), (2, '2024-01-02', 'b'), (3, null, 'c');
"""


def maria(server: MariaDB, statements: str, url: str | None = None) -> None:
    import pymysql
    from pymysql.constants import CLIENT

    with pymysql.connect(
        host="127.0.0.1",
        port=server.ports["sql"],
        user=urlsplit(server.url).username,
        password=unquote(urlsplit(url or server.url).password or ""),
        database=urlsplit(server.url).path.strip("/"),
        client_flag=CLIENT.MULTI_STATEMENTS,
        autocommit=True,
    ) as con:
        cursor = con.cursor()
        cursor.execute(statements)
        while cursor.nextset():
            pass


def test_mariadb_passwords_of_any_characters(mariadb_server: MariaDB, tmp_path: Path) -> None:
    password = """a b'c"d\\e?ssl_mode=f&g@h:i/j%25k#l;{m}$"""
    url = urlsplit(mariadb_server.url)
    project = Project(tmp_path)
    old = unquote(url.password or "")
    changed = url._replace(netloc=f"{url.username}:{quote(password, safe='')}@{url.hostname}:{url.port}")
    project.connect("my", url=urlunsplit(changed))
    project.declare("my", {"kind": "database", "connection": "my"}, {"t": {"table": "any_password"}})
    refused = project.load().error
    assert "Access denied" in refused
    assert "ssl_mode" not in refused
    spelled = password.replace("\\", "\\\\").replace("'", "''")
    maria(mariadb_server, f"create table any_password select 1 as a; set password = password('{spelled}')")
    try:
        assert statuses(project.load()) == {"t": "1"}
    finally:
        maria(mariadb_server, f"set password = password('{old}')", urlunsplit(changed))


@pytest.mark.parametrize("driver", ["mysql", THROUGH_PYMYSQL])
def test_mariadb_numbers_beside_wider_ones(mariadb_server: MariaDB, tmp_path: Path, driver: str) -> None:
    """Where the server writes one column as text, DuckDB takes decimals of no scale for shorter than they are."""
    maria(
        mariadb_server,
        "create or replace table wide_numbers (id int primary key, a decimal(38,0), wide decimal(60,9));"
        f"insert into wide_numbers values (1, {'9' * 38}, 1.5), (2, null, null)",
    )
    project = Project(tmp_path)
    project.connect("my", url=mariadb_server.url.replace("mysql:", f"{driver}:"))
    load = {"table": "wide_numbers", "primary_key": "id"}
    project.declare("my", {"kind": "database", "connection": "my"}, {"t": load})
    assert statuses(project.load()) == {"t": "2"}
    assert project.raw("select a from my.t order by id") == [(Decimal("9" * 38),), (None,)]


@pytest.mark.parametrize("driver", ["mysql", THROUGH_PYMYSQL])
def test_mariadb(mariadb_server: MariaDB, tmp_path: Path, driver: str) -> None:
    """Through DuckDB's scanner and through SQLAlchemy: the same values, the same refusals."""
    maria(mariadb_server, "drop table if exists everything, zero_dates, vast, `Änderung`;" + MARIA)
    project = Project(tmp_path)
    project.connect("my", url=mariadb_server.url.replace("mysql://", f"{driver}://", 1))
    changes = {"table": "Änderung", "primary_key": "Id", "cursor": "Wann"}
    tables: dict[str, dict[str, Any]] = {
        "everything": {"primary_key": "id"},
        "zero_dates": {"primary_key": "id"},
        "zero_texts": {"primary_key": "id", "table": "zero_dates"},
        "vast": {},
        "looking": {**changes, "lookback": "1d"},
        "compared": {**changes, "deletes": "compare_keys", "filter": "\"select\" <> 'x'", "shrink_limit": 0},
    }
    project.declare(
        "my",
        {"kind": "database", "connection": "my"},
        tables,
        {
            "zero_texts": {"id": "bigint", "day": "text", "at": "text"},
            "everything": {"doc": "json", "id": None},
        },
    )
    found = statuses(project.load())
    assert "0000-00-00" in found.pop("zero_dates")
    assert "vast.v: 1 value(s) of type varchar are not decimal(38,10)" in found.pop("vast")
    assert found == {"everything": "2", "zero_texts": "2", "looking": "3", "compared": "3"}
    names = [n for n in project.types("my.everything") if not n.startswith("_")]
    shown = ", ".join(f'"{n}"' for n in names)
    row = dict(zip(names, project.raw(f"select {shown} from my.everything where id > 2")[0], strict=True))
    bits = row.pop("bits")
    assert bits in (b"\x05", 5)
    assert row == {
        "id": Decimal(18446744073709551615),
        "wide": Decimal("12345678901234567890.123456789"),
        "price": Decimal("1.25"),
        "day": dt.date(2024, 1, 5),
        "at": dt.datetime.fromisoformat("2024-01-05 10:00:00.123456"),
        "stamp": dt.datetime.fromisoformat("2024-01-05 08:00:00.123456"),
        "doc": '{"a":1.10}',
        "small": 5,
        "kind": "a",
        "parts": "x,y",
        "span": row["span"],
        "bytes": b"\x00\xff",
        "words": "ü😀",
        "ratio": 0.30000000000000004,
        "uint": 4294967295,
    }
    assert row["span"].startswith("100:00:00.5")
    assert project.raw('select id, day, "at" from my.zero_texts order by id') == [
        (1, "0000-00-00", project.raw('select "at" from my.zero_texts where id = 1')[0][0]),
        (2, "2024-01-01", None),
    ]
    assert project.load().rows == 0
    maria(
        mariadb_server,
        "insert into `Änderung` values (4, '2024-01-02', 'd'), (5, '2024-01-01 12:00', 'late'), (6, '2024-01-03', 'x');"
        "update `Änderung` set `select` = 'C' where `Id` = 3; delete from `Änderung` where `Id` = 1",
    )
    second = project.load("my.looking", "my.compared")
    assert not second.errors
    assert second["looking"].rows == 4
    assert (second["compared"].rows, second["compared"].deleted) == (4, 1)
    assert project.raw('select id, "select" from my.compared where _deleted_at is null order by id') == [
        (2, "b"),
        (3, "C"),
        (4, "d"),
        (5, "late"),
    ]
    assert project.load("my.looking", "my.compared").rows == 0


BACKFILL = """
create table sales (id integer primary key, v text, day date);
insert into sales values (1, 'a', '2024-01-01'), (2, 'b', '2024-01-02'), (3, 'c', '2024-01-03'), (4, 'd', null);
create table plain (id integer);
"""


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+pysqlite"])
@pytest.mark.sample(1)
def test_a_range_is_loaded_again(tmp_path: Path, driver: str) -> None:
    file = tmp_path / "till.db"
    with sqlite3.connect(file) as con:
        con.executescript(BACKFILL)
    project = Project(tmp_path / "project")
    project.connect("till", url=f"{driver}:///{file}")
    project.declare(
        "till",
        {"kind": "database", "connection": "till"},
        {"sales": {"primary_key": "id", "cursor": "day"}, "plain": {}},
    )
    assert project.load().rows == 4
    with sqlite3.connect(file) as con:  # changed without a new cursor value, which no load sees
        con.execute("update sales set v = upper(v)")
    window = ("2024-01-02", "2024-01-03")
    assert project.load("till.sales", window=window)["sales"].rows == 1
    assert project.load("till.sales", window=window)["sales"].rows == 0
    assert project.raw("select v from till.sales order by id") == [("a",), ("B",), ("c",), ("d",)]
    assert project.load("till.sales", window=(None, "2024-01-02"))["sales"].rows == 1
    assert project.load("till.sales", window=("2024-01-02", None))["sales"].rows == 1
    assert "till.plain: has no cursor" in project.load(window=window).error
    assert "'yesterday' is not such a value" in project.load("till.sales", window=("yesterday", None)).error
    assert "'' is not such a value" in project.load("till.sales", window=("", None)).error
    assert "is not before --to" in project.load("till.sales", window=window[::-1]).error

    # the next load goes on from the highest cursor in raw: a range beyond it would leave a gap for good
    with sqlite3.connect(file) as con:
        con.executescript("insert into sales values (8, 'h', '2024-02-01'), (9, 'i', '2024-03-01')")
    gap = ("2024-02-15", "2024-04-01")
    assert "would be missed by all later loads" in project.load("till.sales", window=gap).error
    assert project.load("till.sales")["sales"].rows == 3  # that without a day was changed, too
    (project.settings.raw).unlink()
    assert "raw has none of its rows" in project.load("till.sales", window=gap).error


SQLITE = """
create table plain (id integer primary key, name text, updated_at text);
insert into plain values (1, 'a', '2024-01-01'), (2, '', '2024-01-02'), (3, null, null);
create table money (id integer primary key, price real, exact decimal(10,2), flag boolean, day date, blob blob);
insert into money values (1, 0.1, 1.239, 1, '2024-01-05', x'00ff'), (2, 12, 5, 0, null, null);
create table mixed (id integer primary key, v integer);
insert into mixed values (1, 5), (2, 'five'), (3, 2.5);
create table empty (id integer primary key, v real);
create table "Größe 1" ("Id" integer primary key, "order" text);
insert into "Größe 1" values (9007199254740993, 'x');
"""


@pytest.mark.parametrize("driver", ["sqlite", THROUGH_PYSQLITE])
def test_sqlite(tmp_path: Path, driver: str) -> None:
    file = tmp_path / "till.db"
    with sqlite3.connect(file) as con:
        con.executescript(SQLITE)
    project = Project(tmp_path / "project")
    project.connect("till", url=f"{driver}:///{file}")
    tables: dict[str, dict[str, Any]] = {
        "plain": {"primary_key": "id", "cursor": "updated_at", "deletes": "compare_keys"},
        "money": {"primary_key": "id"},
        "mixed": {"primary_key": "id"},
        "empty": {"primary_key": "id"},
        "sizes": {"table": "Größe 1", "primary_key": "Id"},
        "filtered": {"table": "plain", "filter": "id > 1", "columns": {"exclude": ["name"]}},
        "missing": {},
    }
    project.declare("till", {"kind": "database", "connection": "till"}, tables)
    found = statuses(project.load())
    assert "has no table 'missing'" in found.pop("missing")
    assert len(found.pop("mixed")) > 10  # an integer column that holds 'five' and 2.5 is refused, not rounded
    assert found == {"plain": "3", "money": "2", "empty": "0", "sizes": "1", "filtered": "2"}
    assert project.raw("select id, name, updated_at from till.plain order by id") == [
        (1, "a", "2024-01-01"),
        (2, "", "2024-01-02"),
        (3, None, None),
    ]
    assert project.raw("select price, exact::varchar from till.money order by id") == [
        (0.1, "1.239"),
        (12.0, "5.0"),
    ]
    assert project.raw('select id, "order" from till.sizes') == [(9007199254740993, "x")]
    with sqlite3.connect(file) as con:
        con.execute("insert into plain values (4, 'd', '2024-01-02'), (0, 'late', '2023-01-01')")
        con.execute("delete from plain where id = 1")
        con.execute("update plain set name = 'C' where id = 3")
        con.execute("insert into empty values (1, 0.5)")
    second = project.load("till.plain", "till.empty")
    assert not second.errors
    assert (second["plain"].rows, second["plain"].deleted, second["empty"].rows) == (4, 1, 1)
    assert project.raw("select id from till.plain where _deleted_at is null order by id") == [
        (0,), (2,), (3,), (4,)
    ]  # fmt: skip
    assert project.load("till.plain", "till.empty", "till.money").rows == 0
    with sqlite3.connect(file) as con:  # floating values in what was an integer column
        con.execute("create table grows (id integer primary key, v integer)")
        con.execute("insert into grows values (1, 1)")
    project.declare("till", {"kind": "database", "connection": "till"}, {"grows": {"primary_key": "id"}})
    assert project.load().rows == 1
    with sqlite3.connect(file) as con:
        con.executescript(
            "create table g2 (id integer primary key, v real); insert into g2 values (1, 1.0), (2, 1.57);"
        )
        con.executescript("drop table grows; alter table g2 rename to grows")
    assert "v: 1 value(s) of type double are not" in project.load().error
    with sqlite3.connect(file) as con:
        con.execute("update grows set v = 3 where id = 2")
    assert project.load().rows == 1


def test_a_key_of_sqlite_that_is_none_is_a_bad_row(tmp_path: Path) -> None:
    """The scanner stops at a text among integers, also where all keys are read first."""
    project = Project(tmp_path)
    with sqlite3.connect(tmp_path / "s.db") as con:
        con.execute("create table t (id int primary key, c int)")
        con.execute("insert into t values (1, 1), (2, 2), ('x', 3), (4, 'y')")
    project.connect("lite", url="sqlite:///s.db")
    load = {"primary_key": "id", "cursor": "c", "deletes": "compare_keys", "tolerance": 2}
    project.declare("lite", {"kind": "database", "connection": "lite"}, {"t": load})
    assert statuses(project.load()) == {"t": "2"}
    with sqlite3.connect(tmp_path / "s.db") as con:
        con.execute("delete from t where id = 1")
    assert project.load()["t"].deleted == 1
    assert project.raw("select id, _deleted_at is null from lite.t order by id") == [(1, False), (2, True)]
    assert project.raw("select count(*) from lite.t__quarantine") == [(2,)]


@pytest.mark.parametrize("driver", ["sqlite", THROUGH_PYSQLITE])
def test_columns_that_sqlite_computes(tmp_path: Path, driver: str) -> None:
    file = tmp_path / "till.db"
    with sqlite3.connect(file) as con:
        con.executescript(
            "create table sold (id integer primary key, net real, pieces integer,"
            " total real generated always as (net * pieces), twice integer as (pieces * 2) stored,"
            " label text as ('#' || id || ' ü') virtual, updated_at text);"
            "insert into sold (id, net, pieces, updated_at) values (1, 0.1, 3, '2024-01-01'),"
            " (2, null, 9007199254740993, '2024-01-02');"
        )
    project = Project(tmp_path / "project")
    project.connect("till", url=f"{driver}:///{file}")
    tables: dict[str, dict[str, Any]] = {
        "sold": {"primary_key": "id", "cursor": "updated_at"},
        "stored_only": {"table": "sold", "columns": {"exclude": ["total", "label", "twice"]}},
    }
    project.declare("till", {"kind": "database", "connection": "till"}, tables)
    assert statuses(project.load()) == {"sold": "2", "stored_only": "2"}
    assert project.raw("select id, net, pieces, total, twice, label from till.sold order by id") == [
        (1, 0.1, 3, 0.1 * 3, 6, "#1 ü"),
        (2, None, 9007199254740993, None, 18014398509481986, "#2 ü"),
    ]
    assert set(project.types("till.stored_only")) >= {"id", "net", "pieces", "updated_at"}
    assert "total" not in project.types("till.stored_only")
    with sqlite3.connect(file) as con:
        con.execute("insert into sold (id, net, pieces, updated_at) values (3, 2, 2, '2024-01-03')")
    assert project.load("till.sold").rows == 1
    assert project.raw("select total from till.sold where id = 3") == [(4.0,)]
    assert project.load("till.sold").rows == 0
