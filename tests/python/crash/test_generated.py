"""Tables, values and moments of death that nobody thought of: Hypothesis makes them, raw must equal the source.

Each example declares a source, loads it, changes it and loads it again; each of the two loads is killed at a random
event first. Records that cannot be loaded without a loss may be refused, clearly, and then raw stays as it was.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sluice.config.column_names import normalized
from sluice.sql import quoted
from tests.python.crash.test_kills import KILLED
from tests.python.crash.walk import Driver
from tests.python.project import Project

EVENTS = 400
"""About as many events a load of one table goes through; a kill after the last one is none."""
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(2**63), 2**63 - 1),
    # SQLite keeps whole numbers in such a column as integers, and so no sign of zero
    "double": st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    "text": TEXTS,
    "blob": st.binary(max_size=8),
}
NAMES = st.sampled_from(
    ["v", "Total EUR", "größe", "a.b", "2nd", "select", "camelCase", 'quo"ted', "percent%", "x-y", "_own"]
)
GENERATED: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [Phase.explicit, Phase.generate],  # an example takes seconds: none to spare for smaller ones
    "suppress_health_check": list(HealthCheck),
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver.started(tmp_path_factory.mktemp("driver")) as driver:
        yield driver


def loaded(driver: Driver, project: Project, kill_at: int) -> str:
    """Kill a load at an event, load again; the error of the second load, or nothing."""
    killed = driver.run(project.root, "load", kill_at=kill_at)
    assert killed.code in (KILLED, 0, 1), killed.output
    healed = driver.run(project.root, "load")
    assert healed.code in (0, 1), healed.output
    assert not (project.settings.home / "set_aside").exists(), healed.output
    return healed.output if healed.code else ""


# -- tables ----------------------------------------------------------------------------------------------

Row = tuple[Any, ...]


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, str], list[Row], list[Row]]:
    """Columns (name to type) beside the key, the rows of the first load, and those of the second; the key is first."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=normalized))
    columns = {name: draw(st.sampled_from(sorted(VALUES))) for name in names}
    row = st.tuples(*(st.none() | VALUES[kind] for kind in columns.values()))
    first = draw(st.dictionaries(st.integers(-5, 40), row, min_size=1, max_size=15))
    changes = draw(st.dictionaries(st.integers(-5, 40), row, max_size=8))
    gone = draw(st.sets(st.sampled_from(sorted(first)), max_size=len(first) // 2))
    second = {key: value for key, value in (first | changes).items() if key not in gone}
    return columns, [(k, *v) for k, v in first.items()], [(k, *v) for k, v in second.items()]


def write_table(file: Path, columns: dict[str, str], rows: Sequence[Row]) -> None:
    declared = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
    with sqlite3.connect(file) as con:
        con.executescript(f"drop table if exists t; create table t (id integer primary key, {declared})")
        con.executemany(f"insert into t values ({', '.join('?' * (len(columns) + 1))})", rows)


def tables_survive(
    driver: Driver,
    table: tuple[dict[str, str], list[Row], list[Row]],
    disposition: str,
    kills: tuple[int, int],
) -> None:
    columns, *states = table
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "p")
        project.connect("db", url="sqlite:///source.db")
        load = {"primary_key": "id", "write_disposition": disposition, "shrink_limit": 0}
        if disposition == "merge":
            load["deletes"] = "compare_keys"
        project.declare("s", {"kind": "database", "connection": "db"}, {"t": load})
        names = ", ".join(quoted(normalized(name)) for name in ["id", *columns])
        for rows, kill_at in zip(states, kills, strict=True):
            write_table(project.root / "source.db", columns, rows)
            assert not loaded(driver, project, kill_at)
            there = {name for (name, *_) in project.raw("describe s.t")}
            alive = " where _deleted_at is null" if "_deleted_at" in there else ""
            raw = project.raw(f"select {names} from s.t{alive}")
            assert Counter(map(repr, raw)) == Counter(map(repr, rows))


# -- records ---------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | TEXTS
    | st.integers(-(10**25), 10**25)
    | st.decimals(-(10**9), 10**9, places=4).map(float)
    | st.decimals(-(10**6), 10**6, places=18).map("<{:f}>".format)
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "Key C", "d"]), JSON, min_size=1), min_size=1, max_size=8
)


