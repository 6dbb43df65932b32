"""CSV with delimiters and line ends of several characters, and with escapes: every field, and the line of what is bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.config.sources import read_sources
from sluice.extract.files import delimited
from tests.python.extract.files.test_files import write
from tests.python.project import Project

PLUS: dict[str, Any] = {"delimiter": "+|"}
BOTH: dict[str, Any] = {"delimiter": "+|", "row_terminator": "&|"}
ESCAPED: dict[str, Any] = {"escape": "\\", "nulls": ["\\N", ""]}
Row = tuple[int, str | None, str | None]

READ: dict[str, tuple[dict[str, Any], str, list[Row]]] = {
    # table: load keys, content, rows as (_line, a, b)
    "plus": (PLUS, "a+|b\n1+|x|y+\n2+|\n3+|z", [(2, "1", "x|y+"), (3, "2", None), (4, "3", "z")]),
    "crlf": (PLUS, "a+|b\r\n1+|x\r\n\r\n2+|y\n3+|z\r\n", [(2, "1", "x"), (4, "2", "y"), (5, "3", "z")]),
    "tail": (PLUS, "a+|b\n1+|x\n\r\n", [(2, "1", "x")]),
    "quoted": (PLUS, 'a+|b\n1+|"x+|y"\n2+|"p\nq"\n3+|"say ""hi"""\n4+|""\n5+|a"b"\n', [(2, "1", "x+|y"), (3, "2", "p\nq"), (5, "3", 'say "hi"'), (6, "4", ""), (7, "5", 'a"b"')]),
    "quoted_crlf": (PLUS, 'a+|b\r\n1+|"p\r\nq"\r\n2+|x\r\n', [(2, "1", "p\r\nq"), (4, "2", "x")]),
    "broken_bar": ({"delimiter": "¦"}, 'a¦b\n1¦"x¦"\n', [(2, "1", "x¦")]),
    "pipes": ({"delimiter": "||"}, 'a||b\n1||"x||y|"\n2||p|q\n', [(2, "1", "x||y|"), (3, "2", "p|q")]),
    "no_quote": ({**PLUS, "quote": ""}, 'a+|b\n"1+|"x"\n', [(2, '"1', '"x"')]),
    "ends": (BOTH, "a+|b&|1+|x\ny&|2+|z", [(2, "1", "x\ny"), (3, "2", "z")]),
    "ends_and_breaks": (BOTH, "a+|b&|\n1+|x&|\r\n2+|y\n&|\n&|3+|&&|\n", [(2, "1", "x"), (3, "2", "y\n"), (5, "3", "&")]),
    "ends_within_quotes": (BOTH, 'a+|b&|\n1+|"x&|y"&|\n2+|"z+|"&|\n', [(2, "1", "x&|y"), (4, "2", "z+|")]),
    "ends_declared_with_breaks": ({**BOTH, "row_terminator": "&|\n"}, "a+|b&|\r\n1+|x&|y&|\n2+|z&|\r\n", [(2, "1", "x&|y"), (3, "2", "z")]),
    "one_end": ({"row_terminator": "\x1e", "delimiter": "\x1f"}, "a\x1fb\x1e1\x1fx,\n\x1e2\x1f\x1e", [(2, "1", "x,\n"), (3, "2", None)]),
    "end_begins_as_delimiter": ({"delimiter": "|", "row_terminator": "|\n"}, 'a|b|\n1|x|\n2|"|"|\n', [(2, "1", "x"), (3, "2", "|")]),
    "bare_ends": ({"row_terminator": "\r\n"}, "a,b\r\n1,x\ny\r\n2,z\r\n", [(2, "1", "x\ny"), (3, "2", "z")]),
    "escaped": (ESCAPED, 'a,b\n1,x\\,y\n2,"say \\"hi\\", \\\\"\n3,\\N\n4,"\\N"\n5,p\\\nq\n', [(2, "1", "x,y"), (3, "2", 'say "hi", \\'), (4, "3", None), (5, "4", "N"), (6, "5", "p\nq")]),
    "escape_unused": (ESCAPED, 'a,b\n1,"x ""y"""\n', [(2, "1", 'x "y"')]),
    "escaped_ends": ({**BOTH, "escape": "\\"}, "a+|b&|1+|x\\+|y&|2+|p\\&|q&|", [(2, "1", "x+|y"), (3, "2", "p&|q")]),
    "no_header": ({**PLUS, "header": False}, "1+|x\n2+|y\n", [(1, "1", "x"), (2, "2", "y")]),
    "skip": ({**PLUS, "skip_lines": 2}, '# "open\n#\na+|b\n1+|x\n', [(4, "1", "x")]),
    "unicode": ({"delimiter": "§§", "row_terminator": "¶"}, "a§§b¶1§§ü€¶2§§𝄞¶", [(2, "1", "ü€"), (3, "2", "𝄞")]),
    "nothing": (PLUS, "a+|b\n", []),
}  # fmt: skip

