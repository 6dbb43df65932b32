"""Databases: TPC-H tables with a key and an `updated_at`, in PostgreSQL, MariaDB and SQLite."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from bench.case import (
    Case,
    Figures,
    Subject,
    Verdict,
    at_most,
    expect,
    memory,
    over_limit,
    raw_file,
    rows_of,
    run,
)
from servers import MariaDB, Postgres
from sluice.engine.duckdb import load_extension

KEYS = {"lineitem": ["l_orderkey", "l_linenumber"], "orders": ["o_orderkey"], "customer": ["c_custkey"]}
UPDATED = "timestamptz '2026-01-01 00:00:00+00' + to_microseconds(row_number() over ())"
"""Each row has a time of its own, as in a busy system: a load begins with the last time it has seen."""


def generate(con: duckdb.DuckDBPyConnection, factor: float, step: int, steps: int) -> None:
    """One part of TPC-H; made in parts so that scale 10 fits into memory."""
    for name in ("lineitem", "orders", "customer", "part", "partsupp", "supplier", "nation", "region"):
        con.execute(f"drop table if exists memory.main.{name}")
    parts = f", children = {steps}, step = {step}" if steps > 1 else ""
    con.execute(f"call dbgen(sf = {factor}{parts})")


def into_postgres(url: str, factor: float, tables: Sequence[str]) -> None:
    """TPC-H tables with a primary key, and with an indexed `updated_at` as the cursor."""
    steps = max(1, round(factor * 2)) if factor >= 1 else 1
    with duckdb.connect() as con:
        load_extension(con, "tpch")
        load_extension(con, "postgres_scanner")
        con.execute("set TimeZone = 'UTC'; set memory_limit = '1GB'")
        con.execute(f"attach '{url}' as target (type postgres)")
        for step in range(steps):
            generate(con, factor, step, steps)
            for name in tables:
                rows = f"select *, {UPDATED} as updated_at from memory.main.{name}"
                made = f"create table target.{name} as" if step == 0 else f"insert into target.{name}"
                con.execute(f"{made} {rows}")


def index(server: Postgres, tables: Sequence[str]) -> None:
    """Keys, index and statistics."""
    for name in tables:
        key = ", ".join(KEYS[name])
        server.sql(f"alter table {name} add primary key ({key}); create index on {name} (updated_at)")
        server.sql(f"vacuum analyze {name}")


def no_driver() -> str:
    """Why stock dlt cannot read PostgreSQL here, if so: Sluice needs no driver, dlt's SQLAlchemy does."""
    return "" if importlib.util.find_spec("psycopg2") else "psycopg2 is not installed (make install)"


def stock_notes() -> list[str]:
    """Why a case has no column for stock dlt."""
    return [f"dlt: not measured, {no_driver()}"] if no_driver() else []


def merged(keys: Mapping[str, Sequence[str]]) -> dict[str, dict[str, object]]:
    """Table declarations: merged by key, incremental by `updated_at`."""
    return {name: {"primary_key": list(key), "cursor": "updated_at"} for name, key in keys.items()}


LESSER = " at scale 0.1"


class _OnPostgres(Case):
    server: Postgres
    factor = 1.0
    tables: Sequence[str] = tuple(KEYS)

    def prepare(self) -> None:
        self.server = Postgres(self.folder / "postgres", "bench")
        self.server.start()
        into_postgres(self.server.url, self.factor * self.scale, self.tables)
        index(self.server, self.tables)
        self.rows = sum(int(self.server.sql(f"select count(*) from {name}")) for name in self.tables)

    def close(self) -> None:
        if hasattr(self, "server"):
            self.server.stop()

    def own(self) -> Subject:
        keys = {name: KEYS[name] for name in self.tables}
        load = {"kind": "database", "connection": "bench"}
        return self.sluice(load, merged(keys), connection={"url": self.server.url})

    def after(self, subject: Subject, turn: int) -> None:
        schema = "main" if subject.name == "limit" else "bench"
        got = rows_of(raw_file(subject), *(f"{schema}.{name}" for name in self.tables))
        expect(f"rows of {subject.name}", got, self.rows)


