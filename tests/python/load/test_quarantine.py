"""Bad rows are set apart with reason, place and text; within the tolerance the rest is loaded, beyond it nothing is."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import StreamConfig

from tests.python.project import Outcome, Project

CSV = {"path": "*.csv", "format": "csv"}
JSONL = {"path": "*.jsonl", "format": "jsonl"}
TYPES = {"id": "bigint", "day": "date", "v": "text"}

BAD_LINES: dict[str, tuple[dict[str, Any], str, bytes, list[tuple[int, str, str]], list[int]]] = {
    "a value that does not fit its type": (
        CSV, "a.csv", b"id,day,v\n1,2024-01-01,a\n2,2024-13-01,b\n",
        [(3, "day: varchar is not date", '{"id":"2","day":"2024-13-01","v":"b"}')], [1],
    ),
    "two values of a row": (
        CSV, "a.csv", b"id,day,v\nx,yesterday,a\n2,2024-01-02,b\n",
        [(2, "id: varchar is not bigint; day: varchar is not date", '{"id":"x","day":"yesterday","v":"a"}')], [2],
    ),
    "a malformed line": (
        CSV, "a.csv", b"id,day,v\n1,2024-01-01,a\n2,2024-01-02\n3,2024-01-03,c\n",
        [(3, "2 fields instead of 3", "2,2024-01-02")], [1, 3],
    ),
    "a quote that is not closed": (
        CSV, "a.csv", b'id,day,v\n1,2024-01-01,"a\n2,2024-01-02,b\n3,2024-01-03,"c\nc"\n',
        [(2, "',' expected after '\"'", '1,2024-01-01,"a')], [2, 3],
    ),
    "an undecodable byte": (
        CSV, "a.csv", b"id,day,v\n1,2024-01-01,\xff\n2,2024-01-02,b\n",
        [(2, "byte 0xff is not utf-8", "1,2024-01-01,\\xff")], [2],
    ),
    "a key that is null": (
        {**CSV, "primary_key": "id"}, "a.csv", b"id,day,v\n,2024-01-01,a\n2,2024-01-02,b\n",
        [(2, "id: no value in the primary key", '{"id":null,"day":"2024-01-01","v":"a"}')], [2],
    ),
    "a line that does not match": (
        {"path": "*.log", "format": "lines", "pattern": r"(?P<id>\d+) (?P<day>\S+) (?P<v>.*)"}, "a.log",
        b"1 2024-01-01 a\nTraceback\n2 2024-01-02 b\n", [(2, "does not match the pattern", "Traceback")], [1, 2],
    ),
    "broken JSON": (
        JSONL, "a.jsonl", b'{"id": 1, "day": "2024-01-01", "v": "a"}\n{"id": 2, "da\n',
        [(2, "are not JSON objects", '{"id": 2, "da')], [1],
    ),
    "JSON that is no object": (
        JSONL, "a.jsonl", b'[1]\n{"id": 1, "day": null, "v": "a"}\n', [(1, "are not JSON objects", "[1]")], [1],
    ),
    "a key twice in an object": (
        JSONL, "a.jsonl", b'{"id": 1, "id": 2}\n{"id": 3}\n', [(1, "have a key twice", '{"id": 1, "id": 2}')], [3],
    ),
    "a JSON value of another type": (
        JSONL, "a.jsonl", b'{"id": "one", "v": 1.50}\n{"id": 2}\n',
        [(1, "id: varchar is not bigint", '{"id": "one", "v": 1.50}')], [2],
    ),
}  # fmt: skip
"""What is bad: load keys, file, content; then line, reason and text in the quarantine, and the ids in raw."""


def files(root: Path, load: dict[str, Any], **more: Any) -> Project:
    project = Project(root)
    (root / "in").mkdir()
    declare(project, load, **more)
    return project


def declare(project: Project, load: dict[str, Any], **more: Any) -> None:
    project.declare("f", {"kind": "files", "url": "in"}, {"t": {**load, **more}}, columns={"t": TYPES})


def quarantined(project: Project, columns: str = "_line, _reason, _record", table: str = "f.t") -> list[Any]:
    return project.raw(f"select {columns} from {table}__quarantine order by all")


@pytest.mark.parametrize("what", BAD_LINES)
@pytest.mark.sample(4)
def test_bad_lines_of_files(what: str, tmp_path: Path) -> None:
    load, name, content, bad, good = BAD_LINES[what]
    project = files(tmp_path, load)
    (tmp_path / "in" / name).write_bytes(content)
    for _ in range(2):  # again changes nothing, neither here nor there
        refused = project.load()
        assert refused["t"].status == "failed"
        assert f"Nothing of f.t was loaded: {len(bad)} bad row(s), its tolerance is 0" in refused.error
        assert "select * from f.t__quarantine" in refused.error
        assert quarantined(project) == bad
        assert project.raw(
            "select count(*) from duckdb_tables() where table_name = 't' and schema_name = 'f'"
        ) == [(0,)]
    declare(project, load, tolerance=len(bad))
    loaded = project.load()
    assert not loaded.errors
    assert loaded["t"].quarantined == len(bad)
    assert project.raw("select id from f.t order by id") == [(i,) for i in good]
    assert quarantined(project) == bad
    assert project.raw("select distinct _file from f.t__quarantine") == [(name,)]
    again = project.load()
    assert not again.errors
    assert (again.rows, again["t"].quarantined) == (0, 0)
    assert quarantined(project) == bad


def test_a_tolerance_in_percent(tmp_path: Path) -> None:
    project = files(tmp_path, CSV, tolerance="1.9%")
    rows = "".join(f"{i},2024-01-01,x\n" for i in range(98))
    file = tmp_path / "in" / "a.csv"
    file.write_text(f"id,day,v\n{rows}x,2024-01-01,x\ny,2024-01-01,x\n")
    assert "2 bad row(s), its tolerance is 1.9%" in project.load().error
    declare(project, CSV, tolerance="2%")
    assert not project.load().errors
    assert project.raw("select count(*) from f.t") == [(98,)]


def test_beyond_the_tolerance_raw_stays_as_it_was(tmp_path: Path) -> None:
    project = files(tmp_path, CSV)
    file = tmp_path / "in" / "a.csv"
    file.write_text("id,day,v\n1,2024-01-01,a\n")
    assert not project.load().errors
    before = project.raw("from f.t")
    file.write_text("id,day,v\n1,2024-01-01,changed\n2,never,b\n")
    assert project.load().errors
    assert project.raw("from f.t") == before
    assert quarantined(project, "_line, _reason") == [(3, "day: varchar is not date")]
    file.write_text("id,day,v\n1,2024-01-01,changed\n2,2024-01-02,b\n")
    assert project.load().rows == 2
    assert quarantined(project) == []


def test_files_are_read_again_after_the_declaration_is_fixed(tmp_path: Path) -> None:
    project = files(tmp_path, CSV, tolerance=9)
    (tmp_path / "in" / "a.csv").write_text("id,day,v\n1,n/a,a\n2,2024-01-02,b\n")
    (tmp_path / "in" / "b.csv").write_text("id,day,v\n3,2024-01-03,c\n")
    assert project.load().rows == 2
    assert retry(project).rows == 0, "still bad: nothing changes"
    declare(project, CSV, tolerance=9, nulls=["", "n/a"])
    outcome = retry(project)
    assert not outcome.errors
    assert outcome.rows == 3, "other files were read with another declaration, too"
    assert project.raw("select id, day is null from f.t order by id") == [(1, True), (2, False), (3, False)]
    assert quarantined(project) == []
    assert retry(project).rows == 0


def retry(project: Project) -> Outcome:
    """`sluice load --retry-quarantine`."""
    from sluice.config.sources import load_sources
    from sluice.extract.contract import LoadOptions
    from sluice.load.run import load

    sources = load_sources(project.settings.sources)
    return Outcome(load(project.settings, sources, "run", LoadOptions(retry_quarantine=True)))


def test_messages_of_a_stream(nats_url: str, tmp_path: Path) -> None:
    stream = f"QUARANTINE_{time.monotonic_ns()}"
    bodies = [b'{"id": 1, "n": 5}', b"\xff\xfe", b'{"id": 2, "n": "five"}', b'{"id": 3, "n": 6}', b'{"id": 4']

    async def publish(purge: bool = False) -> None:
        client = await nats.connect(nats_url)
        js = client.jetstream()
        await js.add_stream(StreamConfig(name=stream, subjects=[stream]))
        if purge:
            await js.purge_stream(stream)
        for body in bodies:
            await js.publish(stream, body)
        await client.close()

    asyncio.run(publish())
    project = Project(tmp_path)
    project.connect("n", url=nats_url)

    def declare(**more: Any) -> None:
        load = {"kind": "stream", "connection": "n", "protocol": "nats"}
        columns = {"m": {"id": "bigint", "n": "bigint"}}
        project.declare("s", load, {"m": {"stream": stream, **more}}, columns=columns)

    declare()
    assert "3 bad row(s), its tolerance is 0" in project.load().error
    declare(tolerance=3)
    assert project.load()["m"].quarantined == 3
    bad = quarantined(project, "_sequence, _reason, _record", "s.m")
    assert bad == [
        (2, "are not JSON objects", "\\xff\\xfe"),
        (3, "n: varchar is not bigint", '{"id": 2, "n": "five"}'),
        (5, "are not JSON objects", '{"id": 4'),
    ]
    assert project.raw("select _sequence, id, n from s.m order by 1") == [(1, 1, 5), (4, 3, 6)]
    assert project.load().rows == 0
    # the type cannot change under raw; the text can be fixed in place
    with __import__("duckdb").connect(str(project.settings.raw)) as con:
        con.execute('update s.m__quarantine set _record = \'{"id": 2, "n": 5}\' where _sequence = 3')
    outcome = retry(project)
    assert not outcome.errors
    assert project.raw("select _sequence, id, n from s.m order by 1") == [(1, 1, 5), (3, 2, 5), (4, 3, 6)]
    assert [row[0] for row in quarantined(project, "_sequence", "s.m")] == [2, 5]
    assert project.load().rows == 0
    # bad messages that were let pass count once, and are not missed when they expire
    bodies[:] = [b"[]", b'{"id": 4, "n": 7}']
    declare(tolerance=1)
    asyncio.run(publish(purge=True))
    outcome = project.load()
    assert (outcome.errors, outcome["m"].quarantined) == ([], 1)
    assert project.raw("select max(_sequence) from s.m") == [(7,)]


def test_rows_of_a_database_leave_when_they_come_well(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with sqlite3.connect(tmp_path / "s.db") as con:
        con.execute("create table o (id integer primary key, seq integer, day text)")
        con.executemany(
            "insert into o values (?, ?, ?)", [(1, 1, "2024-01-01"), (2, 2, "soon"), (3, 3, None)]
        )
    project.connect("s", url="sqlite:///s.db")
    load = {"primary_key": "id", "cursor": "seq", "tolerance": 1}
    columns = {"o": {"id": "bigint", "seq": "bigint", "day": "date"}}
    project.declare("d", {"kind": "database", "connection": "s"}, {"o": load}, columns=columns)
    assert project.load()["o"].quarantined == 1
    assert quarantined(project, "_reason, _row_key, _record", "d.o") == [
        ("day: varchar is not date", '["2"]', '{"id":2,"seq":2,"day":"soon"}')
    ]
    assert retry(project)["o"].quarantined == 1, "a row below the cursor is looked at again"
    with sqlite3.connect(tmp_path / "s.db") as con:
        con.execute("update o set day = '2024-02-02' where id = 2")
    assert retry(project).rows == 1
    assert project.raw("select id, cast(day as text) from d.o order by id") == [
        (1, "2024-01-01"), (2, "2024-02-02"), (3, None),
    ]  # fmt: skip
    assert quarantined(project, "*", "d.o") == []
    with sqlite3.connect(tmp_path / "s.db") as con:
        con.execute("update o set day = 'never', seq = 9 where id = 3")
    assert project.load()["o"].quarantined == 1
    with sqlite3.connect(tmp_path / "s.db") as con:
        con.execute("update o set day = '2024-03-03', seq = 10 where id = 3")
    assert project.load().rows == 1
    assert quarantined(project, "*", "d.o") == []


@pytest.mark.parametrize("policy", ["evolve", "freeze", "quarantine"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.sample(3)
def test_a_new_column(policy: str, kind: str, tmp_path: Path) -> None:
    load = {"path": f"*.{kind}", "format": kind, "tolerance": 1}
    project = Project(tmp_path)
    (tmp_path / "in").mkdir()
    project.declare("f", {"kind": "files", "url": "in"}, {"t": {**load, "drift": policy}})

    def write(name: str, rows: list[dict[str, Any]]) -> None:
        lines = [json.dumps(r) for r in rows]
        if kind == "csv":
            lines = [",".join(rows[0]), *(",".join(str(v or "") for v in r.values()) for r in rows)]
        (tmp_path / "in" / f"{name}.{kind}").write_text("\n".join(lines))

    write("a", [{"id": "1", "v": "a"}])
    assert project.load().rows == 1
    write("b", [{"id": "2", "v": "b", "extra": None}, {"id": "3", "v": "c", "extra": "new"}])
    outcome = project.load()
    raw = project.raw("select id, v from f.t order by id")
    assert outcome["t"].new_columns == (("extra",) if policy != "freeze" else ())
    if policy == "freeze":
        assert "f.t: the source has the new column extra, and drift is freeze" in outcome.error
        assert raw == [("1", "a")]
    elif policy == "quarantine":
        assert not outcome.errors
        assert raw == [("1", "a"), ("2", "b")]
        assert "extra" not in project.types("f.t")
        ((line, reason, text),) = quarantined(project)
        assert (line, reason) == (3 if kind == "csv" else 2, "extra: a new column, and drift is quarantine")
        assert json.loads(text) == {"id": "3", "v": "c", "extra": "new"}
        project.declare("f", {"kind": "files", "url": "in"}, {"t": {**load, "drift": "evolve"}})
        assert not retry(project).errors
        assert project.raw("select id, extra from f.t order by id")[1:] == [("2", None), ("3", "new")]
        assert quarantined(project) == []
    else:
        assert raw == [("1", "a"), ("2", "b"), ("3", "c")]
        assert project.types("f.t")["extra"] == "VARCHAR"


def test_the_command_shows_bad_rows_and_drift(tmp_path: Path) -> None:
    project = files(tmp_path, CSV, tolerance=1)
    (tmp_path / "in" / "a.csv").write_text("id,day,v\n1,2024-01-01,a\n")
    assert project.sluice("load").returncode == 0
    (tmp_path / "in" / "b.csv").write_text("id,day,v,extra\n2,2024-01-01,a,x\n3,oops,a,x\n")
    loaded = project.sluice("load")
    assert loaded.returncode == 0, loaded.stderr
    assert "quarantined" in loaded.stdout
    assert "drift: f.t: new columns: extra" in project.sluice("status").stdout
    (tmp_path / "in" / "b.csv").write_text("id,day,v,extra\n2,2024-01-01,a,x\n3,2024-01-02,a,x\n")
    retried = project.sluice("load", "--retry-quarantine")
    assert retried.returncode == 0, retried.stderr
    assert quarantined(project) == []
    assert project.raw("select count(*) from f.t") == [(3,)]


def test_a_key_of_several_different_rows(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.connect("lite", url="sqlite:///lite.db")
    with sqlite3.connect(tmp_path / "lite.db") as there:
        there.execute("create table t (id integer, v text)")
        there.executemany("insert into t values (?, ?)", [(1, "a"), (2, "b"), (2, "c"), (3, "d"), (3, "d")])
    source = {"kind": "database", "connection": "lite"}
    project.declare("lite", source, {"t": {"primary_key": "id"}})
    assert "the primary key (id) stands for several different rows, e.g. id 2" in project.load().error
    project.declare("lite", source, {"t": {"primary_key": "id", "tolerance": 2}})
    assert project.load().rows == 2
    assert project.raw("select id, v from lite.t order by id") == [(1, "a"), (3, "d")]
    assert project.raw("select _reason, _record from lite.t__quarantine order by all") == [
        ("id: stands for several different rows", '{"id":2,"v":"b"}'),
        ("id: stands for several different rows", '{"id":2,"v":"c"}'),
    ]
    with sqlite3.connect(tmp_path / "lite.db") as there:
        there.execute("delete from t where v = 'b'")
    assert project.load().rows == 1
    assert project.raw("select v from lite.t where id = 2") == [("c",)]
    assert project.raw("from lite.t__quarantine") == []
