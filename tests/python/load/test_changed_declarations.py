"""A declaration that changed after rows were loaded: the table is reloaded whole, or the load says what to do."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nats
import pytest
from confluent_kafka import Producer
from nats.js.api import RetentionPolicy, StreamConfig

from tests.python.extract.rest.api import Answer, Api
from tests.python.load.test_drift import workbook
from tests.python.project import Project

FILES = {"kind": "files", "url": "in"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "in").mkdir()
    return Project(tmp_path)


def put(project: Project, **files: str) -> None:
    for name, text in files.items():
        (project.root / "in" / f"{name}.csv").write_text(text)


def lines(project: Project, columns: Mapping[str, str | None] | None = None, **keys: Any) -> None:
    load = {"path": "*.csv", "format": "csv", **keys}
    project.declare("f", FILES, {"lines": load}, {"lines": columns} if columns else None)


def till(project: Project, statements: str, **keys: Any) -> None:
    with sqlite3.connect(project.root / "till.db") as con:
        con.executescript(statements)
    project.connect("till", url="sqlite:///till.db")
    project.declare("till", {"kind": "database", "connection": "till"}, {"sales": keys})


def test_files_read_before_are_read_again(project: Project) -> None:
    put(project, a="id;v\n1;n/a\n2;1,5\n")
    lines(project, delimiter=";")
    assert not project.load().errors
    for keys, columns, v in (
        ({"nulls": ["n/a"]}, None, None),
        ({"nulls": [""]}, None, "n/a"),
        ({"nulls": ["n/a"], "decimal": ","}, {"id": "bigint", "v": "decimal(9,2)"}, None),
    ):
        lines(project, columns, delimiter=";", **keys)
        outcome = project.load()
        assert not outcome.errors
        assert "f.lines was reloaded whole because `" in (outcome["lines"].message or "")
        assert project.raw("select v from f.lines where id::int = 1") == [(v,)]
        assert project.load().rows == 0
    assert project.types("f.lines")["v"] == "DECIMAL(9,2)"
    lines(
        project, {"id": "bigint", "v": "decimal(9,2)"}, delimiter=";", nulls=["n/a"], decimal=",", tolerance=5
    )
    outcome = project.load()
    assert (outcome.rows, outcome.errors, outcome["lines"].message) == (0, [], None)


def test_a_sheet_that_does_not_exist(project: Project) -> None:
    workbook(project.root / "in" / "book.xlsx", {"First": [["id"], [1]], "Second": [["id"], [2]]})

    def declare(**keys: str) -> None:
        project.declare(
            "f", FILES, {"cells": {"path": "*.xlsx", "format": "excel", **keys}}, {"cells": {"id": "int"}}
        )

    declare()
    assert not project.load().errors
    declare(sheet="Second")
    assert not project.load().errors
    assert project.raw("select id from f.cells") == [(2,)]
    declare(sheet="Third")
    error = project.load().error
    assert '`sheet` ("Second" → "Third") changed since its rows were read' in error
    assert "Second" in error
    assert project.raw("select id from f.cells") == [(2,)]
    declare(sheet="Second")
    assert project.load().errors == []


def test_what_only_raw_holds_is_not_taken_away(project: Project) -> None:
    """Files that left, rows that were deleted, columns that are gone: the message says how to go on, both ways."""
    put(project, a="id,v\n1,-\n", b="id,v\n2,-\n3,x\n")
    till(project, "create table sales (id integer primary key, v int); insert into sales values (1, 1), (2, 2), (3, 3)",
         primary_key="id")  # fmt: skip
    lines(project)
    assert not project.load().errors
    (project.root / "in" / "a.csv").unlink()
    lines(project, nulls=["-"])
    till(project, "delete from sales where id = 3", primary_key="id", filter="id < 10")
    before = (
        project.raw("select * from f.lines order by all"),
        project.raw("select * from till.sales order by all"),
    )
    errors = project.load().errors
    assert before == (
        project.raw("select * from f.lines order by all"), project.raw("select * from till.sales order by all"),
    )  # fmt: skip
    again = (
        "changed since its rows were read, so it was read whole again, without success; raw stays as it is:"
    )
    go = "Let that go and load everything as it is declared now: sluice load"
    keep = "Or keep the rows as they were read, and read only new ones as it is declared now: sluice load"
    files = f"{again} 1 row(s) that only raw holds would go (1 of files that are gone)"
    rows = f"{again} 1 row(s) that only raw holds would go (1 with a key that the source no longer has)"
    assert errors == [
        f'f.lines: `nulls` (default → ["-"]) {files}. {go} f.lines --full-refresh\n{keep} f.lines --keep-rows',
        f'till.sales: `filter` (default → "id < 10") {rows}. {go} till.sales --full-refresh\n{keep} till.sales --keep-rows',
    ]
    assert project.load("f", window=("1", None)).errors  # no range of it, whatever was declared
    outcome = project.load("f", keep_rows=True)
    assert (outcome["lines"].message, outcome.rows) == (
        'f.lines: `nulls` (default → ["-"]) changed; rows loaded before stay as they were read', 0,
    )  # fmt: skip
    put(project, c="id,v\n4,-\n")
    assert not project.load("f").errors
    assert project.raw("select id, v from f.lines order by id") == [
        ("1", "-"),
        ("2", "-"),
        ("3", "x"),
        ("4", None),
    ]
    assert project.load("till", full_refresh=True).rows == 2
    assert project.load().errors == []


def test_a_column_whose_values_only_raw_has(project: Project) -> None:
    put(project, a="id,v\n1,x\n")
    lines(project)
    assert not project.load().errors
    put(project, a="id\n1\n")
    lines(project, columns={"id": None}, primary_key="id")
    assert "the source no longer has v, with values that only raw holds" in project.load().error
    assert project.raw("select id, v from f.lines") == [("1", "x")]


def test_deletions_are_found_once_they_are_looked_for(project: Project) -> None:
    rows = ", ".join(f"({n}, {n})" for n in range(1, 6))
    till(project, f"create table sales (id integer primary key, at int); insert into sales values {rows}",
         primary_key="id", cursor="at")  # fmt: skip
    assert not project.load().errors
    till(project, "delete from sales where id = 2", primary_key="id", cursor="at", deletes="compare_keys")
    outcome = project.load()
    assert (outcome.errors, outcome["sales"].deleted, outcome.rows) == ([], 1, 1)
    assert project.raw("select id from till.sales where _deleted_at is not null") == [(2,)]
    till(project, "delete from sales where id = 3", primary_key="id", cursor="at", deletes="compare_keys")
    assert project.load()["sales"].deleted == 1
    assert project.load().rows == 0


def test_another_database_of_the_server(project: Project) -> None:
    till(
        project, "create table sales (id integer primary key); insert into sales values (1)", primary_key="id"
    )
    assert not project.load().errors
    (project.root / "elsewhere").mkdir()
    moved = project.root / "elsewhere" / "till.db"
    (project.root / "till.db").rename(moved)
    project.connect("till", url=f"sqlite:///{moved}")
    assert project.load().rows == 0
    moved.rename(project.root / "shop.db")
    project.connect("till", url="sqlite:///shop.db")
    assert project.load()["sales"].message == "till.sales was reloaded whole because `database` changed"


def test_an_api_and_its_children(project: Project) -> None:
    """A parameter of the parent concerns the child as well; a cursor begins again."""
    api = Api()
    since = {"cursor_path": "at", "initial_value": 0}
    of = {"kind": "rest", "client": {"base_url": api.url, "paginator": "single_page"}}

    def answer(request: Any) -> Answer:
        lang = request.query.get("lang", "de")
        return Answer(
            [{"id": 1, "at": 1, "name": lang}] if request.path == "/things" else [{"id": 1, "text": lang}]
        )

    def declare(**params: str) -> None:
        things = {"endpoint": {"path": "things", "params": params, "incremental": since}, "primary_key": "id"}
        notes = {"endpoint": {"path": "things/{resources.things.id}/notes"}, "primary_key": "id"}
        project.declare("api", of, {"things": things, "notes": notes})

    api.answer = answer
    declare()
    assert not project.load().errors
    declare(lang="en")
    outcome = project.load()
    assert outcome["things"].message == "api.things was reloaded whole because `endpoint.params.lang` changed"
    assert (
        outcome["notes"].message
        == "api.notes was reloaded whole because `things.endpoint.params.lang` changed"
    )
    assert project.raw("select name from api.things") == [("en",)]
    api.server.shutdown()
    api.server.server_close()


def test_bad_rows_are_loaded_with_a_declaration_that_fits(project: Project) -> None:
    """Also by --retry-quarantine, which then reads the whole table."""
    put(project, a="id,v\n1,2\n2,x\n")
    lines(project, {"id": "int", "v": "int"}, tolerance=1)
    assert project.load()["lines"].quarantined == 1
    lines(project, {"id": "int", "v": "text"}, tolerance=1)
    assert "changed since its rows were read" not in project.load(retry_quarantine=True).error
    assert project.raw("select id, v from f.lines order by id") == [(1, "2"), (2, "x")]
    assert project.raw("select count(*) from f.lines__quarantine") == [(0,)]


def test_streams(nats_url: str, project: Project) -> None:
    """Another subject: more messages are a reload, others are not; a queue cannot be read again."""
    mark = f"changed_{time.monotonic_ns()}"

    async def publish() -> None:
        client = await nats.connect(nats_url)
        js = client.jetstream()
        for name, retention in {"log": RetentionPolicy.LIMITS, "queue": RetentionPolicy.WORK_QUEUE}.items():
            stream = f"{mark}_{name}"
            await js.add_stream(StreamConfig(name=stream, subjects=[f"{stream}.>"], retention=retention))
            for number, city in enumerate(("bern", "rom")):
                await js.publish(f"{stream}.{city}", json.dumps({"n": number}).encode())
        await client.close()

    def declare(log: str, **queue: Any) -> None:
        tables = {
            "log": {"stream": f"{mark}_log", "subject": f"{mark}_log.{log}"},
            "queue": {"stream": f"{mark}_queue", **queue},
        }
        project.declare("s", {"kind": "stream", "connection": "server", "protocol": "nats"}, tables)

    asyncio.run(publish())
    project.connect("server", url=nats_url)
    declare("bern")
    assert not project.load().errors
    declare(">", primary_key="n")
    outcome = project.load()
    assert outcome["log"].message == "s.log was reloaded whole because `subject` changed"
    assert project.raw("select n from s.log order by n") == [(0,), (1,)]
    error = outcome["queue"].error or ""
    assert '`primary_key` (default → ["n"]) changed' in error
    assert "raw has the only copy" in error
    assert "sluice load s.queue --keep-rows" in error
    declare("rom", primary_key="n")
    assert "1 row(s) that only raw holds would go" in (project.load("s.log")["log"].error or "")
    assert project.load(keep_rows=True).errors == []
    assert project.load().errors == []
    assert project.raw("select count(*) from s.log") == [(2,)]


def test_a_topic_and_a_function(kafka_bootstrap: str, project: Project) -> None:
    """Keys that bring more, or other columns, are a reload; a topic and arguments without raw's rows are refused."""
    mark = f"changed_{time.monotonic_ns()}"
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "linger.ms": 1})
    for topic in (mark, f"{mark}_2"):
        producer.list_topics(topic, timeout=10)
        for number in range(3):
            producer.produce(topic, json.dumps({"n": number, "note": "-"}), partition=0)
    producer.flush(10)
    (project.root / "pipelines").mkdir()
    (project.root / "pipelines" / f"{mark}.py").write_text(
        "def rows(count, city='bern'):\n"
        "    yield [{'n': n, 'note': '-', 'city': city} for n in range(count)]\n"
    )
    project.connect("brokers", bootstrap_servers=kafka_bootstrap)

    def declare(topic: dict[str, Any], arguments: dict[str, Any], **keys: Any) -> None:
        of = {"kind": "stream", "connection": "brokers", "protocol": "kafka"}
        project.declare("s", of, {"log": {"topic": mark, **topic, **keys}})
        function = {"resource": f"{mark}.rows", "arguments": {"count": 3, **arguments}, "primary_key": "n"}
        project.declare("ours", {"kind": "python"}, {"items": {**function, **keys}})

    def messages() -> list[str | None]:
        outcome = project.load()
        assert not outcome.errors
        return [outcome["items"].message, outcome["log"].message]

    declare({"start": {"sequence": 1}}, {})
    assert messages() == [None, None]
    declare({"max_messages": 9, "consumer": "other", "on_gap": "continue"}, {"city": "rom"})
    items, log = "ours.items was reloaded whole because", "s.log was reloaded whole because"
    assert messages() == [f"{items} `arguments.city` changed", f"{log} `start.sequence` changed"]
    assert project.raw("select n from s.log order by n") == [(0,), (1,), (2,)]
    declare({}, {"city": "rom"}, columns={"exclude": ["note"]})
    left = "`columns.exclude` changed: without note"
    assert messages() == [f"{items} {left}", f"{log} {left}"]
    before = project.raw("from ours.items order by n"), project.raw("from s.log order by n")
    declare({"topic": f"{mark}_2"}, {"city": "rom", "count": 2}, columns={"exclude": ["note"]})
    outcome = project.load()
    assert "1 row(s) that only raw holds would go" in (outcome["items"].error or "")
    assert "3 row(s) that only raw holds would go" in (outcome["log"].error or "")
    assert before == (project.raw("from ours.items order by n"), project.raw("from s.log order by n"))
    outcome = project.load(keep_rows=True)
    assert (outcome["items"].rows, outcome["log"].rows, outcome.errors) == (0, 3, [])


