"""Bad rows of the kinds whose records are no lines: kept apart with reason, place and text, and taken in after a fix."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from confluent_kafka import Producer

from sluice.config.sources import load_sources
from sluice.engine.duckdb import load_extension
from sluice.extract.contract import LoadOptions
from sluice.load.run import load
from tests.python.extract.rest.api import Answer, Api
from tests.python.project import Outcome, Project

Row = dict[str, Any]
SPOILT: list[Row] = [
    {"id": 1, "n": "5", "day": "2026-01-01"},
    {"id": 2, "n": "five", "day": "2026-01-02"},
    {"id": None, "n": "6", "day": "2026-01-03"},
    {"id": 4, "n": "7", "day": "2026-01-04"},
    {"id": 5, "n": "1.5", "day": "2026-02-30"},
]
FIXED: list[Row] = [
    SPOILT[0],
    {**SPOILT[1], "n": "55"},
    {**SPOILT[2], "id": 3},
    SPOILT[3],
    {**SPOILT[4], "n": "15", "day": "2026-02-28"},
]
BAD = 3
TYPES = {"t": {"id": "bigint", "n": "bigint", "day": "date"}}


@dataclass
class Kind:
    """A project with the table `s.t` that reads what `put` gave it."""

    project: Project
    put: Callable[[list[Row]], None]
    source: dict[str, Any]
    table: dict[str, Any]
    place: Callable[[int], Any]
    """Where the row of an index stands; None where records have no place."""

    def declare(self, **more: Any) -> None:
        self.project.declare(
            "s", self.source, {"t": {**self.table, "primary_key": "id", **more}}, columns=TYPES
        )


def in_file(folder: Path, name: str, form: str, text_ids: bool) -> Callable[[list[Row]], None]:
    (folder / "in").mkdir()

    def put(rows: list[Row]) -> None:
        with duckdb.connect() as con:
            load_extension(con, "excel")
            con.execute(f"create table t (id {'varchar' if text_ids else 'bigint'}, n varchar, day varchar)")
            con.executemany("insert into t values (?, ?, ?)", [list(row.values()) for row in rows])
            con.execute(f"copy t to '{folder / 'in' / name}' (format {form})")

    return put


@pytest.fixture(params=["excel", "parquet", "rest", "python"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    project = Project(tmp_path)
    if request.param in ("excel", "parquet"):
        name = "a.xlsx" if request.param == "excel" else "a.parquet"
        form, first = ("xlsx, header true", 2) if request.param == "excel" else ("parquet", 1)
        table = {"path": name, "format": request.param}
        put = in_file(tmp_path, name, form, request.param == "excel")
        source = {"kind": "files", "url": "in"}
        yield Kind(project, put, source, table, lambda index: (name, first + index))
    elif request.param == "rest":
        api = Api()

        def serve(rows: list[Row]) -> None:
            api.answer = lambda _: Answer(rows)

        client = {"base_url": api.url, "paginator": "single_page"}
        endpoint = {"endpoint": {"path": "t"}}
        yield Kind(project, serve, {"kind": "rest", "client": client}, endpoint, lambda index: None)
        api.server.shutdown()
        api.server.server_close()
    else:
        monkeypatch.syspath_prepend(str(tmp_path))
        module = f"quarantined_{time.monotonic_ns()}"
        (tmp_path / f"{module}.py").write_text(
            "import json\nfrom pathlib import Path\n\n\ndef t():\n"
            "    yield json.loads((Path(__file__).parent / 'rows.json').read_text())\n"
        )

        def write(rows: list[Row]) -> None:
            (tmp_path / "rows.json").write_text(json.dumps(rows))

        yield Kind(project, write, {"kind": "python"}, {"resource": f"{module}.t"}, lambda index: None)


def retry(project: Project) -> Outcome:
    """`sluice load --retry-quarantine`."""
    sources = load_sources(project.settings.sources)
    return Outcome(load(project.settings, sources, "run", LoadOptions(retry_quarantine=True)))


def quarantined(kind: Kind) -> list[tuple[Any, ...]]:
    place = "_file, _line" if kind.place(0) else "null, null"
    rows = kind.project.raw(
        f"select _reason, {place}, _record, _row_key from s.t__quarantine order by _record"
    )
    return [
        ("; ".join(sorted(reason.split("; "))), *where, json.loads(text), key)
        for reason, *where, text, key in rows
    ]


def expected(kind: Kind) -> list[tuple[Any, ...]]:
    """The bad rows of SPOILT, as the quarantine shows them."""
    reasons = {
        4: ("day: varchar is not date; n: varchar is not bigint", '["5"]'),
        1: ("n: varchar is not bigint", '["2"]'),
        2: ("id: no value in the primary key", None),
    }
    texts = kind.table.get("format") == "excel"
    found = []
    for index, (reason, key) in reasons.items():
        row = {**SPOILT[index]}
        if texts and row["id"] is not None:
            row["id"] = str(row["id"])
        place = kind.place(index) or (None, None)
        found.append((reason, *place, row, key))
    return found


@pytest.mark.sample(2)
def test_bad_rows_of_every_kind(kind: Kind) -> None:
    kind.put(SPOILT)
    kind.declare()
    refused = kind.project.load()
    assert f"Nothing of s.t was loaded: {BAD} bad row(s), its tolerance is 0" in refused.error
    assert sorted(quarantined(kind), key=str) == sorted(expected(kind), key=str)
    kind.declare(tolerance=BAD)
    for rows in (2, 0):  # again changes nothing
        loaded = kind.project.load()
        assert not loaded.errors
        assert loaded.rows == rows
        assert kind.project.raw("select id, n, cast(day as text) from s.t order by id") == [
            (1, 5, "2026-01-01"), (4, 7, "2026-01-04"),
        ]  # fmt: skip
        assert sorted(quarantined(kind), key=str) == sorted(expected(kind), key=str)


@pytest.mark.sample(2)
def test_bad_rows_of_every_kind_leave_when_they_come_well(kind: Kind) -> None:
    kind.put(SPOILT)
    kind.declare(tolerance="60%")
    assert kind.project.load()["t"].quarantined == BAD
    kind.put(FIXED)
    assert not kind.project.load().errors
    assert [n for (n,) in kind.project.raw("select n from s.t order by id")] == [5, 55, 6, 7, 15]
    left = [] if kind.place(0) else [key for *_, key in quarantined(kind)]
    assert [key for key in left if key is not None] == []


@pytest.mark.parametrize("kind", ["rest", "python"], indirect=True)
def test_kept_texts_are_taken_in_once_they_are_fixed(kind: Kind) -> None:
    kind.put(SPOILT)
    kind.declare(tolerance=BAD)
    assert kind.project.load().rows == 2
    assert retry(kind.project).rows == 0
    with duckdb.connect(str(kind.project.settings.raw)) as con:
        for was, row in zip(SPOILT, FIXED, strict=True):
            con.execute(
                "update s.t__quarantine set _record = ? where cast(_record as json) = cast(? as json)",
                [json.dumps(row), json.dumps(was, separators=(",", ":"))],
            )
    outcome = retry(kind.project)
    assert not outcome.errors
    assert outcome.rows == BAD
    assert [n for (n,) in kind.project.raw("select n from s.t order by id")] == [5, 55, 6, 7, 15]
    assert quarantined(kind) == []


def test_messages_of_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    topic = f"quarantine_{time.monotonic_ns()}"
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    for body in [
        b'{"id": 1, "n": 5}',
        b"\xff\xfe",
        b'{"id": 2, "n": "five"}',
        b'{"id": 3, "n": 6}',
        b'{"id": 4',
    ]:
        producer.produce(topic, body, partition=0, key="k")
    assert producer.flush(20) == 0
    project = Project(tmp_path)
    project.connect("brokers", bootstrap_servers=kafka_bootstrap)
    source = {"kind": "stream", "connection": "brokers", "protocol": "kafka"}
    columns = {"m": {"id": "bigint", "n": "bigint"}}
    project.declare("s", source, {"m": {"topic": topic}}, columns=columns)
    assert "3 bad row(s), its tolerance is 0" in project.load().error
    project.declare("s", source, {"m": {"topic": topic, "tolerance": 3}}, columns=columns)
    assert project.load()["m"].quarantined == 3
    assert project.raw("select _offset, _reason, _record from s.m__quarantine order by 1") == [
        (1, "are not JSON objects", "\\xff\\xfe"),
        (2, "n: varchar is not bigint", '{"id": 2, "n": "five"}'),
        (4, "are not JSON objects", '{"id": 4'),
    ]
    with duckdb.connect(str(project.settings.raw)) as con:
        con.execute('update s.m__quarantine set _record = \'{"id": 2, "n": 5}\' where _offset = 2')
    assert not retry(project).errors
    assert project.raw("select _offset, _key, id, n from s.m order by 1") == [
        (0, "k", 1, 5), (2, "k", 2, 5), (3, "k", 3, 6),
    ]  # fmt: skip
    # bad messages that were let pass count once
    producer.produce(topic, b"[]", partition=0)
    assert producer.flush(20) == 0
    project.declare("s", source, {"m": {"topic": topic, "tolerance": 1}}, columns=columns)
    outcome = project.load()
    assert (outcome.errors, outcome["m"].quarantined) == ([], 1)


@pytest.mark.parametrize("kind", ["rest", "python"], indirect=True)
def test_bad_rows_that_are_alike_all_come_back(kind: Kind) -> None:
    kind.put([SPOILT[0], SPOILT[1], SPOILT[1]])
    table = {**kind.table, "write_disposition": "append", "tolerance": 1}
    kind.project.declare("s", kind.source, {"t": table}, columns=TYPES)
    assert "2 bad row(s), its tolerance is 1" in kind.project.load().error
    kind.project.declare("s", kind.source, {"t": {**table, "tolerance": 2}}, columns=TYPES)
    assert kind.project.load().rows == 1
    assert len(quarantined(kind)) == 2
    with duckdb.connect(str(kind.project.settings.raw)) as con:
        con.execute("update s.t__quarantine set _record = ?", [json.dumps(FIXED[1])])
    assert retry(kind.project).rows == 2
    assert kind.project.raw("select n from s.t order by all") == [(5,), (55,), (55,)]
