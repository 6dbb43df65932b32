"""Databases are opened as soon as no other process has them; who has them is named."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from sluice.engine import engine
from sluice.engine.duckdb import RAW_STORAGE
from sluice.errors import LockedError, SluiceError

HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"


@contextmanager
def written(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process writes a database file."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.communicate()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "it's.duckdb"
    with duckdb.connect(str(made)) as con:
        con.execute("create table t as select 1 as n")
    return made


def test_a_reader_and_a_writer_name_who_keeps_them_out(file: Path, tmp_path: Path) -> None:
    with written(file) as process:
        holder = rf"another process, .* \(PID {process.pid}\)"
        with pytest.raises(LockedError, match=holder), engine().open_read_only({"d": file}, tmp_path, 0.3):
            pass
        with pytest.raises(LockedError, match=holder):
            engine().open_raw(file, tmp_path / "temp", 0.3)


def test_a_reader_waits_for_a_writer(file: Path, tmp_path: Path) -> None:
    with written(file) as process:
        threading.Timer(0.5, process.kill).start()
        with engine().open_read_only({"d": file}, tmp_path, 30) as con:
            assert con.execute("select n, current_setting('TimeZone') from d.t").fetchall() == [(1, "UTC")]
            with pytest.raises(duckdb.Error, match="read-only"):
                con.execute("insert into d.t values (2)")


def test_raw_is_made_in_the_format_that_is_cheap_to_write(tmp_path: Path) -> None:
    con = engine().open_raw(tmp_path / "raw.duckdb", tmp_path / "temp", 1)
    tags = con.execute("select tags from duckdb_databases() where database_name = 'raw'").fetchone()
    con.close()
    assert tags
    assert tags[0]["storage_version"].startswith(RAW_STORAGE)


def test_other_errors_are_not_waited_for(tmp_path: Path) -> None:
    missing = engine().open_read_only({"d": tmp_path / "none"}, tmp_path, 60)
    with pytest.raises(SluiceError, match="cannot be opened: No such file"), missing:
        pass
