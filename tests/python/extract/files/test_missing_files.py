"""Files that are gone: their rows are kept, marked as deleted, or the table stops, as it is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.python.extract.files.test_files import s3_client, write
from tests.python.project import Outcome, Project

ALIVE = "select v from f.t where _deleted_at is null order by v"
DEAD = "select v from f.t where _deleted_at is not null order by v"
NO_LIMIT: dict[str, Any] = {"shrink_limit": 0}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    (tmp_path / "in").mkdir()
    return made


def declare(project: Project, url: str = "in", **keys: Any) -> None:
    source = {"kind": "files", "url": url, **({"connection": "store"} if "://" in url else {})}
    project.declare("f", source, {"t": {"path": "*.csv", "format": "csv", **keys}})


def loaded(project: Project) -> Outcome:
    outcome = project.load()
    assert outcome.error == ""
    return outcome


def values(project: Project, select: str) -> str:
    return "".join(v for (v,) in project.raw(select))


@pytest.mark.parametrize("key", [{}, {"primary_key": "v"}])
def test_rows_of_a_file_that_is_gone(project: Project, key: dict[str, Any]) -> None:
    for n, rows in {"1": "a\nb\n", "2": "c\n", "3": "d\n"}.items():
        write(project, f"{n}.csv", "v\n" + rows)
    declare(project, missing_files="keep", **key)
    loaded(project)
    (project.root / "in" / "2.csv").unlink()
    assert loaded(project).rows == 0
    assert values(project, "select v from f.t order by v") == "abcd"

    declare(project, missing_files="fail", **key)
    error = project.load().error
    assert "f.t: 1 file(s) that were loaded before are missing: 2.csv. Nothing was loaded" in error
    assert values(project, "select v from f.t order by v") == "abcd"

    declare(project, missing_files="delete", **key)
    assert loaded(project)["t"].deleted == 1
    assert (values(project, ALIVE), values(project, DEAD)) == ("abd", "c")
    marked = project.raw("select * from f.t where v = 'c'")
    assert loaded(project).rows == 0
    write(project, "4.csv", "v\ne\n")
    assert loaded(project)["t"].deleted == 0
    assert project.raw("select * from f.t where v = 'c'") == marked

    write(project, "2.csv", "v\nc\n")  # as it was
    loaded(project)
    assert (values(project, ALIVE), values(project, DEAD)) == ("abcde", "")


@pytest.mark.full
def test_all_files_gone_at_once(project: Project) -> None:
    write(project, "1.csv", "v\na\nb\n")
    declare(project)
    loaded(project)
    (project.root / "in" / "1.csv").rename(project.root / "1.csv")
    for _ in range(2):
        (warning,) = loaded(project)["t"].warnings
        assert warning.startswith("f.t: 0 files match '*.csv' below ")
        assert warning.endswith("(1 were loaded before)")
    shown = project.sluice("load")
    assert shown.returncode == 0
    assert "warning: f.t: 0 files match" in " ".join(shown.stdout.split())
    assert "warning: f.t: 0 files match" in " ".join(project.sluice("status").stdout.split())
    assert project.sluice("runs").stdout.split()[-3] == "1"  # before `failed` and the run
    declare(project, missing_files="delete")
    error = project.load().error
    assert "the source now has 0 rows, raw has 2; fewer than 50% of them would remain" in error
    assert values(project, "select v from f.t order by v") == "ab"
    declare(project, missing_files="delete", **NO_LIMIT)
    outcome = loaded(project)
    assert (outcome["t"].deleted, len(outcome["t"].warnings)) == (2, 1)
    assert values(project, DEAD) == "ab"
    (project.root / "1.csv").rename(project.root / "in" / "1.csv")
    loaded(project)
    assert (values(project, ALIVE), values(project, DEAD)) == ("ab", "")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_files_of_types(project: Project, form: str) -> None:
    for n in (1, 2, 3):
        if form == "jsonl":
            write(project, f"{n}.jsonl", f'{{"id": {n}, "x": [{n}]}}\n')
        else:
            pq.write_table(pa.table({"id": [n], "x": [[n]]}), project.root / "in" / f"{n}.parquet")
    declare(project, path=f"*.{form}", format=form, missing_files="delete")
    loaded(project)
    (project.root / "in" / f"2.{form}").unlink()
    assert loaded(project)["t"].deleted == 1
    assert project.raw("select id from f.t where _deleted_at is not null") == [(2,)]


def test_an_archive(project: Project) -> None:
    for n in (1, 2, 3):
        with ZipFile(project.root / "in" / f"{n}.zip", "w") as archive:
            archive.writestr("x.csv", f"v\n{n}\n")
    declare(project, path="*.zip", missing_files="delete")
    loaded(project)
    (project.root / "in" / "2.zip").rename(project.root / "2.zip")
    assert loaded(project)["t"].deleted == 1
    assert (values(project, ALIVE), values(project, DEAD)) == ("13", "2")
    (project.root / "2.zip").rename(project.root / "in" / "2.zip")
    loaded(project)
    assert values(project, ALIVE) == "123"


def test_a_key_that_another_file_has_lives_on(project: Project) -> None:
    write(project, "1.csv", "v,n\na,1\nb,1\n")
    write(project, "2.csv", "v,n\nb,2\nc,2\n")
    declare(project, primary_key="v", missing_files="delete")
    loaded(project)
    (project.root / "in" / "2.csv").unlink()
    assert loaded(project)["t"].deleted == 1
    assert project.raw("select v, n from f.t where _deleted_at is null order by v") == [
        ("a", "1"),
        ("b", "1"),
    ]
    assert values(project, DEAD) == "c"


def test_a_bucket(project: Project, s3: dict[str, str]) -> None:
    store, place = s3_client(s3), f"{s3['bucket']}/missing"
    project.connect("store", **{k: v for k, v in s3.items() if k != "bucket"})
    store.pipe({f"{place}/{n}.csv": b"v\n%d\n" % n for n in (1, 2, 3)})
    declare(project, f"s3://{place}", missing_files="delete")
    loaded(project)
    store.rm(f"{place}/2.csv")
    assert loaded(project)["t"].deleted == 1
    assert (values(project, ALIVE), values(project, DEAD)) == ("13", "2")
    store.rm([f"{place}/1.csv", f"{place}/3.csv"])
    outcome = project.load()
    assert "fewer than 50% of them would remain" in outcome.error
    assert "0 files match" in outcome["t"].warnings[0]
    declare(project, "s3://bucket-that-is-gone/missing", missing_files="delete")
    assert project.load().error != ""
    assert (values(project, ALIVE), values(project, DEAD)) == ("13", "2")
