"""A source that brought nothing is left as it is, and whatever else there is to do is done as in any load."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.load import dlt_pipeline
from sluice.load.dlt_pipeline import SourceLoad
from sluice.load.results import SourceResult
from tests.python.crash.cases import Case, Files, Kafka, MariadbCase, Nats, PostgresCase, Python, Rest, Sqlite
from tests.python.project import Outcome, Project

LOADS = """
import sys
from sluice.cli import main
sys.argv = ["sluice", "load"]
try:
    main()
finally:
    print("dlt" in sys.modules)
"""
BOOKS = ("_dlt_loads", "_dlt_pipeline_state", "_dlt_version")
"""What dlt keeps in raw of a source."""
SQL = "sqlite:///source.db"


@pytest.fixture(autouse=True)
def through_dlt(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were loaded by a pipeline of dlt, in this process."""
    ran: list[str] = []
    run = SourceLoad.run

    def running(self: SourceLoad) -> SourceResult:
        ran.append(self.source.name)
        return run(self)

    monkeypatch.setattr(dlt_pipeline.SourceLoad, "run", running)
    return ran


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """The case of a kind, with the server it needs."""
    made: dict[str, Any] = {
        "files": Files,
        "kafka": lambda: Kafka(request.getfixturevalue("kafka_bootstrap")),
        "mariadb": lambda: MariadbCase(request.getfixturevalue("mariadb_server")),
        "nats": lambda: Nats(request.getfixturevalue("nats_url")),
        "postgres": lambda: PostgresCase(request.getfixturevalue("postgres_server")),
        "python": Python,
        "rest": Rest,
        "sqlite": Sqlite,
    }
    case = made[request.param]()
    yield case
    if isinstance(case, Rest):
        case.server.shutdown()
        case.server.server_close()


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    """A database of two tables and a folder of files, loaded twice, so that nothing is left to do."""
    project = Project(tmp_path)
    query(project, "create table orders (id integer primary key, v text)")
    query(project, "create table lines (id integer, v text)")
    query(project, "insert into orders values (1, 'a'), (2, 'b')")
    query(project, "insert into lines values (1, 'a')")
    project.connect("shop", url=SQL)
    declare(project)
    write(project, "a.csv", "1,a", "2,b")
    write(project, "b.csv", "3,c")
    project.declare("files", {"kind": "files", "url": "data"}, FILES)
    assert project.load().rows == 6
    assert project.load().rows == 0
    return project


FILES = {"notes": {"path": "*.csv", "format": "csv"}}


def declare(project: Project, **orders: Any) -> None:
    tables = {"orders": {"primary_key": "id"} | orders, "lines": {}}
    project.declare("shop", {"kind": "database", "connection": "shop"}, tables)


def query(project: Project, sql: str) -> None:
    with sqlite3.connect(project.root / "source.db") as con:
        con.execute(sql)
    con.close()


def write(project: Project, name: str, *lines: str, header: str = "id,v") -> None:
    """A file that was not written just now: such a one is looked at again."""
    file = project.root / "data" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join([header, *lines, ""]))
    age(project.root / "data")


def loaded(case: Case, project: Project) -> Iterator[bool]:
    """After a first load, and after one of what has changed: whether it was the second."""
    for changed in (False, True):
        if changed:
            case.change(project)
        assert project.load().rows > 0
        yield changed


def age(folder: Path) -> None:
    for file in folder.rglob("*"):
        os.utime(file, (1.7e9 + file.stat().st_size, 1.7e9 + file.stat().st_size))


