"""A small file is split by Python, a large one by Arrow, with the same rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.extract.files.text import SMALL_BYTES
from tests.python.project import Project

LINE = b'{"id": 1, "v": "a"}'


@pytest.mark.parametrize(
    "content",
    [
        LINE + b"\n" + LINE,
        b"\n" + LINE + b"\n\n" + LINE + b"\n",
        LINE + b"\r\n" + LINE + b"\r\n",
        b"\xef\xbb\xbf" + LINE + b"\n  \n" + LINE + b"\n",
        '{"id": 2, "v": "ä \x1f 日本 "}\n'.encode() + LINE + b"\n",
    ],
    ids=["no end", "empty lines", "carriage returns", "a mark", "a control character"],
)
def test_both_bring_the_same(tmp_path: Path, content: bytes) -> None:
    project = Project(tmp_path)
    large = content.rstrip(b"\n") + b"\n" + (LINE + b"\n") * (SMALL_BYTES // len(LINE))
    for name, text in {"small": content, "large": large}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_bytes(text)
        project.declare(
            name,
            {"kind": "files", "url": name},
            {"orders": {"path": "*.jsonl", "format": "jsonl", "tolerance": 9}},
            {"orders": {"id": "bigint", "v": "varchar"}},
        )
    project.load()
    of_file = "select _line, id, v from {}.orders order by all"
    small = project.raw(of_file.format("small"))
    assert small
    assert project.raw(of_file.format("large"))[: len(small)] == small
    bad = "select count(*) from duckdb_tables() where schema_name = '{}' and table_name like '%quarantine'"
    assert project.raw(bad.format("small")) == project.raw(bad.format("large"))
