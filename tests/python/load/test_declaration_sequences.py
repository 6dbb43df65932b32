"""After any sequence of changed declarations, changed sources and loads, raw is as a fresh load has it, or the load said why not.

Hypothesis makes the sequences. Rows that only raw holds, of files that left or with keys that were deleted, are kept
by loads and not compared.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sluice.config.settings import Settings
from sluice.sql import literal, quoted
from tests.python.project import Project

OURS = ("_loaded_at", "_load_id", "_deleted_at")
TEXTS = st.sampled_from(["n/a", "-", "1", "1,5", ""])
FILES = st.fixed_dictionaries(
    {"path": st.sampled_from(["*.csv", "*.csv", "a*.csv"])},
    optional={
        "nulls": st.sampled_from([["n/a"], ["-", ""]]),
        "decimal": st.just(","),
        "primary_key": st.just("id"),
        "columns": st.just({"exclude": ["note"]}),
        "shrink_limit": st.just(0),
    },
)
TABLE = st.sampled_from(
    [{}, {"primary_key": "id"}, {"primary_key": "id", "cursor": "at"},
     {"primary_key": "id", "cursor": "at", "deletes": "compare_keys"}]
)  # fmt: skip
MORE = st.fixed_dictionaries(
    {},
    optional={
        "filter": st.just("id <> 2"),
        "columns": st.just({"exclude": ["v"]}),
        "shrink_limit": st.just(0),
    },
)
TYPES = st.sampled_from([None, "text", "decimal(9,2)"])


@dataclass(frozen=True)
class Step:
    """What changes before a load, and how it is loaded."""

    files: dict[str, Any]
    table: dict[str, Any]
    data_type: str | None
    contents: dict[str, list[str] | None]
    """Values of files, by their names; None: the file leaves."""
    is_broken: bool
    """Whether a file has a line too short, until the next step."""
    deleted: int
    updated: int
    mode: str


STEPS = st.builds(
    Step,
    files=FILES,
    table=st.builds(lambda table, more: {**table, **more}, TABLE, MORE),
    data_type=TYPES,
    contents=st.dictionaries(
        st.sampled_from(["a1", "a2", "b"]), st.none() | st.lists(TEXTS, min_size=1, max_size=3), max_size=2
    ),
    is_broken=st.integers(0, 5).map(lambda number: number == 0),
    deleted=st.integers(0, 12),
    updated=st.integers(1, 8),
    mode=st.sampled_from(["", "", "", "full_refresh", "keep_rows"]),
)


class Sequence:
    """A project with files and a database, and what its loads have said."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder)
        self.at = 100
        self.kept: set[str] = set()
        """Tables with rows that a load has said to be read otherwise than declared."""
        (folder / "in").mkdir()
        for number, name in enumerate(("a1", "a2", "b")):
            self.write(name, number, ["1", "n/a", "-"])
        rows = ", ".join(f"({n}, {n}, 'v{n}')" for n in range(1, 9))
        self.sql(
            f"create table sales (id integer primary key, at integer, v text); insert into sales values {rows}"
        )
        self.project.connect("till", url="sqlite:///till.db")

    def sql(self, statements: str) -> None:
        with sqlite3.connect(self.project.root / "till.db") as con:
            con.executescript(statements)

    def write(self, name: str, number: int, values: list[str]) -> None:
        lines = [f"{number * 10 + n};{value};x" for n, value in enumerate(values)]
        (self.project.root / "in" / f"{name}.csv").write_text("\n".join(["id;v;note", *lines]) + "\n")

    def take(self, step: Step) -> None:
        """Change the source and the declaration, load, and compare."""
        project, folder = self.project, self.project.root / "in"
        for name, values in step.contents.items():
            if values is None and len(list(folder.glob("*.csv"))) > 1:
                (folder / f"{name}.csv").unlink(missing_ok=True)
            elif values is not None:
                self.write(name, ["a1", "a2", "b"].index(name), values)
        broken = folder / "a_broken.csv"
        broken.unlink(missing_ok=True)
        if step.is_broken:
            broken.write_text("id;v;note\n99\n")
        self.at += 1
        self.sql(f"delete from sales where id = {step.deleted}; update sales set at = {self.at}, v = 'u{self.at}' where id = {step.updated}")  # fmt: skip
        lines = {"format": "csv", "delimiter": ";", **step.files}
        columns = {"lines": {"id": "bigint", "v": step.data_type}}
        project.declare("f", {"kind": "files", "url": "in"}, {"lines": lines}, columns=columns)
        project.declare("till", {"kind": "database", "connection": "till"}, {"sales": step.table})
        before = {table: self.rows(project, table) for table in ("f.lines", "till.sales")}
        outcome = project.load(full_refresh=step.mode == "full_refresh", keep_rows=step.mode == "keep_rows")
        fresh = Project.__new__(Project)
        fresh.__dict__.update(project.__dict__)
        fresh.settings = Settings(root=project.root, home=project.root / "fresh")
        shutil.rmtree(fresh.settings.home, ignore_errors=True)
        fresh.settings.home.mkdir()
        shutil.copy(project.settings.connections, fresh.settings.home)
        first = fresh.load()
        for table in ("f.lines", "till.sales"):
            result = outcome[table.partition(".")[2]]
            if result.error:
                assert self.rows(project, table) == before[table], table
                continue
            if step.mode == "full_refresh" or "reloaded whole" in (result.message or ""):
                self.kept.discard(table)
            if "stay as they were read" in (result.message or ""):
                self.kept.add(table)
            if table not in self.kept:
                assert not first[table.partition(".")[2]].error
                where = self.at_source(table)
                assert self.rows(project, table, where) == self.rows(fresh, table), table
        if not outcome.errors:
            assert project.load().rows == 0

    def at_source(self, table: str) -> str:
        """SQL of the rows that are still at the source."""
        if table == "f.lines":
            names = [file.name for file in (self.project.root / "in").glob("*.csv")]
            return f"_file in ({', '.join(map(literal, names))})"
        with sqlite3.connect(self.project.root / "till.db") as con:
            ids = [str(row[0]) for row in con.execute("select id from sales")]
        return f"id in ({', '.join(ids)})"

    @staticmethod
    def rows(project: Project, table: str, where: str = "true") -> Any:
        """Columns, types and rows; nothing without the table."""
        if not project.settings.raw.exists():
            return None
        schema, name = table.split(".")
        found = project.raw(
            "select column_name, data_type from duckdb_columns() where"
            f" schema_name = {literal(schema)} and table_name = {literal(name)} order by all"
        )
        types = {column: kind for column, kind in found if column not in OURS}
        if not types:
            return None
        return types, project.raw(
            f"select {', '.join(map(quoted, types))} from {table} where {where} order by all"
        )


def run(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sequence = Sequence(Path(folder) / "project")
        for step in steps:
            sequence.take(step)


GENERATED: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": list(HealthCheck),
}


@settings(max_examples=2, **GENERATED)
@given(steps=st.lists(STEPS, min_size=2, max_size=2))
def test_raw_is_as_a_fresh_load_has_it(steps: list[Step]) -> None:
    run(steps)


@pytest.mark.full
@pytest.mark.timeout(1200)
@settings(max_examples=10, **GENERATED)
@given(steps=st.lists(STEPS, min_size=5, max_size=8))
def test_raw_is_as_a_fresh_load_has_it_after_many(steps: list[Step]) -> None:
    run(steps)
