"""Large CSV files that DuckDB reads by itself: the same rows, lines and bad rows as the strict reader finds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from sluice.extract.files import plain_csv
from sluice.extract.files.common import FileBuffer, Found
from tests.python.extract.files.test_files import write
from tests.python.project import Project

LONG = "x" * 3_000_000
"""DuckDB's reader takes two million bytes a line."""
CASES: dict[str, tuple[dict[str, Any], str | bytes]] = {
    # table: load keys, content
    "plain": ({}, "a,b\n1,x\n2,y\n"),
    "no_end": ({}, "a,b\n1,x\n2,y"),
    "crlf": ({}, "a,b\r\n1,x\r\n2,\r\n"),
    "mixed_ends": ({}, "a,b\n1,x\r\n2,y\n3,z\r\n"),
    "spaces": ({}, "a,b\n 1 , x \n\t2,\ty\n3,   \n"),
    "signs": ({}, "a,b\n#1,\\x\n-- 2,'y'\n\\N,NULL\nnull,$z\n"),
    "unicode": ({}, "a,b\nü,€\n𝄞,\u2028\n\x0b,\x85\n\ufeff,é\n"),
    "mark": ({}, b"\xef\xbb\xbfa,b\n1,x\n"),
    "semicolon": ({"delimiter": ";"}, "a;b\n1,5;x\n2;y,z\n"),
    "tab": ({"delimiter": "\t"}, "a\tb\n1\tx\n\ty\n"),
    "paragraph": ({"delimiter": "§"}, "a§b\n1§x\n"),
    "unquoted": ({"quote": ""}, 'a,b\n"1,x"\n2,"\n'),
    "other_quote": ({"quote": "'"}, 'a,b\n"1",x\n2,"y\n'),
    "quoted": ({}, 'a,b\n1,"x,y"\n2,"p\nq"\n'),
    "words_for_null": ({"nulls": ["NA", "-"]}, "a,b\nNA,-\n,x\n-1,NAN\n"),
    "no_null": ({"nulls": []}, "a,b\n,x\n"),
    "skip": ({"skip_lines": 2}, "of 2026\n\na,b\n1,x\n"),
    "no_header": ({"header": False}, "1,x\n2,y\n"),
    "blank_first": ({}, "\na,b\n1,x\n"),
    "blank_within": ({}, "a,b\n1,x\n\n2,y\n"),
    "blank_last": ({}, "a,b\n1,x\n\n"),
    "blank_crlf": ({}, "a,b\r\n1,x\r\n\r\n2,y\r\n"),
    "one_column": ({}, "a\n1\n \n2\n"),
    "few_fields": ({}, "a,b\n1,x\n2\n3,z\n"),
    "many_fields": ({}, "a,b\n1,x\n2,y,\n3,z\n"),
    "lone_return": ({}, "a,b\n1,x\ry\n2,z\n"),
    "zero_byte": ({}, "a,b\n1,x\0y\n2,z\n"),
    "bad_byte": ({}, b"a,b\n" + 20 * b"1,x\n" + b"2,\xff\n3,z\n"),
    "bad_byte_in_header": ({}, b"a,\xff\n1,x\n"),
    "latin": ({"encoding": "latin-1"}, b"a,b\n1,\xff\n"),
    "long_line": ({}, f"a,b\n1,x\n2,{LONG}\n3,z\n"),
    "only_header": ({}, "a,b\n"),
    "same_names": ({}, "a,a,\n1,2,3\n"),
    "not_a_number": ({}, "n,b\n1,x\ntwo,y\n3,z\n"),
    "key": ({"primary_key": ["a"]}, "a,b\n1,x\n,y\n2,z\n2,zz\n"),
    "two_files": ({}, "a,b\n1,x\n"),
}
READ_BY_DUCKDB = {
    "plain",
    "no_end",
    "crlf",
    "spaces",
    "signs",
    "unicode",
    "semicolon",
    "tab",
    "unquoted",
}
READ_BY_DUCKDB |= {"other_quote", "words_for_null", "skip", "no_header", "one_column", "not_a_number", "key"}
READ_AGAIN = {"mixed_ends", "bad_byte", "long_line"}
COLUMNS: dict[str, dict[str, str | None]] = {
    "no_header": {"a": None, "b": None},
    "not_a_number": {"n": "bigint", "b": None},
}