def kept(project: Project) -> dict[str, tuple[int, bytes]]:
    """All of dlt's files, each with the time it was written at."""
    files = [file for file in project.settings.pipelines.rglob("*") if file.is_file()]
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def raw(project: Project, *schemas: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of raw that a source brought, and dlt's own."""
    listed = ", ".join(f"'{schema}'" for schema in schemas)
    tables = project.raw(
        f"select schema_name, table_name from duckdb_tables() where schema_name in ({listed})"
    )
    return {f"{s}.{t}": sorted(project.raw(f"from {s}.{t}"), key=repr) for s, t in tables}


@pytest.mark.parametrize("case", ["sqlite", "postgres", "mariadb", "rest", "nats", "kafka"], indirect=True)
def test_what_brought_nothing_has_no_package_and_what_brought_something_has(
    case: Case, through_dlt: list[str], tmp_path: Path
) -> None:
    project = case.make(tmp_path / "p")
    for changed in loaded(case, project):
        project.load()  # of some kinds a state moves on once more
        before, state = kept(project), raw(project, case.name)
        through_dlt.clear()
        again = project.load()
        assert (again.rows, again.error, through_dlt) == (0, "", [])
        assert all(source.committed for source in again.sources)
        assert {table.status for source in again.sources for table in source.tables} == {"unchanged"}
        assert kept(project) == before
        assert raw(project, case.name) == state
        assert not case.wrong(project, case.expected(changed)), case.wrong(project, case.expected(changed))


@pytest.mark.parametrize("case", ["files", "python"], indirect=True)
def test_a_project_s_function_and_bad_rows_go_through_dlt(
    case: Case, through_dlt: list[str], tmp_path: Path
) -> None:
    """A function may ask dlt for its pipeline or its settings; a bad row may have arrived well."""
    project = case.make(tmp_path / "p")
    for changed in loaded(case, project):
        through_dlt.clear()
        assert project.load().rows == 0
        assert through_dlt == [case.name]
        assert not case.wrong(project, case.expected(changed)), case.wrong(project, case.expected(changed))


def test_a_function_sees_its_own_pipeline_in_every_load(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "feeds.py").write_text(
        "import dlt\n\ndef rows():\n    yield {'id': 1, 'pipeline': dlt.current.pipeline().pipeline_name}\n"
    )
    for name in ("one", "two"):
        project.declare(name, {"kind": "python"}, {"orders": {"resource": "feeds.rows", "primary_key": "id"}})
    for _ in range(3):
        assert not project.load().error
        for name in ("one", "two"):
            assert project.raw(f"select pipeline from {name}.orders") == [(name,)]


def test_nothing_is_written_and_dlt_is_not_imported(shop: Project) -> None:
    before, state = kept(shop), raw(shop, "shop", "files")
    assert imports_dlt(shop) == ["False"]
    assert kept(shop) == before
    assert raw(shop, "shop", "files") == state
    recorded = shop.raw(
        "select source, table_name, status, rows_read, rows_loaded, package from sluice.loads"
        " where run_id <> 'run' order by all"
    )
    assert recorded == [
        ("files", "notes", "unchanged", 0, 0, None),
        ("shop", "lines", "unchanged", 1, 0, None),
        ("shop", "orders", "unchanged", 2, 0, None),
    ]
    query(shop, "insert into orders values (3, 'c')")
    assert imports_dlt(shop) == ["True"], "one source has something new"
    assert shop.raw("select count(*) from shop.orders") == [(3,)]


def imports_dlt(project: Project) -> list[str]:
    """The last line of a load in a process of its own: whether that imported dlt."""
    done = subprocess.run(
        [sys.executable, "-c", LOADS],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1:]


def test_no_source_at_all_is_no_endless_load(tmp_path: Path) -> None:
    assert Project(tmp_path).load().sources == []


def changed_declaration(project: Project) -> None:
    declare(project, shrink_limit=0, columns={"exclude": ["v"]})


def one_more_table(project: Project) -> None:
    tables = {"orders": {"primary_key": "id"}, "lines": {}, "more": {"table": "lines"}}
    project.declare("shop", {"kind": "database", "connection": "shop"}, tables)


def marks_deleted(project: Project) -> None:
    declare(project, deletes="compare_keys")


def restored_raw(project: Project) -> None:
    shutil.copy(project.root / "older.duckdb", project.settings.raw)


def no_raw(project: Project) -> None:
    project.settings.raw.unlink()


def another_state(project: Project) -> None:
    """The state in raw is not the one in dlt's file."""
    folder = project.settings.pipelines / "shop"
    shutil.rmtree(folder)
    shutil.copytree(project.root / "older", folder)


def no_state(project: Project) -> None:
    shutil.rmtree(project.settings.pipelines / "shop")


def added_column(project: Project) -> None:
    query(project, "alter table orders add column more text")
    query(project, "update orders set more = 'x' where id = 1")


def deleted_row(project: Project) -> None:
    query(project, "delete from lines")
    query(project, "insert into lines values (7, 'g')")


@pytest.mark.parametrize(
    ("change", "orders", "lines"),
    [
        (changed_declaration, ["id"], 1),
        (one_more_table, ["id", "v"], 1),
        (marks_deleted, ["id", "v", "_deleted_at"], 1),
        (restored_raw, ["id", "v"], 1),
        (no_raw, ["id", "v"], 1),
        (another_state, ["id", "v"], 1),
        (no_state, ["id", "v"], 1),
        (added_column, ["id", "v", "more"], 1),
        (deleted_row, ["id", "v"], 1),
    ],
)
def test_what_is_left_to_do_in_a_database_is_done(
    shop: Project, through_dlt: list[str], change: Any, orders: list[str], lines: int
) -> None:
    shutil.copy(shop.settings.raw, shop.root / "older.duckdb")
    shutil.copytree(shop.settings.pipelines / "shop", shop.root / "older")
    if change in (restored_raw, another_state):
        tables = {"orders": {"primary_key": "id"}, "lines": {}, "late": {"table": "lines"}}
        shop.declare("shop", {"kind": "database", "connection": "shop"}, tables)
        assert shop.load().rows == 1
    change(shop)
    through_dlt.clear()
    first = shop.load("shop")
    assert first.error == ""
    assert through_dlt == ["shop"]
    columns = [name for name in shop.types("shop.orders") if name not in ("_loaded_at", "_load_id")]
    assert columns == orders
    assert shop.raw("select count(*) from shop.orders") == [(2,)]
    assert shop.raw("select count(*) from shop.lines") == [(lines,)]
    shop.load("shop")
    through_dlt.clear()
    assert shop.load("shop").rows == 0
    # dlt does not bring a state to raw again that it has brought once, so a restored raw stays without it
    assert through_dlt == (["shop"] if change is restored_raw else [])


def test_a_table_that_is_gone_is_an_error(shop: Project, through_dlt: list[str]) -> None:
    query(shop, "drop table lines")
    through_dlt.clear()
    outcome = shop.load()
    assert "shop.lines" in outcome.error
    assert through_dlt == ["shop"]
    assert shop.raw("select count(*) from shop.lines") == [(1,)]
    query(shop, "create table lines (id integer, v text)")
    query(shop, "insert into lines values (1, 'a')")
    assert (shop.load().rows, shop.load().error) == (0, "")


def test_a_table_without_any_row_is_warned_of_each_time(shop: Project) -> None:
    query(shop, "delete from lines")
    warnings = [shop.load()["lines"].warnings for _ in range(3)]
    assert warnings[0]
    assert warnings[0] == warnings[1] == warnings[2]


def test_a_full_refresh_reads_all_again(shop: Project, through_dlt: list[str]) -> None:
    through_dlt.clear()
    assert shop.load(full_refresh=True).rows == 6
    assert sorted(through_dlt) == ["files", "shop"]


def test_a_damaged_state_is_said(shop: Project, through_dlt: list[str]) -> None:
    for name in ("state.json", "schemas/shop.schema.json"):
        file = shop.settings.pipelines / "shop" / name
        text = file.read_text()
        file.write_text(text[: len(text) // 2])
        through_dlt.clear()
        assert str(file) in shop.load().error
        assert through_dlt == ["shop"]
        file.write_text(text)
    assert (shop.load().rows, shop.load().error) == (0, "")


@pytest.mark.parametrize("place", ["normalize/extracted", "load/normalized"])
def test_a_package_that_waits_comes_first(shop: Project, through_dlt: list[str], place: str) -> None:
    """Also one that has lost its files: dlt lists it, and a source that can be read once only is not read before."""
    (shop.settings.pipelines / "shop" / place / "1700000000.5").mkdir(parents=True)
    through_dlt.clear()
    outcome = shop.load()
    assert (outcome.rows, outcome.error) == (0, "")
    assert through_dlt == ["shop"]
    assert shop.raw("select count(*) from shop.orders") == [(2,)]
    shop.load()
    through_dlt.clear()
    assert shop.load().rows == 0
    assert through_dlt == []


def test_a_row_that_was_bad_arrives_well(shop: Project, through_dlt: list[str]) -> None:
    types = {"notes": {"id": "bigint"}}
    shop.declare(
        "typed", {"kind": "files", "url": "data"}, {"notes": FILES["notes"] | {"tolerance": 1}}, types
    )
    write(shop, "b.csv", "x,c")
    assert shop.load("typed")["notes"].quarantined == 1
    write(shop, "b.csv", "33,c")
    assert shop.load("typed").rows == 1
    assert shop.raw("select count(*) from typed.notes__quarantine") == [(0,)]
    settles(shop, "typed", through_dlt)


def test_rows_of_a_file_that_is_empty_now_are_deleted_once(shop: Project, through_dlt: list[str]) -> None:
    write(shop, "b.csv")
    shop.load("files")
    assert shop.raw("select id from files.notes order by id") == [("1",), ("2",)]
    settles(shop, "files", through_dlt)


def settles(project: Project, source: str, through_dlt: list[str]) -> None:
    """Steps that a load took after its commit are taken once more, in case they were not, and then no more."""
    first = project.load(source)
    assert (first.rows, first.error) == (0, "")
    assert [table.is_altered for table in first.sources[0].tables] == [True]
    before = raw(project, source)
    through_dlt.clear()
    second = project.load(source)
    assert (second.rows, second.error, through_dlt) == (0, "", [])
    assert [table.is_altered for table in second.sources[0].tables] == [False]
    assert raw(project, source) == before


def test_files_that_changed_are_loaded(shop: Project, through_dlt: list[str]) -> None:
    write(shop, "a.csv", "1,a", "2,changed")
    through_dlt.clear()
    assert shop.load().rows == 1
    assert through_dlt == ["files"]
    (shop.root / "data" / "b.csv").unlink()
    assert shop.load().error == ""
    assert shop.load("files").rows == 0


def test_one_source_with_something_new_among_others(shop: Project, through_dlt: list[str]) -> None:
    query(shop, "update orders set v = 'z' where id = 2")
    books = {name: shop.raw(f"select count(*) from files.{name}") for name in BOOKS}
    through_dlt.clear()
    outcome: Outcome = shop.load()
    assert outcome.rows == 1
    assert through_dlt == ["shop"]
    assert {name: shop.raw(f"select count(*) from files.{name}") for name in BOOKS} == books
    assert shop.raw("select v from shop.orders order by id") == [("a",), ("z",)]
