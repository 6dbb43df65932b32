"""Sources that are read are attached to raw's database; they come and go while others are loaded."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

BESIDE_EACH_OTHER = """
import sys, threading, time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
import dlt
from sluice.engine import engine
from sluice.extract.database import Server

folder = Path(sys.argv[1])
con = engine().open_raw(folder / "raw.duckdb", folder / "temp", 5)
pipeline = dlt.pipeline("x", destination=engine().dlt_destination(folder / "raw.duckdb"), dataset_name="x", pipelines_dir=str(folder))
pipeline.run([{"a": 1}], table_name="t")
until = time.monotonic() + 4
failed: list[BaseException] = []

def come_and_go(name: str) -> None:
    source: Any = SimpleNamespace(name=name, load=SimpleNamespace(connection=name))
    database = Server(f"sqlite:///{folder}/source.db", source, SimpleNamespace(con=con.cursor(), root=folder))
    while time.monotonic() < until:
        database.ready()
        database.leave()

def look() -> None:
    with pipeline.destination_client() as client:
        while time.monotonic() < until:
            assert client.is_storage_initialized()
            assert dict(client.get_storage_tables(["t"]))["t"]

def noted(work: Any, *arguments: Any) -> None:
    try:
        work(*arguments)
    except BaseException as error:
        failed.append(error)

works = [(come_and_go, "a"), (come_and_go, "b"), (look,), (look,)]
threads = [threading.Thread(target=noted, args=work) for work in works]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(str(failed[0]) if failed else 0)
"""


def test_databases_come_and_go_while_others_are_loaded(tmp_path: Path) -> None:
    """DuckDB crashes where one is detached while the information schema is read."""
    with sqlite3.connect(tmp_path / "source.db") as con:
        con.execute("create table t (a)")
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_EACH_OTHER, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
