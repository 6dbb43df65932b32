"""What is read before dlt is there counts only while dlt's state is the one it was read with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.reading import Reading
from tests.python.project import Project


def _write(project: Project, name: str, *lines: str) -> None:
    (project.root / "data").mkdir(exist_ok=True)
    (project.root / "data" / name).write_text("\n".join(["id,v", *lines, ""]))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    _write(made, "a.csv", "1,a", "2,b")
    tables = {"lines": {"path": "data/*.csv", "format": "csv"}}
    made.declare("files", {"kind": "files", "url": "."}, tables)
    return made


def test_reading_begins_before_dlt_is_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    begin, deliveries = Reading.begin, Reading.deliveries

    def beginning(self: Reading) -> None:
        begin(self)
        order.append(f"read {sum(self._rows.values())}")

    def delivering(self: Reading, *, is_as_before: bool) -> Any:
        order.append(f"used: {is_as_before}")
        return deliveries(self, is_as_before=is_as_before)

    monkeypatch.setattr(Reading, "begin", beginning)
    monkeypatch.setattr(Reading, "deliveries", delivering)
    assert project.load().rows == 2
    assert order == ["read 2", "used: True"]
    order.clear()
    assert project.load().rows == 0
    assert order == ["read 0", "used: True"]


def test_another_state_than_dlts_is_not_loaded_with(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.load().rows == 2
    _write(project, "b.csv", "3,c")
    monkeypatch.setattr(Reading, "_state_in_file", lambda self: {})
    readings: list[Reading] = []
    extract = Reading._extract

    def extracting(self: Reading) -> None:
        readings.append(self)
        extract(self)

    monkeypatch.setattr(Reading, "_extract", extracting)
    assert project.load().rows == 1
    assert len(readings) == 2, "read ahead, and again with dlt's state"
    assert project.raw("select id from files.lines order by id") == [("1",), ("2",), ("3",)]


def test_a_state_that_cannot_be_read_is_left_to_dlt(project: Project) -> None:
    assert project.load().rows == 2
    state = project.settings.pipelines / "files" / "state.json"
    kept = state.read_text()
    state.write_text(kept[: len(kept) // 2])
    outcome = project.load()
    assert outcome.error
    state.write_text(kept)
    assert project.load().rows == 0
