"""Of a file that comes again only what changed is written, and only what was appended is read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.python.project import Outcome, Project

ROWS = 2500
HEADER = "id,v\n"
LINES = [f"{i},v{i % 7}\n" for i in range(1, ROWS + 1)]


def csv(lines: list[str]) -> bytes:
    return (HEADER + "".join(lines)).encode()


CHANGES: dict[str, tuple[bytes, int, int]] = {
    # content after the change, rows loaded, rows that keep the time of the first load
    "appended": (csv([*LINES, "0,new\n"]), 1, ROWS),
    "appended a row like an earlier one": (csv([*LINES, LINES[0]]), 1, ROWS),
    "prepended": (csv(["0,new\n", *LINES]), 1, ROWS),
    "prepended a row like another": (csv([LINES[9], *LINES]), 1, ROWS),
    "changed in the middle": (csv([*LINES[:9], "10,new\n", *LINES[10:]]), 1, ROWS - 1),
    "changed in the middle and appended": (csv([*LINES[:9], "10,new\n", *LINES[10:], "0,new\n"]), 2, ROWS - 1),
    "cut short": (csv(LINES[:-5]), 0, ROWS - 5),
    "without a row in the middle": (csv([*LINES[:9], *LINES[10:]]), 0, ROWS - 1),
    "two rows exchanged": (csv([LINES[1], LINES[0], *LINES[2:]]), 0, ROWS),
    "each second row followed by a blank line": (
        csv([line + "\n" * (i % 2) for i, line in enumerate(LINES)]),
        0,
        ROWS,
    ),
    "the last line longer": (csv(LINES)[:-1] + b"x\n", 1, ROWS - 1),
    "a column more": (b"id,v,w\n" + b"".join(line[:-1].encode() + b",\n" for line in LINES[:-1]) + b"2500,v1,x\n", 1, ROWS - 1),
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    (tmp_path / "in").mkdir()
    return made


def put(project: Project, name: str, content: bytes) -> None:
    file = project.root / "in" / name
    file.write_bytes(content)
    put.clock += 10  # type: ignore[attr-defined]
    os.utime(file, (put.clock, put.clock))  # type: ignore[attr-defined]


put.clock = 1_700_000_000  # type: ignore[attr-defined]


def loaded(project: Project, **options: Any) -> Outcome:
    outcome = project.load(**options)
    assert not outcome.errors, outcome.error
    return outcome


def content(
    project: Project, table: str = "t", columns: str = "* exclude (_loaded_at, _load_id)"
) -> list[Any]:
    return project.raw(f"select {columns} from files.{table} order by _file, _line")


def as_loaded_afresh(project: Project, tmp_path: Path, *tables: str) -> None:
    """Raw is what a first load of the files as they are now brings."""
    fresh = Project(tmp_path / "fresh")
    (fresh.root / "in").symlink_to(project.root / "in")
    for file in project.settings.sources.iterdir():
        (fresh.settings.sources / file.name).write_bytes(file.read_bytes())
    loaded(fresh)
    for table in tables or ("t",):
        assert content(project, table) == content(fresh, table), table


@pytest.mark.parametrize("key", [None, "id"], ids=["no key", "a key"])
@pytest.mark.full
def test_only_what_changed_is_written(project: Project, tmp_path: Path, key: str | None) -> None:
    keys: dict[str, Any] = {"format": "csv", **({"primary_key": key} if key else {})}
    cases = {f"t{n}": case for n, case in enumerate(CHANGES) if not (key and "like" in case)}
    project.declare("files", {"kind": "files", "url": "in"}, {t: {"path": f"{t}.csv", **keys} for t in cases})
    for table, case in cases.items():
        put(project, f"{table}.csv", csv(LINES)[:-1] if "last line" in case else csv(LINES))
    loaded(project)
    for table, case in cases.items():
        put(project, f"{table}.csv", CHANGES[case][0])
    outcome = loaded(project)
    for table, case in cases.items():
        _, rows, keep = CHANGES[case]
        (first, *others) = project.raw(
            f"select count(*), count(distinct _load_id) from files.{table} group by _loaded_at order by _loaded_at"
        )
        assert (case, outcome[table].rows) == (case, rows)
        assert (case, first[0], sum(n for n, _ in others)) == (case, keep, rows)
    as_loaded_afresh(project, tmp_path, *cases)
    assert loaded(project).rows == 0


JSONL = [f'{{"id": {i}, "v": "v{i % 7}"}}\n' for i in range(1, ROWS + 1)]
LOG = [f"{i} v{i % 7}\n" for i in range(1, ROWS + 1)]
WIDE = {"format": "csv", "encoding": "windows-1252", "delimiter": ";", "skip_lines": 2}

APPENDED: dict[str, tuple[dict[str, Any], bytes, bytes, tuple[int, int]]] = {
    # load keys, content, what is appended, rows read and loaded
    "csv": ({"format": "csv"}, csv(LINES), b"0,new\n00,", (2, 2)),
    "csv with a key": ({"format": "csv", "primary_key": "id"}, csv(LINES), b"0,new\n", (1, 1)),
    "csv with lines in quotes": ({"format": "csv"}, csv([*LINES, '0,"a\n\nb"\n']), b'00,"c\nd"\n000,e\n', (2, 2)),
    "csv of another system": ({**WIDE}, b"# \xfc\n#\n\n" + csv(LINES).replace(b",", b";").replace(b"\n", b"\r\n"), b"0;\xfc\r\n", (1, 1)),
    "csv without a header": ({"format": "csv", "header": False}, csv(LINES)[len(HEADER) :], b"0,new\n", (1, 1)),
    "csv with a mark": ({"format": "csv"}, b"\xef\xbb\xbf" + csv(LINES), b"0,new\n", (1, 1)),
    "csv whose last line had no end": ({"format": "csv"}, csv(LINES)[:-1], b"\n0,new", (1, 1)),
    "nothing but blank lines": ({"format": "csv"}, csv(LINES), b"\n\n", (0, 0)),
    "jsonl": ({"format": "jsonl"}, "".join(JSONL).encode(), b'\n{"id": 0, "w": 1}\n', (1, 1)),
    "lines": ({"format": "lines", "pattern": r"(?P<id>\d+) (?P<v>\w+)"}, "".join(LOG).encode(), b"0 new\n", (1, 1)),
    # these are read whole
    "another beginning": ({"format": "csv"}, csv(LINES), b"!0,new\n", (ROWS + 1, 2)),
    "a longer last line": ({"format": "csv"}, csv(LINES)[:-1], b"x\n0,new\n", (ROWS + 1, 2)),
    "a bad line": ({"format": "csv", "tolerance": 1}, csv(LINES), b"0,new\n0\n", (ROWS + 2, 1)),
    "a bad line before": ({"format": "csv", "tolerance": 1}, csv([*LINES[1:], "0\n"]), b"0,new\n", (ROWS + 1, 1)),
    "a bad record": ({"format": "jsonl", "tolerance": 1}, "".join(JSONL).encode(), b"{\n{}\n", (ROWS + 2, 1)),
    "a bad value": ({"format": "csv", "tolerance": 1, "value": True}, csv(LINES), b"x,new\n0,new\n", (ROWS + 2, 1)),
    "a key that the file had": ({"format": "csv", "primary_key": "id", "tolerance": 2}, csv(LINES), b"7,new\n", (ROWS + 1, 0)),
    "packed": ({"format": "csv", "ending": ".csv.gz"}, csv(LINES), b"0,new\n", (ROWS + 1, 1)),
    "utf-16": ({"format": "csv", "encoding": "utf-16"}, csv(LINES), b"0,new\n", (ROWS + 1, 1)),
}  # fmt: skip


def test_only_what_was_appended_is_read(project: Project, tmp_path: Path) -> None:
    tables = {f"t{n}": case for n, case in enumerate(APPENDED)}
    keys = {t: {**APPENDED[case][0]} for t, case in tables.items()}
    names = {t: f"{t}{k.pop('ending', '')}" for t, k in keys.items()}
    columns = {t: {"id": "bigint" if keys[t].pop("value", 0) else "text", "v": "text"} for t in tables}
    project.declare(
        "files",
        {"kind": "files", "url": "in"},
        {t: {**k, "path": names[t]} for t, k in keys.items()},
        columns,
    )

    def write(more: bool) -> None:
        for table, case in tables.items():
            _, content, appended, _ = APPENDED[case]
            if more and appended.startswith(b"!"):
                content, appended = content.replace(b"2,v2\n", b"2,v3\n", 1), appended[1:]
            content += appended if more else b""
            if case == "packed":
                content = gzip.compress(content, mtime=0)
            put(project, names[table], content.decode().encode("utf-16") if case == "utf-16" else content)

    write(False)
    loaded(project)
    for repeated in (False, True):
        write(True)
        outcome = loaded(project)
        for table, case in tables.items():
            found = (outcome[table].read, outcome[table].rows)
            assert (case, found) == (case, (0, 0) if repeated else APPENDED[case][3])
    bad = [f"{table}__quarantine" for table, case in tables.items() if "bad" in case]
    as_loaded_afresh(project, tmp_path, *tables, *bad)


def test_an_object_of_a_bucket_is_read_from_where_it_ended(
    project: Project, tmp_path: Path, s3: dict[str, str]
) -> None:
    import s3fs

    store = s3fs.S3FileSystem(
        key=s3["access_key_id"],
        secret=s3["secret_access_key"],
        endpoint_url=s3["endpoint_url"],
        skip_instance_cache=True,
    )
    folder = f"{s3['bucket']}/appended_{os.getpid()}"
    project.connect("bucket", **{k: v for k, v in s3.items() if k != "bucket"})
    project.declare(
        "files",
        {"kind": "files", "url": f"s3://{folder}", "connection": "bucket"},
        {"t": {"path": "*.csv", "format": "csv"}},
    )
    store.pipe(f"{folder}/a.csv", csv(LINES))
    loaded(project)
    store.pipe(f"{folder}/a.csv", csv([*LINES, "0,new\n"]))
    outcome = loaded(project)
    assert (outcome["t"].read, outcome["t"].rows) == (1, 1)
    assert project.raw("select _line, id, v from files.t where v = 'new'") == [(ROWS + 2, "0", "new")]
    assert project.raw("select count(*) from files.t group by _load_id order by all") == [(1,), (ROWS,)]


def test_rows_that_raw_lost_or_another_file_took_are_read_again(project: Project, tmp_path: Path) -> None:
    keyed = {"path": "*.csv", "format": "csv", "primary_key": "id"}
    project.declare(
        "files", {"kind": "files", "url": "in"}, {"t": {"path": "a.csv", "format": "csv"}, "k": keyed}
    )
    put(project, "a.csv", csv(LINES))
    loaded(project)
    put(project, "b.csv", csv(["7,taken\n"]))
    loaded(project)
    with duckdb.connect(str(project.settings.raw)) as con:
        con.execute("delete from files.t where id = '9'")
    put(project, "a.csv", csv([*LINES, "0,new\n"]))
    outcome = loaded(project)
    assert (outcome["t"].read, outcome["t"].rows) == (ROWS + 1, 2)
    assert (outcome["k"].read, outcome["k"].rows) == (ROWS + 1, 2), "the file that came last counts"
    assert project.raw("select count(*), count(distinct _line) from files.t") == [(ROWS + 1, ROWS + 1)]
    assert project.raw("select v from files.k where id = '7'") == [("v0",)]
