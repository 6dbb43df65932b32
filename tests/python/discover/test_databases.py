"""`sluice discover` on real databases: what they declare, what a load would refuse, and that the file loads."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer.testing import CliRunner

from servers import MariaDB, Postgres
from sluice.cli import app
from sluice.config.sources import read_sources
from sluice.discover.contract import DiscoveredTable, Limits
from sluice.discover.project_files import save_source
from sluice.discover.run import Discovery, discover, find_target, look, scratch_database
from sluice.errors import ConnectionError, Exit, SluiceError, UsageError
from sluice.extract import declaration_problems
from tests.python.project import Project

NORTHWIND = """
create schema {s}; set search_path = {s};
create table categories (category_id serial primary key, category_name varchar(15) not null unique);
create table customers (customer_id char(5) primary key, company_name text not null, email text, updated_at timestamptz);
comment on table customers is 'Firms that order; {{{{ not }}}} a template';
comment on column customers.company_name is 'The name of the firm as the firm itself has written it on its first order';
create index on customers (updated_at);
create table orders (
    order_id bigint primary key, customer_id char(5) references customers, total numeric, ratio numeric, placed date);
create table "Order Details" (
    "OrderID" bigint references orders, "ProductID" int, "Unit Price" numeric(10, 2), "select" text, "no" text,
    primary key ("OrderID", "ProductID"));
create table nothing_yet (id int primary key, note text);
create view order_totals as select order_id, total from orders;
create table readings (at timestamptz, value real) partition by range (at);
create table readings_2024 partition of readings for values from ('2024-01-01') to ('2025-01-01');
create table secret (pin text);
create table no_columns ();
create table "Twin" (a int); create table twin (a int);
create table "with.dot" (a int);
create view broken as select 1 / (order_id - order_id) as x from orders;
create table large as select i as id, i % 7 as kind from generate_series(1, 5000) i;
insert into categories (category_name) values ('Beverages'), ('Seafood');
insert into customers select 'C' || lpad(i::text, 4, '0'), 'Firm ' || i, 'f' || i || '@firm.example', now() - i * 7919 % 50 * interval '1 hour'
    from generate_series(1, 50) i;
insert into orders select i, 'C' || lpad((1 + i % 50)::text, 4, '0'), i * 1.5, i / 3.0, date '2024-01-01' + i
    from generate_series(1, 200) i;
insert into "Order Details" select i, i % 9, 1.25, 'x', 'y' from generate_series(1, 200) i;
insert into readings values ('2024-05-01', 1.5);
analyze;
grant usage on schema {s} to loader;
grant select on all tables in schema {s} to loader;
revoke select on secret from loader;
"""
SCHEMA = "discover_db"


@pytest.fixture(scope="module")
def northwind(postgres_server: Postgres) -> Iterator[str]:
    """The loader's URL of a server with the schema."""
    postgres_server.sql(NORTHWIND.format(s=SCHEMA))
    yield postgres_server.loader_url
    postgres_server.sql(f"drop schema {SCHEMA} cascade")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, northwind: str) -> Project:
    project = Project(tmp_path_factory.mktemp("discover"))
    project.connect("shop", url=northwind)
    return project


@pytest.fixture(scope="module")
def written(project: Project) -> Discovery:
    """What was found; its file is written."""
    return run(project, "shop", Limits(schemas=(SCHEMA,), whole_rows=1000, sample_rows=500))


def run(project: Project, address: str, limits: Limits | None = None, *, write: bool = False) -> Discovery:
    limits = limits or Limits()
    with scratch_database() as con:
        found = discover(find_target(address, project.settings), project.settings, con, limits)
        save_source(project.settings, found, con, limits, write=write)
    return found


def table(found: Discovery, name: str) -> DiscoveredTable:
    return next(t for t in found.source.tables if t.name == name)