def test_what_is_known_beforehand(project: Project) -> None:
    """`sluice check` names the tables and the keys, by the state alone."""
    put(project, a="id,v\n1,-\n")
    lines(project)
    assert not project.load().errors
    lines(project, tolerance=1)
    assert "changed" not in project.sluice("check").stdout
    lines(project, nulls=["-"])
    said = " ".join(project.sluice("check").stdout.split())
    assert (
        'f.lines: `nulls` (default → ["-"]) changed since its rows were read; the next load reads all' in said
    )


def test_a_table_of_an_earlier_version_is_taken_as_it_is_declared(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project, a="id,v\n1,-\n")
    lines(project)
    with monkeypatch.context() as patch:
        patch.setattr("sluice.load.dlt_pipeline.READ_WITH", "_of_nobody")
        assert not project.load().errors
    lines(project, nulls=["-"])
    assert project.load().rows == 0
    lines(project)
    assert "`nulls`" in (project.load()["lines"].message or "")


def test_what_says_what_raw_has_already_reloads_nothing(project: Project) -> None:
    till(project, "create table sales (id integer primary key, v text); insert into sales values (1, 'a')")
    assert not project.load().errors
    till(project, "alter table sales add column note text", columns={"exclude": ["note"]})
    outcome = project.load()
    assert (outcome["sales"].message, outcome.errors) == (None, [])
    project.declare("till", {"kind": "database", "connection": "till"}, {"sales": {"columns": {"exclude": ["note"]}}},
                    {"sales": {"id": "bigint", "v": "text"}})  # fmt: skip
    outcome = project.load()
    assert (outcome["sales"].message, outcome.errors) == (None, [])


def test_another_schema_is_filled_from_the_beginning(project: Project) -> None:
    put(project, a="id\n1\n")
    lines(project)
    assert not project.load().errors
    file = project.settings.sources / "f.yml"
    file.write_text(file.read_text().replace("schema: f", "schema: g"))
    assert project.load().rows == 1
    assert project.raw("select id from g.lines") == [("1",)]
    assert project.load().rows == 0
