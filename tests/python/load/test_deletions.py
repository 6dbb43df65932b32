"""Rows that are gone where a table is read whole get `_deleted_at`, and lose it when they come back."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sluice.config.sources import load_sources, read_sources
from sluice.extract import declaration_problems
from tests.python.extract.rest.api import Answer, Api
from tests.python.project import Project

Put = Callable[[Sequence[tuple[int, str]]], None]
"""Lets the source have exactly these rows of id and name."""
KEYS = {"primary_key": "id", "deletes": "compare_keys"}
ALIVE = "select id::int, name from s.t where _deleted_at is null order by id"
DEAD = "select id::int from s.t where _deleted_at is not null order by id"
ROWS = [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def records(rows: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    return [{"id": i, "name": name} for i, name in rows]


def write(file: Path, content: str) -> None:
    """A file with another time than it had, old enough to be believed."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    write.clock += 10  # type: ignore[attr-defined]
    os.utime(file, (write.clock, write.clock))  # type: ignore[attr-defined]


write.clock = 1_700_000_000  # type: ignore[attr-defined]


def declared_file(project: Project, form: str) -> Path:
    keys = {**KEYS, "path": f"*.{form}", "format": form}
    project.declare("s", {"kind": "files", "url": "in"}, {"t": keys})
    return project.root / "in" / f"a.{form}"


def csv(project: Project, _: Any) -> Put:
    file = declared_file(project, "csv")
    return lambda rows: write(file, "id,name\n" + "".join(f"{i},{name}\n" for i, name in rows))


def jsonl(project: Project, _: Any) -> Put:
    file = declared_file(project, "jsonl")
    return lambda rows: write(file, "".join(json.dumps(r) + "\n" for r in records(rows)))


def parquet(project: Project, _: Any) -> Put:
    file = declared_file(project, "parquet")

    def put(rows: Sequence[tuple[int, str]]) -> None:
        write(file, "")
        schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
        pq.write_table(pa.Table.from_pylist(records(rows), schema), file)
        write.clock += 10  # type: ignore[attr-defined]
        os.utime(file, (write.clock, write.clock))  # type: ignore[attr-defined]

    return put


def bucket(project: Project, request: Any) -> Put:
    from tests.python.extract.files.test_files import s3_client

    s3 = request.getfixturevalue("s3")
    store, place = s3_client(s3), f"{s3['bucket']}/deletions"
    project.connect("store", **{k: v for k, v in s3.items() if k != "bucket"})
    keys = {**KEYS, "path": "*.csv", "format": "csv"}
    project.declare("s", {"kind": "files", "url": f"s3://{place}", "connection": "store"}, {"t": keys})

    def put(rows: Sequence[tuple[int, str]]) -> None:
        store.pipe({f"{place}/a.csv": ("id,name\n" + "".join(f"{i},{n}\n" for i, n in rows)).encode()})

    return put


def sqlite(project: Project, _: Any) -> Put:
    project.connect("s", url="sqlite:///s.db")
    project.declare("s", {"kind": "database", "connection": "s"}, {"t": KEYS})

    def put(rows: Sequence[tuple[int, str]]) -> None:
        with sqlite3.connect(project.root / "s.db") as there:
            there.execute("create table if not exists t (id integer primary key, name text)")
            there.execute("delete from t")
            there.executemany("insert into t values (?, ?)", rows)

    return put


def python(project: Project, _: Any) -> Put:
    module, given = f"rows_{uuid4().hex}", project.root / "rows.json"
    code = f"import json\ndef rows(): yield from json.load(open({str(given)!r}))\n"
    write(project.root / "pipelines" / f"{module}.py", code)
    project.declare("s", {"kind": "python"}, {"t": {**KEYS, "resource": f"{module}.rows"}})
    return lambda rows: write(given, json.dumps(records(rows)))


def rest(project: Project, request: Any) -> Put:
    api: Api = request.getfixturevalue("api")
    endpoint = {"path": "t", "data_selector": "items", "paginator": "single_page"}
    project.declare(
        "s", {"kind": "rest", "client": {"base_url": api.url}}, {"t": {**KEYS, "endpoint": endpoint}}
    )

    def put(rows: Sequence[tuple[int, str]]) -> None:
        api.answer = lambda _: Answer({"items": records(rows)})

    return put


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