class FirstLoad(_OnPostgres):
    name = "postgres-first"
    work = "PostgreSQL, TPC-H scale 1, `lineitem`, `orders` and `customer` (7.65 million rows), first load"
    target = "1.3 x limit, 700 MB"

    def subjects(self) -> list[Subject]:
        url, names = self.server.url, list(self.tables)
        stock = self.stock("tables", url=url, names=names)
        return [
            self.limit("tables", url=url, dialect="postgres", names=names),
            self.own(),
            *([] if no_driver() else [stock]),
        ]

    def notes(self) -> list[str]:
        return stock_notes()

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [over_limit(figures, 1.3), memory(figures["sluice"], 700)]


class Changed(_OnPostgres):
    name = "postgres-changed"
    work = (
        "the same tables with 1 % of the rows changed at the source, merged by key, and an empty run after it;"
        " at scale 1 and at scale 0.1"
    )
    target = "1.0 s over an empty run, 1.2 x the cost at scale 0.1"

    def prepare(self) -> None:
        """Every subject loads everything once, unmeasured."""
        super().prepare()
        self.lesser = Postgres(self.folder / "lesser", "bench")
        self.lesser.start()
        into_postgres(self.lesser.url, self.factor * self.scale / 10, self.tables)
        index(self.lesser, self.tables)
        url, names = self.server.url, list(self.tables)
        run(self.limit("tables", url=url, dialect="postgres", names=names))
        for subject in self.subjects():
            if subject.name.startswith("sluice") or (subject.name == "dlt" and self.with_stock):
                run(subject)

    def close(self) -> None:
        super().close()
        if hasattr(self, "lesser"):
            self.lesser.stop()

    def subjects(self) -> list[Subject]:
        keys = {name: KEYS[name] for name in self.tables}
        load = {"kind": "database", "connection": "bench"}
        subjects = [self.limit("newer", url=self.server.url, keys=keys)]
        for place, server, project in (("", self.server, "project"), (LESSER, self.lesser, "lesser_project")):
            for name in ("sluice", "empty run"):
                url = {"url": server.url}
                subjects.append(
                    self.sluice(load, merged(keys), connection=url, name=name + place, project=project)
                )
        stock = self.stock("tables", url=self.server.url, names=list(self.tables), keys=keys)
        return [*subjects, *([] if no_driver() else [stock])]

    def rows_of(self, subject: Subject) -> int:
        """The changed ones."""
        if "empty" in subject.name:
            return 0
        return self.rows // (1000 if LESSER in subject.name else 100)

    def before(self, subject: Subject, turn: int) -> None:
        """A round begins with another hundredth of the rows; the empty run follows the merge."""
        servers = {"limit": self.server, "sluice" + LESSER: self.lesser}
        if server := servers.get(subject.name):
            for name in self.tables:
                server.sql(
                    f"update {name} set updated_at = clock_timestamp()"
                    f" where abs(hashint8({KEYS[name][0]}::bigint)::bigint) % 100 = {turn}"
                )

    def after(self, subject: Subject, turn: int) -> None:
        """As many rows with a new time as in the source, none twice."""
        server = self.lesser if LESSER in subject.name else self.server
        schema = "main" if subject.name == "limit" else "bench"
        for name in self.tables:
            query = "select count(*), count(*) filter (updated_at > '2026-06-01') from {}"
            wanted = server.sql(query.format(name).replace("filter (", "filter (where "))
            with duckdb.connect(str(raw_file(subject)), read_only=True) as con:
                got = con.execute(query.format(f"{schema}.{name}")).fetchone() or ()
            expect(f"rows of {name} of {subject.name}", "|".join(map(str, got)), wanted.strip())

    def notes(self) -> list[str]:
        told = (
            "at scale 1 ten times as many rows change as at scale 0.1: the ratio of the two runs compares what these"
            " rows take with the start of a process, and grows when that gets shorter"
        )
        return [told, *stock_notes()]

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        whole, empty = figures["sluice"].wall(), figures["empty run"].wall()
        lesser = figures["sluice" + LESSER].wall()
        return [
            at_most("over an empty run", whole - empty, 1.0, "s"),
            at_most("run at scale 1 by run at scale 0.1", whole / lesser, 1.2, "x"),
        ]