def test_what_is_written_loads_the_rows_that_are_there(
    project: Project, written: Discovery, postgres_server: Postgres
) -> None:
    sources, problems = read_sources(project.settings.sources)
    assert problems == []
    assert declaration_problems(sources[0]) == []
    outcome = project.load()
    assert outcome.error == ""
    for entry in sources[0].declared:
        place = ".".join(f'"{part}"' for part in (entry.load.table or entry.name).split("."))
        (expected,) = postgres_server.sql(f"select count(*) from {place}").split()
        assert project.raw(f"select count(*) from shop.{entry.name}") == [(int(expected),)], entry.name


def test_catalog_and_types_are_in_the_file(project: Project, written: Discovery) -> None:
    text = (project.settings.sources / "shop.yml").read_text()
    details = text[text.index("- name: order_details") :]
    assert f"table: {SCHEMA}.Order Details, primary_key: [OrderID, ProductID]" in details
    assert '{name: unit_price, data_type: "decimal(10,2)"' in details
    assert '{name: "no", data_type: text' in details
    assert "description: References `orders.order_id`." in details
    customers = text[text.index("- name: customers") : text.index("- name: large")]
    assert "Firms that order; { { not } a template." in customers.replace("}}", "}")
    assert "In the words of the source. The name of the firm" in customers
    assert "config: {meta: {data_class: email}}" in customers
    assert "primary_key: customer_id, cursor: updated_at" in customers
    assert [r.to_table for r in written.relationships if r.table == ("shop", "orders")] == [
        ("shop", "customers")
    ]


def test_values_that_a_load_would_refuse_make_the_column_a_text(written: Discovery) -> None:
    """A third has more digits than the decimal of a numeric without limits."""
    types = {column.name: column.data_type for column in table(written, "orders").columns}
    assert (types["total"], types["ratio"]) == ("decimal(38,10)", "text")
    assert any("ratio is text" in question for question in table(written, "orders").questions)


def test_what_cannot_be_loaded_is_left_out_with_the_reason(project: Project, written: Discovery) -> None:
    reasons = {name.removeprefix(f"{SCHEMA}."): reason for name, reason in written.source.skipped.items()}
    assert sorted(reasons) == ["Twin", "broken", "no_columns", "secret", "twin", "with.dot"]
    assert "grant select" in reasons["secret"]
    assert "in case only" in reasons["Twin"]
    assert reasons["broken"] == "division by zero"
    assert "# discover_db.broken: division by zero" in (project.settings.sources / "shop.yml").read_text()
    assert "readings_2024" not in {t.name for t in written.source.tables}


def test_a_large_table_is_sampled_all_over(project: Project, northwind: str) -> None:
    limits = Limits(schemas=(SCHEMA,), tables=("large",), whole_rows=1000, sample_rows=500)
    with scratch_database() as con:
        (large,) = look(find_target("shop", project.settings), project.settings, con, limits).tables
        rows = con.execute(f"select count(*), min(id), max(id) from {large.relation}").fetchall()
    ((number, lowest, highest),) = rows
    assert (large.is_whole, large.rows) == (False, 5000)
    assert 0 < number < 2500
    assert highest - lowest > 1000


