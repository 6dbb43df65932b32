"""Every key of every kind, as the models of the declaration have them: a change of it is noticed, or does not matter.

A key that is added to a model is tried without further ado, and needs a case of its own in `CASES`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import types
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import nats
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from dlt.sources.rest_api.typing import ClientConfig, Endpoint
from nats.js.api import StreamConfig
from pydantic import BaseModel

from servers import Nats
from sluice.config.blocks import plain_types
from sluice.config.declaration import KINDS, Column, Source, Table
from sluice.config.marks import NOT_READING
from sluice.config.reading import changes, reading
from sluice.config.settings import Settings
from sluice.extract.rest.declaration import NOT_IN_YAML
from tests.python.extract.rest.api import Answer, Api, Request
from tests.python.load.test_declaration_sequences import Sequence as Loads
from tests.python.load.test_drift import workbook
from tests.python.project import Project

MINIMAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "database": ({"connection": "c"}, {}),
    "files": ({"url": "in"}, {"path": "*.csv", "format": "csv"}),
    "rest": ({"client": {"base_url": "https://one.example/v1"}}, {"endpoint": {"path": "things"}}),
    "stream": ({"connection": "c", "protocol": "nats"}, {"stream": "S"}),
    "python": ({}, {"resource": "pipelines.own.rows"}),
}
"""Keys of a source and of a table that each kind needs."""
NOT_TRIED = {
    *(f"{kind}.kind" for kind in KINDS),
    *(f"{kind}.write_disposition" for kind in ("files", "stream")),
}
"""A source of another kind is another source; the disposition of these follows from their keys."""


def other(annotation: Any, now: Any) -> Any:
    """A value of a key's type that is not the one it has."""
    if get_origin(annotation) is Annotated:
        return other(get_args(annotation)[0], now)
    if get_origin(annotation) in (Union, types.UnionType):
        return other(next(a for a in get_args(annotation) if a is not type(None)), now)
    if get_origin(annotation) is Literal:
        return next(a for a in get_args(annotation) if a != now)
    if get_origin(annotation) is list:
        return [*(now or []), "another"]
    if get_origin(annotation) is dict:
        return {**(now or {}), "another": 1 if get_args(annotation)[1] is Any else "text"}
    if annotation is str:
        return f"{now or ''}another"
    return (
        timedelta(days=1)
        if annotation is timedelta
        else not now
        if annotation is bool
        else (now or 0) / 2 + 1
    )