KINDS: dict[str, Callable[[Project, Any], Put]] = {
    "rows of CSV": csv,
    "records of JSON lines": jsonl,
    "rows of Parquet": parquet,
    "rows of a bucket": bucket,
    "rows of SQLite": sqlite,
    "items of a resource": python,
    "records of an API": rest,
}
IN_FULL = ("records of JSON lines", "rows of Parquet", "rows of a bucket")
EMPTIED = ["rows of SQLite", "items of a resource", "records of an API"]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.full] * (kind in IN_FULL)) for kind in KINDS]
)
@pytest.mark.sample(2)
def test_rows_that_are_gone_are_marked(project: Project, kind: str, request: pytest.FixtureRequest) -> None:
    put = KINDS[kind](project, request)
    put(ROWS)
    assert project.load().error == ""
    assert project.raw(DEAD) == []
    put([(1, "a"), (3, "x"), (5, "e")])
    outcome = project.load()
    assert (outcome.error, outcome["t"].deleted) == ("", 2)
    assert project.raw(ALIVE) == [(1, "a"), (3, "x"), (5, "e")]
    assert project.raw(DEAD) == [(2,), (4,)]
    marked = project.raw("select _deleted_at, _loaded_at from s.t where id::int = 2")
    assert project.load().rows == 0
    put([(1, "a"), (3, "x"), (4, "d")])
    outcome = project.load()
    assert (outcome.error, outcome["t"].deleted) == ("", 1)
    assert project.raw(ALIVE) == [(1, "a"), (3, "x"), (4, "d")]
    assert project.raw(DEAD) == [(2,), (5,)]
    assert project.raw("select _deleted_at, _loaded_at from s.t where id::int = 2") == marked
    # an answer that is suddenly almost empty is not believed
    for rows in ([(1, "a")], []):
        put(rows)
        outcome = project.load()
        assert "fewer than 50% of them would remain, so nothing was changed" in outcome.error
        assert len(project.raw(ALIVE)) == 3


def test_bad_rows_are_not_deleted(project: Project) -> None:
    """A row that could not be read is there; one whose key cannot be read may be any of raw's."""
    keys = {**KEYS, "path": "*.csv", "format": "csv", "tolerance": 2}
    project.declare("s", {"kind": "files", "url": "in"}, {"t": keys}, {"t": {"id": "bigint", "n": "bigint"}})
    file = project.root / "in" / "a.csv"
    write(file, "id,n\n1,1\n2,2\n3,3\n4,4\n")
    project.load()
    write(file, "id,n\n1,1\n2,bad\n4,4\n")
    outcome = project.load()
    assert (outcome["t"].deleted, outcome["t"].quarantined) == (1, 1)
    assert project.raw(DEAD) == [(3,)]
    assert project.raw("select n from s.t where id = 2 and _deleted_at is null") == [(2,)]
    write(file, "id,n\n1,1\n2,2\nbad,4\n")
    outcome = project.load()
    assert outcome["t"].deleted == 0
    assert (
        "rows that are gone were not looked for, because 1 bad row(s) do not show" in outcome["t"].warnings[0]
    )
    assert project.raw(DEAD) == [(3,)]
    write(file, "id,n\n1,1\n2,2\n")
    assert project.load()["t"].deleted == 1
    assert project.raw(DEAD) == [(3,), (4,)]


def test_bad_records_are_not_deleted(project: Project, api: Api) -> None:
    put = rest(project, SimpleNamespace(getfixturevalue=lambda _: api))
    endpoint = {"path": "t", "data_selector": "items", "paginator": "single_page"}
    tables = {"t": {**KEYS, "tolerance": 1, "endpoint": endpoint}}
    columns: dict[str, dict[str, str | None]] = {"t": {"id": "bigint", "name": "date"}}
    project.declare("s", {"kind": "rest", "client": {"base_url": api.url}}, tables, columns)
    put([(i, "2026-01-01") for i in range(1, 5)])
    project.load()
    put([(1, "2026-01-01"), (2, "never"), (4, "2026-01-01")])
    outcome = project.load()
    assert (outcome["t"].deleted, outcome["t"].quarantined) == (1, 1)
    assert project.raw(DEAD) == [(3,)]


def test_a_key_that_another_file_has_is_not_gone(project: Project) -> None:
    file = declared_file(project, "csv")
    other = file.with_name("b.csv")
    write(file, "id,name\n1,a\n2,b\n3,c\n")
    write(other, "id,name\n3,c\n4,d\n")
    project.load()
    write(other, "id,name\n4,d\n")
    outcome = project.load()
    assert (outcome.error, outcome["t"].deleted) == ("", 0)
    assert [row[0] for row in project.raw(ALIVE)] == [1, 2, 3, 4]
    write(file, "id,name\n1,a\n3,c\n")
    assert project.load()["t"].deleted == 1
    assert project.raw(DEAD) == [(2,)]
    write(file, "id,name\n1,a\n3,c\n")  # touched
    assert project.load().rows == 0


