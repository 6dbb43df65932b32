"""`--full-refresh` exchanges a table for what the source holds now, whole and exact, or changes nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import nats
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nats.js.api import RetentionPolicy, StreamConfig

from servers import MariaDB, Postgres
from sluice.config.settings import Settings
from sluice.extract.contract import ExtractContext
from sluice.sql import quoted
from tests.python.extract.database.test_database import maria
from tests.python.extract.rest.api import Answer, Api
from tests.python.project import Project

LONG = "12345678901234567890.12345678901234567891"
PAGED = {"type": "page_number", "base_page": 1, "total_path": None}
STAMPS = ("_loaded_at", "_load_id")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def held(project: Project, table: str) -> tuple[dict[str, str], list[Any]]:
    """Columns with their types, and rows, without what every load writes anew."""
    types = {name: kind for name, kind in project.types(table).items() if name not in STAMPS}
    return types, project.raw(f"select {', '.join(map(quoted, types))} from {table} order by all")


def first_load(project: Project) -> Project:
    """The same project, loaded for the first time."""
    other = Project.__new__(Project)
    other.__dict__.update(project.__dict__)
    home = project.root / "first"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    if project.settings.connections.exists():
        shutil.copy(project.settings.connections, home)
    other.settings = Settings(root=project.root, home=home)
    assert not other.load().errors
    return other


def is_as_loaded_first(project: Project, *tables: str) -> None:
    fresh = first_load(project)
    for table in tables:
        assert held(project, table) == held(fresh, table), table
    assert project.load().rows == 0


def sql(project: Project, statements: str) -> None:
    with sqlite3.connect(project.root / "till.db") as con:
        con.executescript(statements)


def till(project: Project, tables: dict[str, dict[str, Any]], **more: Any) -> None:
    project.connect("till", url="sqlite:///till.db")
    project.declare("till", {"kind": "database", "connection": "till"}, tables, **more)


# -- exact -----------------------------------------------------------------------------------------------


def test_postgres_is_as_a_first_load_has_it(postgres_server: Postgres, project: Project) -> None:
    run, source = postgres_server.sql, {"kind": "database", "connection": "pg"}
    run("drop schema if exists refresh cascade; create schema refresh")
    run("create table refresh.a (id int primary key, x int, gone text, j jsonb, at timestamp)")
    run("create table refresh.b (id int primary key, x numeric(50,20)); insert into refresh.b values (1, 1)")
    run("create table refresh.c (x int); insert into refresh.c values (1)")
    project.connect("pg", url=postgres_server.url)
    tables = {t: {"table": f"refresh.{t}", **({} if t == "c" else {"primary_key": "id"})} for t in "abc"}
    project.declare("s", source, tables)
    assert not project.load().errors
    assert project.types("s.a")["x"] == "INTEGER"
    run(
        "alter table refresh.a alter x type numeric(10,2), drop gone, alter at type timestamptz, add day date"
    )
    run("insert into refresh.a values (1, 1.57, '{}', now()), (2, 9.99, '[1]', null)")
    run(f"update refresh.b set x = {LONG}")
    run("alter table refresh.c alter x type double precision; insert into refresh.c values (0.5)")
    project.declare("s", source, tables, columns={"b": {"id": None, "x": "varchar"}})
    outcome = project.load(full_refresh=True)
    assert not outcome.errors
    assert project.raw("select x from s.a order by id") == [(Decimal("1.57"),), (Decimal("9.99"),)]
    assert project.raw("select x from s.b") == [(LONG,)]
    assert [project.types(f"s.{t}")["x"] for t in "abc"] == ["DECIMAL(10,2)", "VARCHAR", "DOUBLE"]
    assert (outcome["a"].new_columns, outcome["a"].lost_columns) == (("day",), ("gone",))
    assert "x is now decimal(10,2) (was integer)" in (outcome["a"].message or "")
    is_as_loaded_first(project, "s.a", "s.b", "s.c")


def test_a_decimal_of_mariadb_that_is_too_wide(mariadb_server: MariaDB, project: Project) -> None:
    """Refused as by any load, and exact once the column is declared as text; no package is set aside."""
    source, tables = (
        {"kind": "database", "connection": "db"},
        {"a": {"table": "refresh_a", "primary_key": "id"}},
    )
    maria(
        mariadb_server,
        "drop table if exists refresh_a; create table refresh_a (id int primary key, x decimal(65,30)); insert into refresh_a values (1, 1.5)",
    )
    project.connect("db", url=mariadb_server.url)
    project.declare("s", source, tables)
    assert not project.load().errors
    maria(mariadb_server, f"insert into refresh_a values (2, {LONG})")
    before = held(project, "s.a")
    error = project.load(full_refresh=True).error
    assert "are not decimal(38,10)" in error
    assert "and run: sluice load s.a --full-refresh" in error
    assert held(project, "s.a") == before
    project.declare("s", source, tables, columns={"a": {"id": None, "x": "varchar"}})
    assert not project.load(full_refresh=True).errors
    assert project.raw("select x from s.a where id = 2") == [(LONG + "0000000000",)]
    assert not (project.settings.home / "set_aside").exists()
    is_as_loaded_first(project, "s.a")


def test_other_kinds_are_as_a_first_load_has_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite, an API, resources and files, whose columns get other types, some from empty tables."""
    monkeypatch.syspath_prepend(project.root)
    (project.root / "refreshed_rows.py").write_text(
        "import json\nfrom pathlib import Path\ndef rows():\n"
        "    yield json.loads((Path(__file__).parent / 'rows.json').read_text())\n"
    )
    (project.root / "in").mkdir()
    api = Api()

    def put(rows: list[dict[str, Any]], kind: str) -> None:
        api.answer = lambda _: Answer(rows)
        (project.root / "rows.json").write_text(json.dumps(rows))
        (project.root / "in" / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        pq.write_table(pa.Table.from_pylist(rows), project.root / "in" / "a.parquet")
        sql(project, f"drop table if exists sales; create table sales (id integer primary key, v {kind})")
        if kind != "integer":
            sql(project, f"insert into sales values {', '.join(str((r['id'], r['v'])) for r in rows)}")

    put([{"id": 1, "v": 1}, {"id": 2, "v": 2}], "integer")
    till(project, {"sales": {"primary_key": "id"}})
    client = {"base_url": api.url, "paginator": "single_page"}
    project.declare(
        "api",
        {"kind": "rest", "client": client},
        {"things": {"endpoint": {"path": "t"}, "primary_key": "id"}},
    )
    project.declare(
        "own", {"kind": "python"}, {"things": {"resource": "refreshed_rows.rows", "primary_key": "id"}}
    )
    forms = {form: {"path": f"*.{form}", "format": form} for form in ("jsonl", "parquet")}
    project.declare("f", {"kind": "files", "url": "in"}, forms)
    tables = ("till.sales", "api.things", "own.things", "f.jsonl", "f.parquet")
    assert not project.load().errors
    put([{"id": 1, "v": 1.57}, {"id": 2, "v": 9.99}], "real")
    assert not project.load(full_refresh=True).errors
    for table in tables:
        assert project.raw(f"select v from {table} order by id") == [(1.57,), (9.99,)], table
    is_as_loaded_first(project, *tables)
    api.server.shutdown()
    api.server.server_close()


# -- or nothing ------------------------------------------------------------------------------------------


def state(project: Project, source: str) -> Any:
    file = project.settings.pipelines / source / "state.json"
    return json.loads(file.read_text())["sources"][source]["resources"]


def test_a_refresh_that_fails_changes_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails: raw, its types and the state stay, and the next load without the fault has nothing to do."""
    monkeypatch.syspath_prepend(project.root)
    folder = project.root / "in"
    folder.mkdir()
    (project.root / "failing_rows.py").write_text(
        "from pathlib import Path\nimport dlt\n"
        "def rows(seq=dlt.sources.incremental('id', initial_value=0)):\n"
        "    yield {'id': 1}\n    yield {'id': 2}\n"
        "    if Path('broken').exists():\n        raise ValueError('broken')\n"
        "def nothing():\n    yield [] if Path('broken').exists() else [{'id': 1}]\n"
    )
    monkeypatch.chdir(project.root)
    (folder / "a.csv").write_text("id,n\n1,1\n2,2\n")
    (folder / "b.csv").write_text("id,n\n3,3\n")
    pq.write_table(pa.table({"id": [1], "s": [{"a": 1}]}), folder / "a.parquet")
    sql(
        project,
        "create table sales (id integer primary key, v text); insert into sales values (1, 'a'), (2, 'b')",
    )
    till(project, {"sales": {"primary_key": "id"}})
    api = Api()
    since = {"cursor_path": "id", "initial_value": 0, "start_param": "since"}
    things: dict[str, Any] = {
        "things": {"primary_key": "id", "endpoint": {"path": "t", "incremental": since}}
    }
    project.declare("api", {"kind": "rest", "client": {"base_url": api.url, "paginator": PAGED}}, things)
    pages = {"1": [{"id": 1, "v": 1}], "2": [{"id": 2, "v": 2}]}
    api.answer = lambda request: Answer(pages.get(request.query["page"], []))
    own: dict[str, Any] = {t: {"resource": f"failing_rows.{t}"} for t in ("rows", "nothing")}
    own["rows"]["write_disposition"] = "append"
    project.declare("own", {"kind": "python"}, own)

    def files(path: str) -> None:
        project.declare(
            "f",
            {"kind": "files", "url": "in"},
            {"lines": {"path": path, "format": "csv"}, "nested": {"path": "*.parquet", "format": "parquet"}},
            columns={"lines": {"id": "bigint", "n": "bigint"}},
        )

    files("*.csv")
    tables = ("till.sales", "api.things", "own.rows", "own.nothing", "f.lines", "f.nested")
    sources = ("till", "api", "own", "f")
    assert not project.load().errors
    before = {t: project.raw(f"select * from {t} order by all") for t in tables}
    types = {t: project.types(t) for t in tables}
    states = {s: state(project, s) for s in sources}

    def refused(**expected: str) -> None:
        source = next(iter(expected)).split("__")[0]
        chosen = [name.replace("__", ".") for name in expected]
        outcome = project.load(*chosen, full_refresh=True)
        for table, text in zip(chosen, expected.values(), strict=True):
            assert text in (outcome[table.split(".")[1]].error or "")
            assert project.raw(f"select * from {table} order by all") == before[table], expected
            assert project.types(table) == types[table]
        assert state(project, source) == states[source]

    till(project, {"sales": {"primary_key": "id"}})
    project.connect("till", url="postgresql://reader@127.0.0.1:9/d")
    refused(till__sales="cannot connect")
    project.connect("till", url="sqlite:///till.db")
    api.answer = lambda request: (
        Answer(pages["1"]) if request.query["page"] == "1" else Answer({}, status=404)
    )
    refused(api__things="404")
    api.answer = lambda _: Answer([])
    refused(api__things="delivers nothing, not even its columns")
    (project.root / "broken").touch()
    refused(own__rows="raised ValueError: broken", own__nothing="delivers nothing")
    (project.root / "broken").unlink()
    files("*.tsv")
    refused(f__lines="no file matches")
    files("*.csv")
    pq.write_table(pa.table({"id": [2], "s": pa.array(["text"])}), folder / "b.parquet")
    (folder / "c.csv").write_text("id,n\n4,four\n")
    refused(f__lines="n 'four'", f__nested="s: is json in a.parquet, but varchar")
    assert project.raw("select _file, _reason is not null from f.lines__quarantine") == [("c.csv", True)]
    for new in ("b.parquet", "c.csv"):
        (folder / new).unlink()
    api.answer = lambda request: Answer(pages.get(request.query["page"], []))
    outcome = project.load()
    assert (outcome.rows, outcome.errors) == (0, [])
    api.server.shutdown()
    api.server.server_close()


# -- what only raw held ----------------------------------------------------------------------------------


def test_what_only_raw_held_is_said(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the terminal, in the result and in the run store; a table that loses nothing is not mentioned."""
    folder = project.root / "in"
    folder.mkdir()
    (project.root / "said_rows.py").write_text(
        "import json\nfrom pathlib import Path\ndef rows(table):\n"
        "    yield json.loads((Path(__file__).parent / 'rows.json').read_text())[table]\n"
    )

    def put(number: int) -> None:
        rows = {"appended": [{"v": i} for i in range(number)], "replaced": [{"v": i} for i in range(number)]}
        (project.root / "rows.json").write_text(json.dumps(rows))

    put(5)
    for name, ids in {"a": (1, 2), "b": (3, 4, 5), "c": (6,)}.items():
        (folder / f"{name}.csv").write_text("id\n" + "".join(f"{i}\n" for i in ids))
        (folder / f"{name}.jsonl").write_text("".join(f'{{"id": {i}, "file": "{name}"}}\n' for i in ids))
    sql(
        project,
        "create table sales (id integer primary key, v text); create table kept (id integer primary key)",
    )
    sql(
        project,
        "insert into sales values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e'); insert into kept values (1)",
    )
    compared = {"primary_key": "id", "deletes": "compare_keys", "cursor": "id"}
    till(project, {"sales": compared, "kept": {"primary_key": "id"}})
    project.declare(
        "own",
        {"kind": "python"},
        {
            "appended": {
                "resource": "said_rows.rows",
                "arguments": {"table": "appended"},
                "write_disposition": "append",
            },
            "replaced": {"resource": "said_rows.rows", "arguments": {"table": "replaced"}},
        },
    )
    project.declare(
        "f",
        {"kind": "files", "url": "in"},
        {
            "lines": {"path": "*.csv", "format": "csv"},
            "keyed": {"path": "*.jsonl", "format": "jsonl", "primary_key": "id"},
        },
        columns={"lines": {"id": "bigint"}},
    )
    monkeypatch.syspath_prepend(project.root)
    assert not project.load().errors
    sql(project, "delete from sales where id = 1")
    assert not project.load("till").errors
    sql(project, "delete from sales where id in (2, 5)")
    put(2)
    for name in ("b.csv", "b.jsonl"):
        (folder / name).unlink()
    (folder / "a.jsonl").write_text('{"id": 2, "file": "a"}\n')
    loaded = project.sluice("load", "--full-refresh")
    assert loaded.returncode == 0, loaded.stderr
    said = {
        "till.sales": "3 row(s) that only raw held are gone (1 marked as deleted, 2 with a key that the source no longer has)",
        "own.appended": "3 row(s) that only raw held are gone (3 that the source no longer has)",
        "own.replaced": "3 row(s) fewer than raw had",
        "f.lines": "3 row(s) that only raw held are gone (3 of files that are gone)",
        "f.keyed": "4 row(s) that only raw held are gone (3 of files that are gone, 1 with a key that the source no longer has)",
    }
    recorded = project.raw(
        "select source || '.' || table_name, message from sluice.loads where message is not null"
    )
    assert dict(recorded) == {t: f"{t} was loaded from scratch: {text}" for t, text in said.items()}
    printed = " ".join(loaded.stdout.split())
    for _, message in recorded:
        assert message in printed
    assert project.raw("select count(*) from till.sales where _deleted_at is null") == [(2,)]


@pytest.mark.parametrize("drift", ["freeze", "quarantine"])
@pytest.mark.sample(1)
def test_new_columns_follow_the_policy(project: Project, drift: str) -> None:
    sql(
        project,
        "create table sales (id integer primary key, v integer); insert into sales values (1, 1), (2, 2)",
    )
    keys = {"primary_key": "id", "drift": drift, "tolerance": 1}
    till(project, {"sales": keys})
    assert not project.load().errors
    before = held(project, "till.sales")
    sql(project, "alter table sales add column more text; update sales set more = 'x' where id = 2")
    outcome = project.load(full_refresh=True)
    if drift == "freeze":
        assert "the source has the new column more, and drift is freeze" in outcome.error
        assert held(project, "till.sales") == before
    else:
        assert (outcome["sales"].rows, outcome["sales"].quarantined, outcome.errors) == (1, 1, [])
    till(project, {"sales": keys}, columns={"sales": {"id": None, "more": None, "v": None}})
    assert project.load(full_refresh=True).rows == 2
    is_as_loaded_first(project, "till.sales")


def test_a_refresh_that_nobody_asked_for_may_not_shrink(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(project, "create table sales (id integer primary key); insert into sales values (1), (2), (3)")
    till(project, {"sales": {"primary_key": "id"}})
    assert not project.load().errors
    sql(project, "delete from sales where id > 1")
    with monkeypatch.context() as patch:
        patch.setattr(ExtractContext, "refreshes", lambda *_: True)
        assert "the source now has 1 rows, raw has 3" in project.load().error
    assert project.raw("select count(*) from till.sales") == [(3,)]
    assert project.load(full_refresh=True).rows == 1


def test_a_column_that_left_may_come_back(project: Project) -> None:
    """dlt has stored a schema with the same columns before; raw's table still gets the column."""
    sql(project, "create table sales (id integer primary key, a text); insert into sales values (1, 'a')")
    till(project, {"sales": {"primary_key": "id"}})
    assert not project.load().errors
    for text in ("first", "again"):
        sql(project, f"alter table sales add column b text; update sales set b = '{text}'")
        assert not project.load().errors
        assert project.raw("select id, a, b from till.sales") == [(1, "a", text)]
        sql(project, "alter table sales drop column b")
        outcome = project.load(full_refresh=True)
        assert outcome["sales"].message == "till.sales was loaded from scratch: without b"
        is_as_loaded_first(project, "till.sales")


def test_a_table_that_was_dropped_in_raw_is_created_again(project: Project) -> None:
    """As the message about a queue says to do; dlt takes the table for one that is there."""
    sql(project, "create table sales (id integer primary key, a text); insert into sales values (1, 'a')")
    till(project, {"sales": {"primary_key": "id"}})
    assert not project.load().errors
    with duckdb.connect(str(project.settings.raw)) as con:
        con.execute("drop table till.sales")
    sql(
        project,
        "drop table sales; create table sales (id integer primary key, a integer); insert into sales values (1, 2)",
    )
    assert not project.load().errors
    is_as_loaded_first(project, "till.sales")


def test_the_declaration_may_have_changed(project: Project) -> None:
    """Another key and another disposition; bad rows of before are gone, those of now are kept."""
    folder = project.root / "in"
    folder.mkdir()
    lines = {"path": "*.csv", "format": "csv", "tolerance": 5}

    def declare(kind: str, **keys: Any) -> None:
        columns: dict[str, str | None] = {"id": "bigint", "part": "bigint", "v": kind}
        project.declare(
            "f", {"kind": "files", "url": "in"}, {"lines": {**lines, **keys}}, columns={"lines": columns}
        )

    (folder / "a.csv").write_text("id,part,v\n1,1,1\n1,2,2\nx,3,3\n2,1,text\n")
    declare("bigint")
    assert project.load()["lines"].quarantined == 2
    declare("text", primary_key=["id", "part"])
    outcome = project.load(full_refresh=True)
    assert (outcome["lines"].rows, outcome["lines"].quarantined, outcome.errors) == (3, 1, [])
    assert project.raw("select _line from f.lines__quarantine") == [(4,)]
    assert outcome["lines"].message == (
        "f.lines was loaded from scratch: 1 row(s) left the quarantine, as they came well or not again; "
        "v is now varchar (was bigint)"
    )
    is_as_loaded_first(project, "f.lines", "f.lines__quarantine")
    (folder / "a.csv").write_text("id,part,v\n1,1,changed\n1,2,2\n2,1,text\n")
    assert project.load().rows == 1
    assert project.raw("select id, part, v from f.lines order by all") == [
        (1, 1, "changed"),
        (1, 2, "2"),
        (2, 1, "text"),
    ]
    assert project.raw("select count(*) from f.lines__quarantine") == [(0,)]
    declare("text", primary_key="id", tolerance=0)
    before = held(project, "f.lines")
    assert "stands for several different rows" in project.load(full_refresh=True).error
    assert held(project, "f.lines") == before


# -- streams ---------------------------------------------------------------------------------------------


def test_a_stream_is_read_whole_and_a_queue_is_not_emptied(nats_url: str, project: Project) -> None:
    """Expired messages are counted, `max_messages` does not cut, and what a queue removed stays in raw."""
    mark = f"refresh_{time.monotonic_ns()}"
    kept, queue = f"{mark}_kept", f"{mark}_queue"

    async def publish(first: int) -> None:
        client = await nats.connect(nats_url)
        js = client.jetstream()
        for name, retention in {kept: RetentionPolicy.LIMITS, queue: RetentionPolicy.WORK_QUEUE}.items():
            await js.add_stream(StreamConfig(name=name, subjects=[name], retention=retention, max_msgs=9))
            for number in range(first, first + 6):
                await js.publish(name, json.dumps({"n": number}).encode())
        await client.close()

    project.connect("server", url=nats_url)
    tables: dict[str, dict[str, Any]] = {
        "kept": {"stream": kept, "max_messages": 6},
        "queue": {"stream": queue},
    }
    project.declare("s", {"kind": "stream", "connection": "server", "protocol": "nats"}, tables)
    for first in (1, 7):
        asyncio.run(publish(first))
        assert not project.load().errors
    before = project.raw("select * from s.queue order by all")
    outcome = project.load(full_refresh=True)
    assert outcome["kept"].message == (
        "s.kept was loaded from scratch: 3 row(s) that only raw held are gone (3 with a key that the source no longer has)"
    )
    assert project.raw("select list(n order by n) from s.kept") == [(list(range(4, 13)),)]
    assert "raw has the only copy of those it loaded" in (outcome["queue"].error or "")
    assert project.raw("select * from s.queue order by all") == before
    assert len(before) == 12
    outcome = project.load()
    assert (outcome.rows, outcome.errors) == (0, [])


def test_a_topic_is_read_whole(kafka_bootstrap: str, project: Project) -> None:
    from confluent_kafka import Producer

    topic = f"refresh_{time.monotonic_ns()}"
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for number in range(20):
        producer.produce(
            topic, json.dumps({"n": number if number < 10 else number + 0.5}).encode(), key=str(number)
        )
        if number == 9:
            assert producer.flush(20) == 0
            project.connect("brokers", bootstrap_servers=kafka_bootstrap)
            load = {"kind": "stream", "connection": "brokers", "protocol": "kafka"}
            project.declare("s", load, {"messages": {"topic": topic, "max_messages": 10}})
            assert project.load().rows == 10
    assert producer.flush(20) == 0
    assert "are not bigint" in project.load().error
    assert project.load(full_refresh=True).rows == 20
    assert project.types("s.messages")["n"] == "DOUBLE"
    assert project.raw("select count(*) from s.messages__quarantine") == [(0,)]
    assert project.load().rows == 0