def written(record: dict[str, Any]) -> str:
    """A record as JSON; texts such as <0.123456789012345678> are numbers that no double holds."""
    return re.sub(r'"<(-?[0-9]+[.][0-9]+)>"', r"\1", json.dumps(record))


def exact(text: str) -> Any:
    """JSON with every number as the decimal it names."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def is_the_value(value: Any, raw: Any, kind: str) -> bool:
    """Whether a column of raw holds a JSON value without a loss."""
    if value is None or raw is None:
        return value is None and (raw is None or raw == "null")
    if kind == "JSON":
        return bool(exact(raw) == value)
    if isinstance(value, bool):
        return raw in (value, str(value).lower())
    if isinstance(value, Decimal):
        if isinstance(raw, float):
            return math.isclose(raw, value, rel_tol=0, abs_tol=0) or Decimal(repr(raw)) == value
        return Decimal(str(raw)) == value
    return bool(raw == value)


def records_survive(driver: Driver, states: Sequence[list[dict[str, Any]]], kills: tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "p")
        (project.root / "data").mkdir()
        project.declare(
            "s",
            {"kind": "files", "url": "data"},
            {"t": {"path": "*.jsonl", "format": "jsonl", "drift": "evolve"}},
        )
        expected: dict[tuple[str, int], dict[str, Any]] = {}
        for number, (records, kill_at) in enumerate(zip(states, kills, strict=True)):
            lines = [written(record) for record in records]
            file = f"{number}.jsonl"
            (project.root / "data" / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
            if refused := loaded(driver, project, kill_at):
                assert "s.t" in refused
                assert "Traceback" not in refused
                (project.root / "data" / file).unlink()
            else:
                expected |= {(file, line): exact(text) for line, text in enumerate(lines, 1)}
        if not expected:
            return
        kinds = project.types("s.t")
        names = sorted(n for n in kinds if not n.startswith("_"))
        shown = ", ".join(["_file", "_line", *map(quoted, names)])
        found = project.raw(f"select {shown} from s.t")
        assert {(file, line) for file, line, *_ in found} == set(expected)
        for file, line, *values in found:
            record = {normalized(key): value for key, value in expected[file, line].items()}
            for name, value in zip(names, values, strict=True):
                assert is_the_value(record.get(name), value, kinds[name]), (
                    file,
                    line,
                    name,
                    record.get(name),
                    value,
                )


KILLS = st.tuples(st.integers(1, EVENTS), st.integers(1, EVENTS))


@settings(**GENERATED, max_examples=2)
@given(table=tables(), disposition=st.sampled_from(["merge", "replace"]), kills=KILLS)
def test_tables(driver: Driver, table: Any, disposition: str, kills: tuple[int, int]) -> None:
    tables_survive(driver, table, disposition, kills)


@settings(**GENERATED, max_examples=2)
@given(states=st.tuples(RECORDS, RECORDS), kills=KILLS)
def test_records(driver: Driver, states: Any, kills: tuple[int, int]) -> None:
    records_survive(driver, states, kills)


@pytest.mark.full
@pytest.mark.timeout(900)
@settings(**GENERATED, max_examples=15)
@given(table=tables(), disposition=st.sampled_from(["merge", "replace"]), kills=KILLS)
def test_many_tables(driver: Driver, table: Any, disposition: str, kills: tuple[int, int]) -> None:
    tables_survive(driver, table, disposition, kills)


@pytest.mark.full
@pytest.mark.timeout(900)
@settings(**GENERATED, max_examples=15)
@given(states=st.tuples(RECORDS, RECORDS), kills=KILLS)
def test_many_records(driver: Driver, states: Any, kills: tuple[int, int]) -> None:
    records_survive(driver, states, kills)