def test_a_file_of_sqlite_by_its_path(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with sqlite3.connect(tmp_path / "north wind.db") as con:
        con.executescript(
            """
            create table Customers (CustomerID text primary key not null, born date, "E-Mail" text);
            create table Orders (OrderID integer primary key, CustomerID text references Customers, customer_id int);
            create view Late as select * from Orders; create view gone as select * from missing;
            insert into Customers values ('A', '2000-01-01', 'a@b.example'), ('B', 'some day', null);
            insert into Orders values (1, 'A', 7), (2, 'A', 8);
            """
        )
    found = run(project, "north wind.db")
    assert sorted(t.name for t in found.source.tables) == ["customers", "late", "orders"]
    assert table(found, "orders").foreign_keys == [(("CustomerID",), "customers", ("CustomerID",))]
    assert "gone" in found.source.skipped
    env = tmp_path / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    project.connect("north_wind", url="sqlite:///north wind.db")
    assert project.load().error == ""
    assert project.raw("select customer_id_2, customer_id from north_wind.orders order by 1, 2") == [
        ("A", 7),
        ("A", 8),
    ]
    assert project.raw("select born from north_wind.customers order by 1") == [("2000-01-01",), ("some day",)]


def test_mariadb_with_zero_dates_and_comments(mariadb_server: MariaDB, tmp_path: Path) -> None:
    import pymysql

    project = Project(tmp_path)
    project.connect("shop", url=mariadb_server.url)
    parts = urlsplit(mariadb_server.url)
    with (
        pymysql.connect(
            host="127.0.0.1",
            port=mariadb_server.ports["sql"],
            user=parts.username,
            password=unquote(parts.password or ""),
            database=parts.path.strip("/"),
            autocommit=True,
        ) as con,
        con.cursor() as cursor,
    ):
        for statement in (
            "set sql_mode = ''",
            "create table disc_people (id int primary key, born date comment 'Birthday') comment 'People.'",
            "insert into disc_people values (1, '0000-00-00'), (2, '2000-01-01')",
            "create table `disc Odd` (`select` int, person int references disc_people (id))",
        ):
            cursor.execute(statement)
    found = run(project, "shop", Limits(tables=("disc*",)))
    assert [t.name for t in found.source.tables] == ["disc_odd", "disc_people"]
    people = table(found, "disc_people")
    assert (people.comment, people.columns[1].comment, people.columns[1].data_type) == (
        "People.",
        "Birthday",
        "text",
    )
    assert table(found, "disc_odd").foreign_keys == [(("person",), "disc_people", ("id",))]
    assert project.load().error == ""
    assert project.raw("select count(*) from shop.disc_people") == [(2,)]


def test_other_databases_are_read_through_sqlalchemy(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as con:
        con.executescript(
            "create table things (id integer primary key, name text); insert into things values (1, 'a')"
        )
    project = Project(tmp_path)
    project.connect("other", url=f"sqlite+pysqlite:///{tmp_path / 'other.db'}")
    found = run(project, "other")
    assert [(c.name, c.data_type) for c in table(found, "things").columns] == [
        ("id", "bigint"),
        ("name", "text"),
    ]
    assert table(found, "things").rows == 1


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://loader:s3cret-word@127.0.0.1:1/shop", "cannot connect to 127.0.0.1:1/shop"),
        ("postgresql://loader:s3cret-word/x@host:word/shop", "cannot be read"),
        ("nosuch://loader:s3cret-word@host/shop", "Install the SQLAlchemy dialect"),
    ],
)
def test_a_system_that_cannot_be_reached_is_said_without_its_password(
    address: str, said: str, tmp_path: Path
) -> None:
    project = Project(tmp_path)
    with pytest.raises(ConnectionError) as raised:
        run(project, address)
    assert said in str(raised.value)
    assert "s3cret-word" not in str(raised.value)
    assert not (tmp_path / ".env").exists()
    assert list(project.settings.sources.iterdir()) == []


def test_a_pattern_that_fits_no_table_names_those_it_is_like(project: Project, written: Discovery) -> None:
    with pytest.raises(UsageError, match=r"fits none of the .* Did you mean"):
        run(project, "shop", Limits(schemas=(SCHEMA,), tables=("ordes",)))


def test_an_address_is_never_written_over_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for name in ("one.db", "two.db"):
        with sqlite3.connect(tmp_path / name) as con:
            con.execute("create table a (id integer primary key)")
    (tmp_path / ".env").write_text("KEPT=1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONNECTIONS__SHOP__URL", raising=False)
    first = CliRunner().invoke(app, ["discover", "one.db", "--name", "shop"])
    assert first.exit_code == Exit.OK, first.output
    assert "git does not ignore it" in first.output
    text = (tmp_path / ".env").read_text()
    assert text == "KEPT=1\nCONNECTIONS__SHOP__URL='sqlite:///one.db'\n"
    (project.settings.sources / "shop.yml").unlink()
    second = CliRunner().invoke(app, ["discover", "two.db", "--name", "shop"])
    assert isinstance(second.exception, SluiceError)
    assert "is set already, and not to this address" in str(second.exception)
    assert (tmp_path / ".env").read_text() == text
    assert not list(project.settings.sources.iterdir())
    os.environ.pop("CONNECTIONS__SHOP__URL", None)