class FiftyTables(_OnPostgres):
    name = "empty-50"
    work = "50 tables of PostgreSQL with a cursor, 1,000 rows each, of which nothing is new"
    target = "3 s"
    names: Sequence[str] = tuple(f"t{number:02}" for number in range(1, 51))

    def prepare(self) -> None:
        self.server = Postgres(self.folder / "postgres", "bench")
        self.server.start()
        for name in self.names:
            self.server.sql(
                f"create table {name} as select i as id, 'item ' || i as name,"
                " timestamptz '2026-01-01' + i * interval '1 second' as updated_at from generate_series(1, 1000) i;"
                f" alter table {name} add primary key (id)"
            )
        self.rows = 0
        for subject in self.subjects():
            if subject.name == "limit":
                run(self.limit("tables", url=self.server.url, dialect="postgres", names=self.names))
            else:
                run(subject)

    def subjects(self) -> list[Subject]:
        keys = {name: ["id"] for name in self.names}
        load = {"kind": "database", "connection": "bench"}
        url = self.server.url
        own = self.sluice(load, merged(keys), connection={"url": url})
        stock = self.stock("tables", url=url, names=self.names, keys=keys)
        return [self.limit("newer", url=url, keys=keys), own, *([] if no_driver() else [stock])]

    def notes(self) -> list[str]:
        return stock_notes()

    def before(self, subject: Subject, turn: int) -> None:
        """What was loaded stays."""

    def after(self, subject: Subject, turn: int) -> None:
        schema = "main" if subject.name == "limit" else "bench"
        got = rows_of(raw_file(subject), *(f"{schema}.{name}" for name in self.names))
        expect(f"rows of {subject.name}", got, 1000 * len(self.names))

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [at_most("run", figures["sluice"].wall(), 3.0, "s")]