BAD: dict[str, tuple[dict[str, Any], str, list[tuple[int, str, str]], list[Row]]] = {
    # table: load keys, content, quarantine as (_line, _reason, _record), rows
    "fields": (PLUS, "a+|b\n1+|x+|y\n2\n3+|z\n", [(2, "3 fields instead of 2", "1+|x+|y"), (3, "1 fields instead of 2", "2")], [(4, "3", "z")]),
    "open": (PLUS, 'a+|b\n1+|"x\n2+|y\n', [(2, "unexpected end of data", '1+|"x')], [(3, "2", "y")]),
    "behind": (BOTH, 'a+|b&|1+|"x"y&|2+|z&|', [(2, "'+|' expected after '\"'", '1+|"x"y')], [(3, "2", "z")]),
    "byte": ({**PLUS, "encoding": "ascii"}, "a+|b\n1+|ü\n2+|y\n", [(2, "byte 0xc3 is not ascii", "1+|\\xc3\\xbc")], [(3, "2", "y")]),
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    (tmp_path / "in").mkdir()
    return made


@pytest.mark.parametrize("block", [delimited.BLOCK_CHARACTERS, 17])
def test_every_field_arrives(project: Project, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a sign is divided between two blocks."""
    monkeypatch.setattr(delimited, "BLOCK_CHARACTERS", block)
    cases: dict[str, tuple[dict[str, Any], str, list[Row]]] = {
        **READ,
        **{name: (keys, content, rows) for name, (keys, content, _, rows) in BAD.items()},
    }
    for name, (_, content, _) in cases.items():
        write(project, f"{name}/a.csv", content)
    tables = {
        n: {"format": "csv", "path": f"{n}/*", "tolerance": 2, **keys} for n, (keys, *_) in cases.items()
    }
    project.declare("f", {"kind": "files", "url": "in"}, tables, {"no_header": {"a": None, "b": None}})
    outcome = project.load()
    assert outcome.errors == []
    for name, (*_, expected) in cases.items():
        assert (name, project.raw(f"select _line, a, b from f.{name} order by _line")) == (name, expected)
    for name, (_, _, rejected, _) in BAD.items():
        assert (
            project.raw(f"select _line, _reason, _record from f.{name}__quarantine order by _line")
            == rejected
        )


def test_a_header_that_cannot_be_read(project: Project) -> None:
    cases = {
        "undecodable": ({**PLUS, "encoding": "ascii"}, "ü+|b\n1+|x\n", "has no header that can be read"),
        "open": (PLUS, '"a+|b\n1+|x\n', "a.csv line 1: unexpected end of data"),
        "undecodable_ends": ({**BOTH, "encoding": "ascii"}, "a+|b&|1+|ü&|", "line 1: byte 0xc3 is not ascii"),
        "endless": (BOTH, "a+|b\n" * 20, "has more than 17 characters without a line end"),
    }
    for name, (_, content, _) in cases.items():
        write(project, f"{name}/a.csv", content)
    tables = {n: {"format": "csv", "path": f"{n}/*", **keys} for n, (keys, *_) in cases.items()}
    project.declare("f", {"kind": "files", "url": "in"}, tables)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK_CHARACTERS", 17)
        outcome = project.load()
    for name, (*_, message) in cases.items():
        assert message in str(outcome[name].error)
        assert f"f.{name}: {name}/a.csv" in str(outcome[name].error)


def test_signs_that_cannot_be_told_apart_are_found_by_the_check(project: Project) -> None:
    for keys, message in (
        ({"delimiter": ""}, "delimiter is empty"),
        ({"delimiter": "\\t"}, "write it in double quotes"),
        ({"delimiter": '"|'}, "has quote '\"' in it"),
        ({"delimiter": "+\\", "escape": "\\"}, "has escape '\\\\' in it"),
        ({"delimiter": "|\n"}, "has the end of a row in it"),
        ({"delimiter": "|&", "row_terminator": "&|"}, "overlap"),
        ({"row_terminator": "\\n"}, "write it in double quotes"),
        ({"row_terminator": "&|", "format": "jsonl"}, "row_terminator means nothing for format jsonl"),
        ({"escape": "\\\\"}, "write one character"),
        ({"delimiter": "tab"}, "is 'tab', a word: write the character itself, delimiter: \"\\t\""),
        ({"row_terminator": "CRLF"}, 'row_terminator: "\\r\\n"'),
        ({"format": "excel", "range": "F200:A3"}, "write the upper left cell first, as in A3:F200"),
    ):
        project.declare("f", {"kind": "files", "url": "in"}, {"t": {"format": "csv", "path": "*", **keys}})
        _, (problem,) = read_sources(project.settings.sources)
        assert message in str(problem), (keys, problem)
        assert problem.line > 10