def test_switched_on_later(project: Project) -> None:
    """Raw has the column, which models name, from the load on that sees the declaration."""
    project.connect("s", url="sqlite:///s.db")
    source = {"kind": "database", "connection": "s"}
    files, of_files = {"kind": "files", "url": "in"}, {"path": "*.csv", "format": "csv"}
    write(project.root / "in" / "a.csv", "id\n1\n")
    project.declare("f", files, {"t": of_files})
    project.declare("s", source, {"t": {"primary_key": "id"}})
    with sqlite3.connect(project.root / "s.db") as there:
        there.execute("create table t (id integer primary key, name text)")
        there.executemany("insert into t values (?, ?)", ROWS)
    project.load()
    project.declare("f", files, {"t": {**of_files, "missing_files": "delete"}})
    project.declare("s", source, {"t": KEYS})
    for _ in range(2):
        assert (project.load().rows, project.raw(DEAD)) == (0, [])
        assert project.raw("select id, _deleted_at from f.t") == [("1", None)]
    with sqlite3.connect(project.root / "s.db") as there:
        there.execute("delete from t where id = 2")
    assert project.load("s")["t"].deleted == 1
    assert project.raw(DEAD) == [(2,)]


CANNOT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no key": ({"kind": "files", "url": "in"}, {"path": "*", "format": "csv"}, "needs a primary_key"),
    "a replaced table": (
        {"kind": "database", "connection": "s"},
        {"primary_key": "id", "write_disposition": "replace"},
        "means nothing for a table that is replaced",
    ),
    "a stream": (
        {"kind": "stream", "protocol": "nats", "connection": "s"},
        {"stream": "x", "primary_key": "id"},
        "needs a table that is read whole",
    ),
    "a cursor of an API": (
        {"kind": "rest", "client": {"base_url": "http://x"}},
        {"primary_key": "id", "endpoint": {"path": "t", "incremental": {"cursor_path": "at", "initial_value": 0}}},
        "needs a table that is read whole",
    ),
    "a bounded paginator": (
        {"kind": "rest", "client": {"base_url": "http://x"}},
        {
            "primary_key": "id",
            "endpoint": {"path": "t", "paginator": {"type": "page_number", "maximum_page": 3, "total_path": None}},
        },
        "its paginator has a maximum_page",
    ),
    "a cursor of a resource": (
        {"kind": "python"},
        {"primary_key": "id", "resource": "tests.python.load.test_deletions.only_news"},
        "only_news has a cursor (dlt.sources.incremental)",
    ),
}  # fmt: skip


def only_news(at: Any = dlt.sources.incremental("at")) -> Iterator[Any]:  # noqa: B008 - dlt's way
    yield from []


@pytest.mark.parametrize("case", CANNOT)
def test_where_it_cannot_work_the_check_says_so(project: Project, case: str) -> None:
    source, keys, said = CANNOT[case]
    project.declare("s", source, {"t": {**keys, "deletes": "compare_keys"}})
    sources, problems = read_sources(project.settings.sources)
    found = [*problems, *(problem for source in sources for problem in declaration_problems(source))]
    assert said in "\n".join(map(str, found))


def test_children_of_a_parent_with_a_cursor(project: Project) -> None:
    parent = {
        "primary_key": "id",
        "endpoint": {"path": "p", "incremental": {"cursor_path": "at", "initial_value": 0}},
    }
    params = {"id": {"type": "resolve", "resource": "p", "field": "id"}}
    child = {**KEYS, "endpoint": {"path": "p/{id}/c", "params": params}}
    project.declare("s", {"kind": "rest", "client": {"base_url": "http://x"}}, {"p": parent, "c": child})
    (source,) = load_sources(project.settings.sources)
    (problem,) = declaration_problems(source)
    assert "of p, whose records it is read for, only what is new is read" in str(problem)


@pytest.mark.parametrize("kind", EMPTIED)
def test_a_source_that_is_suddenly_empty_is_said(
    project: Project, kind: str, request: pytest.FixtureRequest
) -> None:
    put = KINDS[kind](project, request)
    file = project.settings.sources / "s.yml"
    file.write_text(file.read_text().replace("deletes: compare_keys", "drift: evolve"))
    put([])
    assert project.load()["t"].warnings == []
    put(ROWS)
    assert project.load()["t"].warnings == []
    put([])
    outcome = project.load()
    assert outcome.error == ""
    assert outcome["t"].warnings == ["s.t: the source has no row any more; raw has 4 from earlier loads"]
    assert len(project.raw("from s.t")) == 4
