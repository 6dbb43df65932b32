"""A damaged file of the warehouse is named at once, with the way back, and left as it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from sluice.config.settings import Settings
from sluice.dbt import run_results
from sluice.engine.duckdb import open_raw, open_read_only
from sluice.errors import DamagedError, LockedError, SluiceError
from sluice.serve.tokens import Tokens
from tests.python.project import Project


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def overwritten(file: Path) -> None:
    file.write_bytes(b"no database at all, but b*lock*s of text " * 500)


def header_gone(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[:4096] = bytes(4096)
    file.write_bytes(content)


def of_sqlite(file: Path) -> None:
    import sqlite3

    file.unlink()
    con = sqlite3.connect(file)
    con.execute("create table t (a)")
    con.close()


DAMAGES = [truncated, overwritten, header_gone, of_sqlite]


def loaded(folder: Path) -> Project:
    project = Project(folder)
    (folder / "data").mkdir()
    (folder / "data" / "a.csv").write_text("id,v\n" + "".join(f"{n},{n * 7919}\n" for n in range(50_000)))
    project.declare("files", {"kind": "files", "url": "data"}, {"a": {"format": "csv", "path": "*.csv"}})
    assert project.load().rows == 50_000
    return project


@pytest.mark.parametrize("damage", DAMAGES)
def test_raw(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    project = loaded(tmp_path)
    raw = project.settings.raw
    damage(raw)
    content, began = raw.read_bytes(), time.monotonic()
    with pytest.raises(DamagedError, match=r"raw\.duckdb is damaged: .*Restore it from a backup") as caught:
        project.load()
    assert not isinstance(caught.value, LockedError)
    with pytest.raises(DamagedError), open_read_only({"raw": raw}, tmp_path / "temp", 60) as con:
        con.execute("select count(hash(a)) from raw.files.a as a").fetchall()
    assert time.monotonic() - began < 10
    assert raw.read_bytes() == content


def test_a_file_that_another_process_writes_is_no_damage(tmp_path: Path) -> None:
    import subprocess
    import sys

    file = tmp_path / "raw.duckdb"
    code = f"import duckdb, sys; c = duckdb.connect({str(file)!r}); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline()
        with pytest.raises(LockedError, match=rf"PID {other.pid}"):
            open_raw(file, tmp_path / "temp", 0.2)
        with pytest.raises(LockedError), open_read_only({"raw": file}, tmp_path / "temp", 0.2):
            pass
        assert other.stdin
        other.stdin.close()


def test_a_file_that_is_missing_is_no_damage(tmp_path: Path) -> None:
    missing = open_read_only({"raw": tmp_path / "none.duckdb"}, tmp_path / "temp", 60)
    with pytest.raises(SluiceError, match=r"cannot be opened: No such file") as caught, missing:
        pass
    assert not isinstance(caught.value, DamagedError)


@pytest.mark.parametrize("damage", [truncated, overwritten])
@pytest.mark.sample(1)
def test_the_run_store(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    project = loaded(tmp_path)
    first = project.sluice("load")
    assert first.returncode == 0, first.stderr
    store = project.settings.ledger
    with duckdb.connect(str(project.settings.raw)) as con:
        runs = con.execute("select count(*) from sluice.runs").fetchone()
    damage(store)
    for side in ("-wal", "-shm"):
        store.with_name(store.name + side).unlink(missing_ok=True)
    for command in (["load"], ["status"], ["runs"]):
        said = project.sluice(*command)
        assert said.returncode == 1
        assert "ledger.sqlite is damaged" in " ".join(said.stderr.split())
        assert "Traceback" not in said.stderr
    store.rename(tmp_path / "kept.sqlite")
    assert project.sluice("load").returncode == 0
    # the store has the old runs again, and raw no run twice
    with duckdb.connect(str(project.settings.raw)) as con:
        both = con.execute("select count(*), count(distinct run_id) from sluice.runs").fetchone()
    assert runs
    assert both == (runs[0] + 1, runs[0] + 1)
    shown = project.sluice("runs").stdout
    assert shown.count("load") >= runs[0] + 1


@pytest.mark.parametrize("damage", [b"", b"[]"])
def test_what_dlt_keeps(tmp_path: Path, damage: bytes) -> None:
    project = loaded(tmp_path)
    folder = project.settings.pipelines / "files"
    places = ["state.json", "schemas/files.schema.json"]
    for file in [folder / place for place in places] + [folder / "load" / ".version"] * (damage == b""):
        whole = file.read_bytes()
        file.write_bytes(damage)
        error = project.load().error
        assert error.startswith(f"{file} is damaged: ")
        assert f"Move the folder {folder} away and load again" in error
        assert file.read_bytes() == damage
        file.write_bytes(whole)
    (folder / "state.json").write_bytes(damage)
    folder.rename(tmp_path / "away")
    assert (project.load().error, project.load().rows) == ("", 0)
    assert project.raw("select count(*), count(distinct id) from files.a") == [(50_000, 50_000)]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"a": 1}', b"\xff\xfe\x00"])
def test_small_files(small: Settings, damage: bytes) -> None:
    kept = small.home / "build_results.json"
    kept.write_bytes(damage)
    with pytest.raises(
        DamagedError, match=r"build_results\.json is damaged: .*Delete it and run `sluice build`"
    ):
        run_results.merge(small)
    small.tokens.parent.mkdir()
    small.tokens.write_bytes(damage)
    with pytest.raises(DamagedError, match=r"tokens\.json is damaged: .*issue a new token to each reader"):
        Tokens(small.tokens).owner("analysts", "token")
    assert (kept.read_bytes(), small.tokens.read_bytes()) == (damage, damage)
