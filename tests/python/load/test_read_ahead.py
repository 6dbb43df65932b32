"""What is read before dlt is there counts only while dlt's state is the one it was read with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.load.read_ahead import SourceReader
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


@pytest.mark.parametrize(("stops", "ahead"), [(True, ["lines 2"]), (False, ["lines 2", "more 1"])])
def test_reading_begins_before_dlt_is_there(
    project: Project, monkeypatch: pytest.MonkeyPatch, stops: bool, ahead: list[str]
) -> None:
    _write(project, "more.tsv", "3,c")
    lines = {"path": "data/*.csv", "format": "csv"}
    project.declare(
        "files", {"kind": "files", "url": "."}, {"lines": lines, "more": lines | {"path": "data/*.tsv"}}
    )
    order: list[str] = []
    begin, extractions = SourceReader.begin, SourceReader.extractions

    def beginning(self: SourceReader, until: Any, has_news: Any) -> None:
        begin(self, lambda: stops, has_news)
        order.extend(
            f"{ahead.extraction.table.name} {getattr(ahead.staged, 'rows', None)}" for ahead in self._ahead
        )

    def extracting_all(self: SourceReader, *, is_as_before: bool) -> Any:
        order.append(f"used: {is_as_before}")
        return extractions(self, is_as_before=is_as_before)

    monkeypatch.setattr(SourceReader, "begin", beginning)
    monkeypatch.setattr(SourceReader, "extractions", extracting_all)
    assert project.load().rows == 3
    assert order == [*ahead, "used: True"]
    packages = "select distinct _load_id from files.lines union select distinct _load_id from files.more"
    assert project.raw(packages) == project.raw("select load_id from files._dlt_loads")
    order.clear()
    assert project.load().rows == 0
    assert order[-1] == "used: True"
    assert all(line.endswith(" 0") for line in order[:-1]), "files changed just now are looked at again"


def test_another_state_than_dlts_is_not_loaded_with(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.load().rows == 2
    _write(project, "b.csv", "3,c")
    monkeypatch.setattr("sluice.load.read_ahead.state_in_file", lambda *_: {})
    readers: list[SourceReader] = []
    extract = SourceReader._extract

    def extracting(self: SourceReader) -> Any:
        readers.append(self)
        return extract(self)

    monkeypatch.setattr(SourceReader, "_extract", extracting)
    assert project.load().rows == 1
    assert len(readers) == 2, "read ahead, and again with dlt's state"
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