class Large(_OnPostgres):
    name = "postgres-large"
    work = "`lineitem` at TPC-H scale 10 (60 million rows) and at scale 1 beside it, first load"
    target = "linear in rows, 2 GB"
    only_large = True
    factor = 10.0
    tables = ("lineitem",)

    def prepare(self) -> None:
        super().prepare()
        self.lesser = Postgres(self.folder / "lesser", "bench")
        self.lesser.start()
        into_postgres(self.lesser.url, self.factor * self.scale / 10, self.tables)
        index(self.lesser, self.tables)

    def close(self) -> None:
        super().close()
        if hasattr(self, "lesser"):
            self.lesser.stop()

    def rows_of(self, subject: Subject) -> int:
        parts = {"empty run": 0, "sluice, a tenth": self.rows // 10}
        return parts.get(subject.name, self.rows)

    def subjects(self) -> list[Subject]:
        load = {"kind": "database", "connection": "bench"}
        keys = merged({"lineitem": KEYS["lineitem"]})
        url = {"url": self.lesser.url}
        lesser = self.sluice(load, keys, connection=url, name="sluice, a tenth", project="lesser_project")
        limit = self.limit("tables", url=self.server.url, dialect="postgres", names=["lineitem"])
        empty = replace(lesser, name="empty run")
        return [limit, self.own(), lesser, empty]

    def before(self, subject: Subject, turn: int) -> None:
        """The empty run follows the load of a tenth."""
        if subject.name != "empty run":
            super().before(subject, turn)

    def after(self, subject: Subject, turn: int) -> None:
        if subject.name in ("limit", "sluice"):
            super().after(subject, turn)

    def notes(self) -> list[str]:
        return [
            "linear: what a run takes over an empty one, within 10 %",
            "dlt: not run with that many rows; [postgres-first](#postgres-first) has it with a tenth",
        ]

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        empty = figures["empty run"].wall()
        ratio = (figures["sluice"].wall() - empty) / max(figures["sluice, a tenth"].wall() - empty, 0.01)
        return [at_most("ten times the rows take", ratio, 11.0, "x as long"), memory(figures["sluice"], 2000)]


class _Orders(Case):
    """TPC-H `orders` in another database than PostgreSQL."""

    target = "1.5 x limit"
    dialect: str
    url: str
    """As Sluice and SQLAlchemy have it."""
    address: str
    """As DuckDB has it."""

    def subjects(self) -> list[Subject]:
        table = {"orders": {"primary_key": "o_orderkey"}}
        own = self.sluice({"kind": "database", "connection": "bench"}, table, connection={"url": self.url})
        return [
            self.limit("tables", url=self.address, dialect=self.dialect, names=["orders"]),
            own,
            self.stock("tables", url=self.url, names=["orders"]),
        ]

    def orders(self) -> duckdb.DuckDBPyConnection:
        """A connection with the rows as `memory.main.orders`."""
        con = duckdb.connect()
        load_extension(con, "tpch")
        generate(con, self.scale, step=0, steps=1)
        row = con.execute("select count(*) from orders").fetchone()
        self.rows = row[0] if row else 0
        return con

    def after(self, subject: Subject, turn: int) -> None:
        schema = "main" if subject.name == "limit" else "bench"
        expect(f"rows of {subject.name}", rows_of(raw_file(subject), f"{schema}.orders"), self.rows)

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [over_limit(figures, 1.5)]


class OnMariaDB(_Orders):
    name = "mariadb"
    work = "MariaDB, TPC-H scale 1 `orders` (1.5 million rows), first load"
    dialect = "mysql"

    def missing(self) -> str | None:
        return None if MariaDB.is_installed() else "no mariadbd on this machine"

    def prepare(self) -> None:
        self.server = MariaDB(self.folder / "mariadb", "bench")
        self.server.start()
        self.url = self.server.url
        self.address = (
            f"host=127.0.0.1 port={self.server.ports['sql']} user=loader"
            f" passwd={self.server.secrets['loader']} database=bench"
        )
        with self.orders() as con:
            load_extension(con, "mysql_scanner")
            con.execute(f"attach '{self.address}' as target (type mysql)")
            con.execute(
                "call mysql_execute('target', 'create table orders (o_orderkey bigint primary key, o_custkey bigint,"
                " o_orderstatus char(1), o_totalprice decimal(15,2), o_orderdate date, o_orderpriority varchar(15),"
                " o_clerk varchar(15), o_shippriority int, o_comment varchar(79))')"
            )
            con.execute("insert into target.orders select * from memory.main.orders")

    def close(self) -> None:
        if hasattr(self, "server"):
            self.server.stop()


class OnSQLite(_Orders):
    name = "sqlite"
    work = "SQLite, TPC-H scale 1 `orders` (1.5 million rows), first load"
    dialect = "sqlite"

    def prepare(self) -> None:
        self.address = str(self.folder / "orders.sqlite")
        self.url = f"sqlite:///{self.address}"
        Path(self.address).unlink(missing_ok=True)
        with sqlite3.connect(self.address) as there:
            there.execute(
                "create table orders (o_orderkey integer primary key, o_custkey integer, o_orderstatus text,"
                " o_totalprice real, o_orderdate text, o_orderpriority text, o_clerk text, o_shippriority integer,"
                " o_comment text)"
            )
        with self.orders() as con:
            load_extension(con, "sqlite_scanner")
            con.execute(f"attach '{self.address}' as target (type sqlite)")
            con.execute(
                "insert into target.orders select * replace (o_totalprice::double as o_totalprice,"
                " o_orderdate::varchar as o_orderdate) from memory.main.orders"
            )


CASES = (FirstLoad, Changed, FiftyTables, Large, OnMariaDB, OnSQLite)
