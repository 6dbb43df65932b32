"""Which tables count as changed after a load, for the models that read them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sluice
from sluice.engine.raw_versions import RawVersions
from tests.python.project import Project

CODE = """
import dlt

def numbers():
    state = dlt.current.resource_state()
    state["calls"] = state.get("calls", 0) + 1
    if state["calls"] == 1:
        yield {"id": 1}
"""


def versions(project: Project) -> dict[str, str]:
    raw = RawVersions(project.settings.raw)
    assert raw.is_known
    tables = ("own", "numbers"), ("till", "sales"), ("till", "items"), ("sluice", "runs")
    return {name: raw.version(schema, name) for schema, name in tables}


def test_only_tables_that_got_rows_count_as_changed(tmp_path: Path) -> None:
    """A state that dlt keeps of a source comes into raw in a package, too, and is no row of a table."""
    project = Project(tmp_path)
    path = f"{Path(sluice.__file__).parents[1]}:{tmp_path}"
    (tmp_path / "made_numbers.py").write_text(CODE)
    resource = {"resource": "made_numbers.numbers", "primary_key": "id", "write_disposition": "merge"}
    project.declare("own", {"kind": "python"}, {"numbers": resource}, {"numbers": {"id": "bigint"}})
    tables = {"sales": {"primary_key": "id"}, "items": {"primary_key": "id"}}
    project.declare("till", {"kind": "database", "connection": "till"}, tables)
    project.connect("till", url=f"sqlite:///{tmp_path / 'till.db'}")
    with closing(sqlite3.connect(tmp_path / "till.db")) as con, con:
        con.executescript(
            "create table sales (id integer primary key); insert into sales values (1);"
            "create table items (id integer primary key); insert into items values (1)"
        )
    assert project.sluice("load", PYTHONPATH=path).returncode == 0
    first = versions(project)
    assert project.sluice("load", PYTHONPATH=path).returncode == 0
    assert versions(project) == first
    with closing(sqlite3.connect(tmp_path / "till.db")) as con, con:
        con.execute("insert into sales values (2)")
    assert project.sluice("load", PYTHONPATH=path).returncode == 0
    third = versions(project)
    assert {name for name in first if third[name] != first[name]} == {"sales", "runs"}