def generated(rows: int, seed: int) -> str:
    """Lines of texts without quotes and line ends."""
    chosen = random.Random(seed)
    letters = " \tabcxyz0123456789.;|#'\\/-_+*~^%$&()[]{}<>?!:äß€𝄞\u00a0\u200b\x1f"
    texts = ["".join(chosen.choices(letters, k=chosen.randrange(9))) or "-" for _ in range(3 * rows)]
    return "a,b,c\n" + "".join(",".join(texts[i : i + 3]) + "\n" for i in range(0, 3 * rows, 3))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    for name, (_, content) in CASES.items():
        write(made, f"{name}/a.csv", content)
    write(made, "two_files/b.csv", 'b,a\n"y",2\n')
    for seed in range(2):
        write(made, f"generated_{seed}/a.csv", generated(1500, seed))
    return made


def test_the_rows_are_those_of_the_strict_reader(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    leave, take_back = FileBuffer.leave_to_duckdb, FileBuffer.take_back

    def left(self: FileBuffer, file: Found, *rest: Any) -> None:
        asked.append((file.name, True))
        leave(self, file, *rest)

    def taken_back(self: FileBuffer, file: Found) -> None:
        asked.append((file.name, False))
        take_back(self, file)

    tables = {
        name: {"format": "csv", "path": f"{name}/*", "tolerance": 3, **keys}
        for name, (keys, _) in CASES.items()
    }
    tables |= {f"generated_{seed}": {"format": "csv", "path": f"generated_{seed}/*"} for seed in range(2)}
    outcomes = {}
    monkeypatch.setattr(plain_csv, "LONGEST_HEADER", 50)
    for source, large in (("strict", 2**40), ("plain", 1)):
        project.declare(source, {"kind": "files", "url": "in"}, tables, COLUMNS)
        monkeypatch.setattr(plain_csv, "LARGE_BYTES", large)
        if source == "plain":
            monkeypatch.setattr(FileBuffer, "leave_to_duckdb", left)
            monkeypatch.setattr(FileBuffer, "take_back", taken_back)
        outcomes[source] = project.load(source)
    for table in tables:
        strict, plain = (outcomes[source][table] for source in outcomes)
        assert str(plain.error).replace("plain.", "strict.") == str(strict.error), table
        assert (plain.rows, plain.quarantined) == (strict.rows, strict.quarantined), table
        if strict.error:
            continue
        for of in (table, f"{table}__quarantine") if strict.quarantined else (table,):
            leave_out = "(_loaded_at, _load_id)" if of == table else "(_loaded_at, _load_id, _row_id)"
            rows = [
                project.raw(f"select * exclude {leave_out} from {source}.{of} order by all")
                for source in outcomes
            ]
            assert rows[0] == rows[1], of
    by_duckdb = {name.split("/")[0] for name, is_left in asked if is_left}
    again = {name.split("/")[0] for name, is_left in asked if not is_left} & by_duckdb
    assert by_duckdb - again >= READ_BY_DUCKDB | {"two_files", "generated_0", "generated_1"}
    assert again == READ_AGAIN


def test_what_was_appended_and_changed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that DuckDB has read is continued from where it ended, and read again when its content changes."""
    monkeypatch.setattr(plain_csv, "LARGE_BYTES", 1)
    project.declare("f", {"kind": "files", "url": "in"}, {"t": {"format": "csv", "path": "plain/*"}})
    for content, read in (("a,b\n1,x\n2,y\n", 2), ("a,b\n1,x\n2,y\n3,z\n", 1), ("a,b\n1,x\n3,z\n", 2)):
        write(project, "plain/a.csv", content)
        outcome = project.load()
        assert outcome.errors == []
        assert outcome["t"].read == read
        expected = [(n, *line.split(",")) for n, line in enumerate(content.split("\n")[1:-1], 2)]
        assert project.raw("select _line, a, b from f.t order by _line") == expected