def keys_of(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The keys of a block, and those of the blocks inside of it."""
    for name, field in model.model_fields.items():
        inner = list(keys_of(found)) if (found := block_of(field.annotation)) else [()]
        yield from ((name, *rest) for rest in inner)


def block_of(annotation: Any) -> type[BaseModel] | None:
    """The block that a key's value is, if it is one."""
    return next(
        (k for k in plain_types(annotation) if isinstance(k, type) and issubclass(k, BaseModel)), None
    )


def each_key() -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """All keys there are: the kind, whether it is one of a source, a table or a column, and the key."""
    for kind, entry in KINDS.items():
        for place, model in enumerate((*entry.__pydantic_generic_metadata__["args"], Column)):
            yield from ((kind, place, key) for key in keys_of(model) if f"{kind}.{key[0]}" not in NOT_TRIED)


def declared(kind: str) -> Source[Any, Any]:
    models = KINDS[kind].__pydantic_generic_metadata__["args"]
    of_source, of_table = MINIMAL[kind]
    columns = (Column(name="id", data_type="bigint"), Column(name="v"))
    load = models[1].model_validate(of_table)
    table: Table[Any] = Table("s", "s", "t", load, columns, Path("s.yml"), 1)
    source = models[0].model_validate({"kind": kind, **of_source})
    return Source("s", "s", source, (table,), Path("s.yml"), 1, {}, (table,))


def changed(block: BaseModel, key: Sequence[str]) -> tuple[Any, bool]:
    """The block with another value of a key, and whether the key or a block around it is marked as not reading."""
    name, *inner = key
    field, value = type(block).model_fields[name], getattr(block, name)
    is_marked = NOT_READING in field.metadata
    if inner:
        model = block_of(field.annotation)
        assert model
        value, is_inside = changed(value or model.model_construct(), inner)
        is_marked |= is_inside
    else:
        value = "varchar" if name == "data_type" else other(field.annotation, value)
    return block.model_copy(update={name: value}), is_marked


@pytest.mark.parametrize(("kind", "place", "key"), list(each_key()))
def test_every_key_is_noticed_or_marked(kind: str, place: int, key: tuple[str, ...]) -> None:
    source = declared(kind)
    (table,) = source.tables
    block, is_marked = changed((source.load, table.load, table.columns[0])[place], key)
    after = (
        replace(source, load=block) if place == 0
        else replace(source, tables=(replace(table, load=block),)) if place == 1
        else replace(source, tables=(replace(table, columns=(block, table.columns[1])),))
    )  # fmt: skip
    before, now = reading(source, table), reading(after, after.tables[0])
    json.dumps(now)
    found = [name for name in changes(source, table, before, now).values if key[-1] in name.split(".")]
    assert bool(found) != is_marked, (key, found)


@pytest.mark.parametrize(("block", "model"), [("client", ClientConfig), ("endpoint", Endpoint)])
def test_every_key_of_dlt_is_noticed(block: str, model: Any) -> None:
    """But for who reads, and keys whose values are objects of Python."""
    source = declared("rest")
    (table,) = source.tables
    for key in get_type_hints(model).keys() - NOT_IN_YAML - {"auth"}:
        load = source.load if block == "client" else table.load
        load = load.model_copy(update={block: {**getattr(load, block), key: "another"}})
        after = replace(source, load=load) if block == "client" else source
        moved = table if block == "client" else replace(table, load=load)
        found = changes(source, table, reading(source, table), reading(after, moved))
        assert found.of(f"{block}.{key}"), key


def test_what_is_no_other_declaration() -> None:
    """Defaults that are written down, other servers, secrets, spellings of a type, another order of names."""
    rest = declared("rest")
    (table,) = rest.tables

    def client(**keys: Any) -> dict[str, Any]:
        moved = replace(rest, load=rest.load.model_copy(update={"client": keys}))
        return dict(changes(rest, table, reading(rest, table), reading(moved, table)).values)

    assert not client(base_url="http://two.example:8080/v1/", auth={"type": "bearer", "token": "${c.token}"})
    assert not client(base_url="${c.server}/v1")
    assert client(base_url="https://one.example/v2") == {"client.base_url": ("/v1", "/v2")}
    files = declared("files")
    (table,) = files.tables
    load = type(table.load).model_validate(
        {"path": "*.csv", "format": "csv", "delimiter": ",", "nulls": [""]}
    )
    same = replace(table, load=load, columns=(Column(name="id", data_type="int8"), Column(name="new")))
    before = reading(files, table)
    assert not changes(files, table, before, reading(files, same))
    # what a later version leaves out, or knows by a default
    assert not changes(files, table, {**before, "shrink_limit": 0.2}, before)
    assert changes(files, table, before, {**before, "decimal": ","}).keys == "`decimal`"


# -- real loads ------------------------------------------------------------------------------------------

Case = tuple[dict[str, Any], dict[str, Any]]
"""Keys of a table, or of a source, before and after; `types` among them are the declared types of its columns."""
ONLY_READ = {
    "files.connection": "a folder has none",
    "stream.protocol": "another protocol has other keys",
    **{f"{kind}.{key}": "dbt's" for kind in KINDS for key in ("name", "config.meta.data_class")},
}
"""Keys that are not tried by loads, and why."""
TEXT_ID = {"id": "text"}


def shared(base: dict[str, Any], key: str, mark: str) -> dict[str, Case]:
    """Cases of the keys that all kinds have, for a table with the columns id, v and `mark`."""
    keyed = {**base, "primary_key": key}
    return {
        "primary_key": (base, keyed),
        "columns.include": (base, {**base, "columns": {"include": ["id"]}}),
        "columns.exclude": (base, {**base, "columns": {"exclude": ["v"]}}),
        "columns.rename": (base, {**base, "columns": {"rename": {"v": "other"}}}),
        "shrink_limit": (base, {**base, "shrink_limit": 0}),
        "tolerance": (base, {**base, "tolerance": 1}),
        "soft_delete": (keyed, {**keyed, "soft_delete": mark}),
        "deletes": (keyed, {**keyed, "deletes": "compare_keys"}),
        "drift": (base, {**base, "drift": "freeze"}),
        "data_type": (base, {**base, "types": TEXT_ID}),
    }


CSV = {"path": "a*.csv", "format": "csv", "delimiter": ";"}
LOG = {"path": "*.log", "format": "lines", "pattern": "(?P<id>.).*"}
SHEET = {"path": "*.xlsx", "format": "excel"}
LINES = {"path": "*.log", "format": "csv", "header": False, "types": TEXT_ID}
ZIP = {"path": "*.zip", "format": "csv"}
JSON = {"path": "*.json", "format": "json"}
SALES = {"table": "sales"}
THINGS = {"endpoint": {"path": "things"}}
ROWS = {"resource": "its_rows.rows"}


def moment(key: str, column: str, before: str, after: str) -> Case:
    types = {column: key.removesuffix("_format")}
    return {**CSV, key: before, "types": types}, {**CSV, key: after, "types": types}


CASES: dict[str, dict[str, Case]] = {
    "database": {
        **shared(SALES, "id", "gone"),
        "connection": ({}, {"connection": "again"}),
        "table": (SALES, {"table": "more"}),
        "filter": (SALES, {**SALES, "filter": "id < 9"}),
        "cursor": (SALES, {**SALES, "cursor": "at"}),
        "lookback": ({**SALES, "cursor": "at"}, {**SALES, "cursor": "at", "lookback": "1d"}),
        "write_disposition": (SALES, {**SALES, "write_disposition": "append"}),
    },
    "files": {
        **shared(CSV, "id", "gone"),
        "data_type": (CSV, {**CSV, "types": {"id": "bigint"}}),
        "url": ({}, {"url": "same"}),
        "path": (CSV, {**CSV, "path": "*.csv"}),
        "format": (LOG, {"path": "*.log", "format": "csv"}),
        "members": ({**ZIP, "members": "x*"}, ZIP),
        "delimiter": (LINES, {**LINES, "delimiter": "|", "types": {"id": "text", "v": "text"}}),
        "row_terminator": (LINES, {**LINES, "row_terminator": "|"}),
        "escape": (CSV, {**CSV, "escape": "\\"}),
        "quote": (CSV, {**CSV, "quote": ""}),
        "encoding": (CSV, {**CSV, "encoding": "latin-1"}),
        "header": (LINES, {"path": "*.log", "format": "csv"}),
        "decimal": (CSV, {**CSV, "decimal": ","}),
        "date_format": moment("date_format", "d", "%d.%m.%Y", "%m.%d.%Y"),
        "timestamp_format": moment("timestamp_format", "ts", "%Y-%m-%d %H:%M", "%Y-%d-%m %H:%M"),
        "time_format": moment("time_format", "t", "%H:%M", "%M:%S"),
        "formats": (
            {**CSV, "formats": {"d": "%d.%m.%Y"}, "types": {"d": "date"}},
            {**CSV, "formats": {"d": "%m.%d.%Y"}, "types": {"d": "date"}},
        ),
        "nulls": (CSV, {**CSV, "nulls": ["n/a"]}),
        "skip_lines": (LOG, {**LOG, "skip_lines": 1}),
        "sheet": (SHEET, {**SHEET, "sheet": "Second"}),
        "range": (SHEET, {**SHEET, "range": "A1:B2"}),
        "pattern": (LOG, {**LOG, "pattern": "(?P<id>.).(?P<v>.)"}),
        "records": ({**JSON, "records": "one"}, {**JSON, "records": "two"}),
        "missing_files": (CSV, {**CSV, "missing_files": "delete"}),
    },
    "rest": {
        **shared(THINGS, "id", "gone"),
        "client": ({}, {"client": {"headers": {"Accept-Language": "en"}}}),
        "resource_defaults": ({}, {"resource_defaults": {"endpoint": {"params": {"v": "y"}}}}),
        "endpoint": (THINGS, {"endpoint": {"path": "things", "params": {"v": "y"}}}),
        "include_from_parent": (
            {"endpoint": {"path": "{resources.endpoint.id}/parts"}},
            {"endpoint": {"path": "{resources.endpoint.id}/parts"}, "include_from_parent": ["v"]},
        ),
        "write_disposition": (THINGS, {**THINGS, "write_disposition": "append"}),
    },
    "python": {
        **shared(ROWS, "id", "gone"),
        "resource": (ROWS, {"resource": "its_rows.others"}),
        "arguments": (ROWS, {**ROWS, "arguments": {"v": "y"}}),
        "cursor": (ROWS, {**ROWS, "primary_key": "id", "cursor": "at"}),
        "lookback": (ROWS, {**ROWS, "lookback": "1d"}),
        "write_disposition": (ROWS, {**ROWS, "write_disposition": "append"}),
    },
}
for protocol, name in (("nats", "stream"), ("kafka", "topic")):
    messages = {name: "things"}
    CASES[protocol] = {
        **{key: case for key, case in shared(messages, "id", "gone").items() if key != "deletes"},
        "connection": ({}, {"connection": "again"}),
        name: (messages, {name: "others"}),
        "start.sequence": ({**messages, "start": {"sequence": 2}}, {**messages, "start": {"sequence": 1}}),
        "consumer": (messages, {**messages, "consumer": f"another_{protocol}"}),
        "max_messages": (messages, {**messages, "max_messages": 9}),
        "on_gap": (messages, {**messages, "on_gap": "continue"}),
    }
CASES["nats"] |= {
    "subject": ({"stream": "things", "subject": "things.a"}, {"stream": "things"}),
    "start.time": ({"stream": "things"}, {"stream": "things", "start": {"time": "2026-01-01T00:00:00Z"}}),
}
IS_REFUSED = {"cursor", "lookback", "write_disposition", "deletes"}
"""Keys that all kinds have, and some refuse."""


def test_every_key_has_a_case() -> None:
    tried = {kind: set(CASES.get(kind, ())) for kind in KINDS}
    tried["stream"] = {*CASES["nats"], *CASES["kafka"]}
    for kind, _, key in each_key():
        name = ".".join(key)
        is_refused = name in IS_REFUSED and kind in ("files", "rest", "stream")
        assert name in tried[kind] or is_refused or f"{kind}.{name}" in ONLY_READ, f"{kind}.{name}"


def sales(project: Project, _: pytest.FixtureRequest) -> dict[str, Any]:
    with sqlite3.connect(project.root / "s.db") as con:
        for table, rows in {"sales": 3, "more": 4}.items():
            con.execute(f"create table {table} (id integer, at timestamp, v text, gone integer)")
            day = "2026-01-0{n} 00:00:00"
            con.executemany(
                f"insert into {table} values (?, ?, ?, ?)",
                [(n, day.format(n=n), table, n == 1) for n in range(1, rows + 1)],
            )
    for name in ("server", "again"):
        project.connect(name, url="sqlite:///s.db")
    return {"kind": "database", "connection": "server"}


def folder(project: Project, _: pytest.FixtureRequest) -> dict[str, Any]:
    header, row = "id;v;d;t;ts;gone", "05.06.2026;01:02;2026-01-02 03:04"
    for name in ("in", "same"):
        place = project.root / name
        place.mkdir()
        (place / "a1.csv").write_text(f'{header}\n1;"1,5";{row};\n2;n/a;{row};1\n')
        (place / "a2.csv").write_text(f"{header}\n3;ä;{row};\n")
        (place / "b.csv").write_text(f"{header}\n4;x;{row};\n")
        (place / "w.log").write_text("1|x\n2|y\n")
        (place / "d.json").write_text(json.dumps({"one": [{"id": 1}], "two": [{"id": 1}, {"id": 2}]}))
        workbook(
            place / "b.xlsx", {"First": [["id", "v"], [1, "x"]], "Second": [["id", "v"], [2, "y"], [3, "z"]]}
        )
        with zipfile.ZipFile(place / "z.zip", "w") as archive:
            archive.writestr("x.csv", "id\n1\n")
            archive.writestr("y.csv", "id\n2\n")
    return {"kind": "files", "url": "in"}


def web_api(project: Project, request: pytest.FixtureRequest) -> dict[str, Any]:
    api = Api()
    request.addfinalizer(api.server.server_close)
    request.addfinalizer(api.server.shutdown)

    def answer(asked: Request) -> Answer:
        v = asked.query.get("v", "x") + asked.headers.get("accept-language", "")
        return Answer([{"id": n, "v": v, "gone": n == 1, "at": n} for n in (1, 2, 3)])

    api.answer = answer
    return {"kind": "rest", "client": {"base_url": api.url, "paginator": "single_page"}}


def functions(project: Project, _: pytest.FixtureRequest) -> dict[str, Any]:
    (project.root / "pipelines").mkdir()
    (project.root / "pipelines" / "its_rows.py").write_text(
        "def rows(v='x'):\n    yield [{'id': n, 'v': v, 'gone': n == 1, 'at': n} for n in (1, 2, 3)]\n"
        "def others():\n    yield from rows('other')\n"
    )
    return {"kind": "python"}


def events(stream: str) -> list[tuple[str, dict[str, Any]]]:
    return [("ab"[n % 2], {"id": n, "v": stream, "gone": n == 1}) for n in range(3)]


def of_nats(project: Project, request: pytest.FixtureRequest) -> dict[str, Any]:
    server = Nats(project.root / "nats")
    request.addfinalizer(server.stop)
    server.start()

    async def fill() -> None:
        client = await nats.connect(server.url)
        for stream in ("things", "others"):
            await client.jetstream().add_stream(StreamConfig(name=stream, subjects=[f"{stream}.>"]))
            for subject, event in events(stream):
                await client.jetstream().publish(f"{stream}.{subject}", json.dumps(event).encode())
        await client.close()

    asyncio.run(fill())
    for name in ("server", "again"):
        project.connect(name, url=server.url)
    return {"kind": "stream", "protocol": "nats", "connection": "server"}


def of_kafka(project: Project, request: pytest.FixtureRequest) -> dict[str, Any]:
    client = AdminClient({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    request.addfinalizer(lambda: client.poll(0))  # the cluster lives as long as the client
    broker = next(iter(client.list_topics(timeout=10).brokers.values()))
    address = f"{broker.host}:{broker.port}"
    producer = Producer({"bootstrap.servers": address, "linger.ms": 1})
    for topic in ("things", "others"):
        producer.list_topics(topic, timeout=10)
        for key, event in events(topic):
            producer.produce(topic, json.dumps(event), key, partition=0)
    producer.flush(10)
    for name in ("server", "again"):
        project.connect(name, bootstrap_servers=address)
    return {"kind": "stream", "protocol": "kafka", "connection": "server"}


SOURCES = {
    "database": sales,
    "files": folder,
    "rest": web_api,
    "python": functions,
    "nats": of_nats,
    "kafka": of_kafka,
}


@pytest.mark.full
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.sample(2)
def test_raw_follows_each_key(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """Raw is as a fresh load has it, or as it was and the load says why; keys that are not marked are always named."""
    project = Project(tmp_path)
    source = SOURCES[kind](project, request)
    models = KINDS["stream" if kind in ("nats", "kafka") else kind].__pydantic_generic_metadata__["args"]
    of_source = {key: case for key, case in CASES[kind].items() if key in models[0].model_fields}
    of_table = {key: case for key, case in CASES[kind].items() if key not in of_source}
    table = next(iter(of_table.values()))[0]

    def declare(which: int) -> None:
        for key, case in {"": ({}, {}), **of_source}.items():
            more = {
                name: {**source.get(name, {}), **v} if isinstance(v, dict) else v
                for name, v in case[which].items()
            }
            tables = (
                {"t": table}
                if key
                else {name.replace(".", "_"): case[which] for name, case in of_table.items()}
            )
            project.declare(
                f"s_{key}" if key else "s",
                {**source, **more},
                {name: {k: v for k, v in keys.items() if k != "types"} for name, keys in tables.items()},
                {name: keys.get("types", {}) for name, keys in tables.items()},
            )

    names = {f"s_{key}.t": key for key in of_source} | {f"s.{key.replace('.', '_')}": key for key in of_table}
    declare(0)
    assert not project.load().errors
    before = {name: Loads.rows(project, name) for name in names}
    declare(1)
    results = {f"{s.source}.{t.table}": t for s in project.load().sources for t in s.tables}
    again = Project.__new__(Project)
    again.__dict__.update(project.__dict__, settings=Settings(root=tmp_path, home=tmp_path / "fresh"))
    again.settings.home.mkdir()
    if project.settings.connections.exists():
        shutil.copy(project.settings.connections, again.settings.home)
    first = {f"{s.source}.{t.table}": t for s in again.load().sources for t in s.tables}
    for name, key in names.items():
        result, error = results[name], results[name].error or ""
        is_named = "reloaded whole because" in (result.message or "") or "changed since its rows" in error
        block = models[0 if key in of_source else 1]
        is_marked = key != "data_type" and key != "resource_defaults" and is_marked_in(block, key)
        assert is_named != is_marked, (name, result.message, error)
        if error:
            assert Loads.rows(project, name) == before[name], name
        else:
            assert not first[name].error
            assert Loads.rows(project, name) == Loads.rows(again, name), name


def is_marked_in(block: type[BaseModel], key: str) -> bool:
    return NOT_READING in block.model_fields[key.partition(".")[0]].metadata
