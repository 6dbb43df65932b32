"""Nested values that gain a field arrive as each file or batch has them, whether loaded one by one or together."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import nats
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from nats.js.api import StreamConfig

from servers import Postgres
from tests.python.extract.rest.api import Answer, Api
from tests.python.project import Project

OLD = pa.table({"id": [1], "who": [{"name": "Ada"}], "many": [[{"a": 1}]]})
NEW = pa.table({"id": [2], "who": [{"name": "Bo", "age": 3}], "many": [[{"a": 2, "b": "x"}]]})
ROWS = [
    (1, '{"name":"Ada"}', '[{"a":1}]'),
    (2, '{"name":"Bo","age":3}', '[{"a":2,"b":"x"}]'),
]
SHOWN = "select id, cast(who as varchar), cast(many as varchar) from {} order by id"


def test_parquet(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "files").mkdir()
    table: dict[str, Any] = {"format": "parquet", "path": "*.parquet"}
    project.declare("files", {"kind": "files", "url": "files"}, {"one_by_one": table, "together": table})
    for number, rows in enumerate((OLD, NEW)):
        pq.write_table(rows, tmp_path / "files" / f"{number}.parquet")
        assert not project.load("files.one_by_one").errors
    assert not project.load("files.together").errors
    for name in ("one_by_one", "together"):
        assert project.raw(SHOWN.format(f"files.{name}")) == ROWS
    assert not project.load(full_refresh=True).errors
    for name in ("one_by_one", "together"):
        assert project.raw(SHOWN.format(f"files.{name}")) == ROWS
    assert project.load().rows == 0


def test_batches_of_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "growing.py").write_text(
        "import pyarrow as pa\n"
        f"OLD, NEW = {OLD.to_pylist()!r}, {NEW.to_pylist()!r}\n"
        "def arrow():\n    yield pa.Table.from_pylist(OLD)\n    yield pa.Table.from_pylist(NEW)\n"
        "def dicts():\n    yield OLD\n    yield NEW\n"
        "def mixed():\n    yield pa.Table.from_pylist(OLD)\n    yield NEW\n"
    )
    project = Project(tmp_path)
    names = ("arrow", "dicts", "mixed")
    project.declare("ours", {"kind": "python"}, {name: {"resource": f"growing.{name}"} for name in names})
    assert not project.load().errors
    for name in names:
        assert project.raw(SHOWN.format(f"ours.{name}")) == ROWS


def test_json(tmp_path: Path) -> None:
    """Lines and documents: a record's nested values stay as they are written, in whatever company they come."""
    project = Project(tmp_path)
    (tmp_path / "files").mkdir()
    lines: dict[str, Any] = {"format": "jsonl", "path": "*.jsonl"}
    documents: dict[str, Any] = {"format": "json", "path": "*.json"}
    tables = {"one_by_one": lines, "together": lines, "documents": documents, "documents_together": documents}
    project.declare("files", {"kind": "files", "url": "files"}, tables)
    for number, rows in enumerate((OLD.to_pylist(), NEW.to_pylist())):
        (tmp_path / "files" / f"{number}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (tmp_path / "files" / f"{number}.json").write_text(json.dumps(rows))
        assert not project.load("files.one_by_one", "files.documents").errors
    assert not project.load("files.together", "files.documents_together").errors
    for full_refresh in (False, True):
        assert not project.load(full_refresh=full_refresh).errors
        for name in tables:
            assert project.raw(SHOWN.format(f"files.{name}")) == ROWS, name


@pytest.mark.full
def test_records(tmp_path: Path, nats_url: str, kafka_bootstrap: str) -> None:
    """Of an API, a function, and both kinds of streams: there, a load reads what the one before did not."""
    project, api, name = Project(tmp_path), Api(), f"growing_{time.monotonic_ns()}"
    given = tmp_path / "records.json"
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / f"{name}.py").write_text(
        f"import json\ndef rows():\n    yield from json.load(open({str(given)!r}))\n"
    )
    api.answer = lambda _: Answer(json.loads(given.read_text()))
    project.connect("nats", url=nats_url)
    project.connect("kafka", bootstrap_servers=kafka_bootstrap)
    stream = {"kind": "stream", "connection": "nats", "protocol": "nats"}
    endpoint = {"path": "things", "paginator": "single_page"}
    sources: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "api": (
            {"kind": "rest", "client": {"base_url": api.url}},
            {"endpoint": endpoint, "primary_key": "id"},
        ),
        "ours": ({"kind": "python"}, {"resource": f"{name}.rows", "primary_key": "id"}),
        "nats": (stream, {"stream": name}),
        "kafka": ({**stream, "connection": "kafka", "protocol": "kafka"}, {"topic": name}),
    }
    for source, (of_source, table) in sources.items():
        project.declare(source, of_source, {"one_by_one": table, "together": table})
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "linger.ms": 1})
    producer.list_topics(name, timeout=10)
    there: list[Any] = []
    for rows in (OLD.to_pylist(), NEW.to_pylist()):
        there += rows
        given.write_text(json.dumps(there))
        asyncio.run(publish(nats_url, name, rows))
        for row in rows:
            producer.produce(name, json.dumps(row))
        producer.flush(10)
        assert not project.load(*(f"{source}.one_by_one" for source in sources)).errors
    for full_refresh in (False, True):
        assert not project.load(full_refresh=full_refresh).errors
        for name in (f"{source}.{name}" for source in sources for name in ("one_by_one", "together")):
            assert project.raw(SHOWN.format(name)) == ROWS, name
    assert project.load().rows == 0
    api.server.shutdown()
    api.server.server_close()


async def publish(url: str, stream: str, rows: list[Any]) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(StreamConfig(name=stream, subjects=[stream]))
    for row in rows:
        await client.jetstream().publish(stream, json.dumps(row).encode())
    await client.close()


def test_postgres(postgres_server: Postgres, tmp_path: Path) -> None:
    """Documents as they are, and a composite type that gains an attribute: it then has it in every row."""
    postgres_server.sql(
        "drop table if exists growing; drop type if exists person;"
        "create type person as (name text);"
        "create table growing (id int primary key, who jsonb, many json, composite person);"
        """insert into growing values (1, '{"name": "Ada"}', '[{"a":1}]', row('Ada'))"""
    )
    project = Project(tmp_path)
    project.connect("pg", url=postgres_server.url)
    tables: dict[str, Any] = {
        name: {"table": "growing", "primary_key": "id"} for name in ("grown", "together")
    }
    project.declare("pg", {"kind": "database", "connection": "pg"}, tables)
    assert not project.load("pg.grown").errors
    postgres_server.sql(
        "alter type person add attribute age int;"
        """insert into growing values (2, '{"name": "Bo", "age": 3}', '[{"a":2,"b":"x"}]', row('Bo', 3))"""
    )
    for full_refresh in (False, True):
        assert not project.load(full_refresh=full_refresh).errors
        shown = [
            project.raw(
                f"select id, who ->> 'age', many ->> '$[0].b', composite::varchar from pg.{name} order by id"
            )
            for name in tables
        ]
        assert shown[0] == shown[1]
        assert [row[:3] for row in shown[0]] == [(1, None, None), (2, "3", "x")]
