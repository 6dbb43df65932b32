"""Two that want the warehouse: the second waits a bounded time, then says who holds it. Readers see whole tables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from sluice.config.sources import load_sources
from sluice.engine.duckdb import open_raw
from sluice.errors import Exit
from sluice.extract.contract import LoadOptions
from sluice.load.run import load
from tests.python.project import Project
from tests.python.small_project import FILES as SMALL_PROJECT

WAITING = """
import time
from pathlib import Path
def rows():
    yield {'id': 1}
    while not Path('go').exists():
        time.sleep(0.05)
"""


@contextmanager
def a_load_that_waits(project: Project) -> Iterator[subprocess.Popen[str]]:
    """`sluice load` in a process of its own that goes on when the file `go` is there."""
    (project.root / "waiting_rows.py").write_text(WAITING)
    project.declare("slow", {"kind": "python"}, {"rows": {"resource": "waiting_rows.rows"}})
    with project.loading("slow") as process:
        try:
            yield process
        finally:
            (project.root / "go").touch()
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0, output


def test_a_second_load_waits_and_names_the_first(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with a_load_that_waits(project) as first:
        second = project.sluice("load", SLUICE_LOCK_SECONDS="0.5")
        assert second.returncode == Exit.LOCKED, second.stderr
        assert f"is in use: sluice load, process {first.pid}" in second.stderr
        build = project.sluice("build", SLUICE_LOCK_SECONDS="0.5")
        assert build.returncode == Exit.LOCKED, build.stderr
        assert f"sluice load, process {first.pid}" in build.stderr


def test_a_second_load_goes_on_when_the_first_has_ended(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with a_load_that_waits(project):
        go = threading.Timer(1.0, (project.root / "go").touch)
        go.start()
        second = project.sluice("load")
        assert second.returncode == 0, second.stderr
    assert project.raw("select count(*) from slow.rows") == [(1,)]


def dbt(project: Project, **environment: str) -> subprocess.CompletedProcess[str]:
    """A plain `dbt build` of one model on raw, with the profile of the small project."""
    shutil.copy(SMALL_PROJECT / "profiles.yml", project.root)
    (project.root / "dbt_project.yml").write_text("{name: throw_away, profile: sluice, version: '1.0'}")
    (project.root / "models").mkdir(exist_ok=True)
    (project.root / "models" / "counted.sql").write_text(
        "{{ config(materialized='table') }} select count(*) as n from raw.slow.rows"
    )
    return subprocess.run(
        [str(Path(sys.executable).with_name("dbt")), "build", "--target", "warehouse"],
        cwd=project.root,
        env={**project.environment(), "DBT_TARGET_PATH": "target", "DBT_LOG_PATH": "logs", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_plain_dbt_build_waits_for_a_load(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with a_load_that_waits(project) as first:
        kept_out = dbt(project, SLUICE_LOCK_SECONDS="1")
        assert kept_out.returncode, kept_out.stdout
        assert f"(PID {first.pid}), most likely a load" in kept_out.stdout
        assert "Traceback" not in kept_out.stdout
        threading.Timer(4.0, (project.root / "go").touch).start()
        waited = dbt(project)
        assert waited.returncode == 0, waited.stdout
    with duckdb.connect(str(project.settings.warehouse), read_only=True) as con:
        assert con.execute("select n from main.counted").fetchall() == [(1,)]


def test_a_reader_holds_a_load_up_and_is_named(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (project.root / "rows.csv").write_text("id\n1\n")
    project.declare("slow", {"kind": "files", "url": "."}, {"rows": {"path": "*.csv", "format": "csv"}})
    assert project.load().rows == 1
    with duckdb.connect(str(project.settings.raw), read_only=True):
        refused = project.sluice("load", SLUICE_LOCK_SECONDS="0.5")
    assert refused.returncode == Exit.LOCKED, refused.stderr
    assert f"(PID {os.getpid()})" in refused.stderr


@pytest.mark.parametrize(
    "options", [LoadOptions(), LoadOptions(full_refresh=True)], ids=["replace", "refresh"]
)
def test_a_reader_in_the_process_sees_a_whole_table_while_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: LoadOptions
) -> None:
    rows = 200_000
    monkeypatch.syspath_prepend(tmp_path)
    project = Project(tmp_path)
    (project.root / "replaced_versions.py").write_text(
        "import pyarrow as pa\n"
        "def rows(version, count):\n"
        "    yield pa.table({'id': list(range(count)), 'version': [version] * count})\n"
    )

    def declare(version: int) -> None:
        arguments = {"version": version, "count": rows}
        project.declare(
            "p",
            {"kind": "python"},
            {"t": {"resource": "replaced_versions.rows", "arguments": arguments, **keys}},
        )

    keys = {"primary_key": "id"} if options.full_refresh else {}

    declare(0)
    assert not project.load().errors
    seen = []
    done = threading.Event()
    con = open_raw(project.settings.raw, tmp_path / "temp", 5)

    def read() -> None:
        reader = con.cursor()
        while not done.is_set():
            # by rows: what DuckDB answers from statistics (a bare count, min or max) may be of the next version
            rows_by_version = reader.execute(
                "select version, count(*) from p.t where id >= 0 group by all"
            ).fetchall()
            seen.append(tuple(rows_by_version))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for version in (1, 2, 3):
            declare(version)
            outcome = load(project.settings, load_sources(project.settings.sources), "run", options)
            assert outcome[0].tables[0].rows == rows, outcome[0].errors
    finally:
        done.set()
        thread.join()
        con.close()
    assert {((v, rows),) for v in range(4)} >= set(seen)
    assert len(set(seen)) > 1
