"""Rows that a source marks as deleted have `_deleted_at` in raw, as long as the mark is there."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from sluice.errors import DeclarationError
from tests.python.project import Project

MARKS: dict[str, tuple[str, Any, Any]] = {
    # type in SQLite: no mark, the mark
    "a time": ("datetime", None, "2026-01-02 03:04:05"),
    "a number": ("integer", 0, 1),
    "a text": ("text", "N", "Y"),
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("cursor", [True, False])
@pytest.mark.sample(3)
def test_a_mark_of_the_source(tmp_path: Path, mark: str, cursor: bool) -> None:
    kind, no, yes = MARKS[mark]
    project = Project(tmp_path)
    project.connect("lite", url="sqlite:///lite.db")
    keys = {"primary_key": "id", "soft_delete": "gone", **({"cursor": "changed"} if cursor else {})}
    project.declare("lite", {"kind": "database", "connection": "lite"}, {"t": keys})
    with sqlite3.connect(tmp_path / "lite.db") as there:
        there.execute(f"create table t (id integer primary key, gone {kind}, changed integer)")
        there.executemany("insert into t values (?, ?, ?)", [(1, no, 1), (2, yes, 1), (3, None, 1)])
    assert project.load()["t"].deleted == 1
    alive = "select id from lite.t where _deleted_at is null order by id"
    assert project.raw(alive) == [(1,), (3,)]
    assert project.load().rows == 0
    with sqlite3.connect(tmp_path / "lite.db") as there:
        there.execute("update t set gone = ?, changed = 2 where id = 1", [yes])
        there.execute("update t set gone = ?, changed = 2 where id = 2", [no])
    outcome = project.load()
    assert (outcome["t"].rows, outcome["t"].deleted) == (2, 1)
    assert project.raw(alive) == [(2,), (3,)]
    if mark == "a time":
        assert project.raw("select cast(_deleted_at as varchar) from lite.t where id = 1") == [
            ("2026-01-02 03:04:05+00",)
        ]
    assert project.load().rows == 0


def test_a_mark_of_records_that_comes_later(tmp_path: Path) -> None:
    project = Project(tmp_path)

    def put(*records: dict[str, Any]) -> None:
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))

    keys = {"path": "a.jsonl", "format": "jsonl", "primary_key": "id", "soft_delete": "gone"}
    project.declare("f", {"kind": "files", "url": "."}, {"t": keys})
    put({"id": 1}, {"id": 2})
    project.load()
    put({"id": 1}, {"id": 2, "gone": True})
    project.load()
    assert project.raw("select id, _deleted_at is null from f.t order by id") == [(1, True), (2, False)]


def test_a_mark_that_is_none_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.connect("lite", url="sqlite:///lite.db")
    with sqlite3.connect(tmp_path / "lite.db") as there:
        there.executescript(
            "create table t (id integer primary key, b blob); insert into t values (1, x'00')"
        )
    source = {"kind": "database", "connection": "lite"}
    for column, said in {"b": "soft_delete: b is blob", "nowhere": "soft_delete names nowhere"}.items():
        project.declare("lite", source, {"t": {"primary_key": "id", "soft_delete": column}})
        assert said in project.load().error
    project.declare("lite", source, {"t": {"soft_delete": "b", "cursor": "id"}})
    with pytest.raises(DeclarationError, match="soft_delete needs a primary_key"):
        project.load()
