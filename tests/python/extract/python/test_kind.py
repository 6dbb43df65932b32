"""The python kind as its page shows it: the example runs, checking imports nothing, and dicts may lack keys."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from sluice.config.sources import read_sources
from tests.python.project import Outcome, Project

PAGE = Path(__file__).parents[4] / "docs/sources/python.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def test_the_example_of_the_page_is_checked_and_loaded(tmp_path: Path) -> None:
    """In a process of its own, from a sub-folder, with nothing on the path but the engine."""
    project = Project(tmp_path)
    (tmp_path / "sources" / "weather.yml").write_text(blocks("yaml")[0])
    code = blocks("python")[0]
    file = re.match(r"# (\S+\.py)", code)
    assert file, "the example says which file it is"
    (tmp_path / file[1]).parent.mkdir(parents=True)
    (tmp_path / file[1]).write_text(code)
    engine = str(Path(__file__).parents[4] / "pipelines")
    checked = project.sluice("check", PYTHONPATH=engine)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr
    loaded = project.sluice("load", PYTHONPATH=engine, CONNECTIONS__WEATHER__API_KEY="canary")
    assert loaded.returncode == 0, loaded.stderr
    assert "canary" not in loaded.stdout + loaded.stderr
    (rows, stations), *_ = project.raw("select count(*), count(distinct station) from weather.days")
    assert rows > stations > 1
    again = project.sluice("load", PYTHONPATH=engine, CONNECTIONS__WEATHER__API_KEY="canary")
    assert again.returncode == 0, again.stderr
    assert project.raw("select count(*) from weather.days") == [(rows,)]


CODE = """
import flask_of_another_planet
from elsewhere import imported
import dlt
print("canary: this module runs")
{"ok": 1}["broken"]
limit = 5

def days(key, stations=(), *, since=None): ...
@dlt.resource(name="x")
async def hours(key=dlt.secrets.value): ...
@cached
def wrapped(anything): ...
def open_ended(**more): ...
made = dlt.resource(days)
first, second = make_two()
annotated: object = make_two()[0]
class Things: ...
if flask_of_another_planet:
    def conditional(): ...
else:
    other = 1
try:
    tried = make()
except ImportError:
    tried = None
with opened() as handle:
    inside = handle.read()
for looped in (1, 2):
    pass
def days_of_month(): ...
"""
FOUND = [
    "days",
    "hours",
    "wrapped",
    "open_ended",
    "made",
    "first",
    "second",
    "annotated",
    "Things",
    "conditional",
]
FOUND += ["tried", "inside", "handle", "imported"]
ARGUMENTS = {"days": {"key": 1}, "hours": {}, "open_ended": {"whatever": 1}, "wrapped": {"no": 1}}
WRONG: list[tuple[str, dict[str, Any] | None, str]] = [
    ("pipelines.odd.dayz", None, "is 'pipelines.odd.dayz': pipelines/odd.py has no function 'dayz'; its functions are"),
    ("pipelines.odd.dayz", None, "its functions are days, hours, wrapped, open_ended, conditional, days_of_month. Did you mean days"),
    ("pipelines.odd.limit", None, "limit in pipelines/odd.py is a value, not a function"),
    ("pipelines.ood.days", None, "there is no pipelines/ood.py in the project, and no installed package has the module 'pipelines.ood'. Did you mean pipelines.odd"),
    ("ingest.weather.days", None, "there is no ingest/weather.py in the project"),
    ("pipelines.deep.days", None, "pipelines.deep is a folder, not a file with functions"),
    ("pipelines.broken.days", None, "pipelines/broken.py:1 is not valid Python"),
    ("days", None, "write module.function: "),
    ("pipelines.odd days", None, "write module.function: "),
    ("pipelines/odd.py", None, "write module.function: "),
    ("pipelines.odd.days", {"key": 1, "station": 2}, "days in pipelines/odd.py has no parameter 'station'; it takes key, stations, since. Did you mean stations?"),
    ("pipelines.odd.days", {}, "lack key, which days in pipelines/odd.py needs"),
]  # fmt: skip


def problem(project: Project, resource: str, arguments: dict[str, Any] | None = None) -> str:
    """What `read_sources` says of a table with this resource; empty if it finds nothing wrong."""
    keys = {"resource": resource, "arguments": arguments or {}}
    project.declare("own", {"kind": "python"}, {"things": keys})
    sources, problems = read_sources(project.settings.sources)
    assert len(sources) + len(problems) == 1
    for p in problems:
        line = p.file.read_text().splitlines()[p.line - 1].strip()
        assert line == f"resource: {resource}" or (
            line.startswith("arguments:") and p.where.endswith("arguments")
        )
    return "".join(p.message for p in problems)


def test_functions_are_found_without_importing_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(tmp_path)
    (tmp_path / "pipelines" / "deep").mkdir(parents=True)
    (tmp_path / "pipelines" / "odd.py").write_text(CODE)
    (tmp_path / "pipelines" / "deep" / "deeper.py").write_text("def days(): ...\n")
    (tmp_path / "pipelines" / "all_of_odd.py").write_text("from .odd import *\n")
    (tmp_path / "pipelines" / "broken.py").write_text("def days(:\n")
    (tmp_path / "ingest.py").write_text("def days(): ...\n")
    for name in FOUND:
        assert problem(project, f"pipelines.odd.{name}", ARGUMENTS.get(name)) == "", name
    for resource in (
        "pipelines.deep.deeper.days",
        "deep.deeper.days",
        "ingest.days",
        "pipelines.all_of_odd.any",
    ):
        assert problem(project, resource) == "", resource
    assert problem(project, "dlt.sources.rest_api.rest_api_source", {"config": {}}) == ""
    for resource, arguments, message in WRONG:
        assert message in problem(project, resource, arguments), resource
    assert "canary" not in capsys.readouterr().out


PARTIAL: dict[str, tuple[dict[str, Any], str]] = {
    "cursor_of_dlt": ({"primary_key": "id"}, "at=dlt.sources.incremental('id', initial_value=0)"),
    "state_of_dlt": ({"primary_key": "id"}, "state=None"),
    "cursor": ({"primary_key": "id", "cursor": "id"}, ""),
    "appended": ({"write_disposition": "append"}, ""),
}
"""Tables of which a load brings only what is new: their keys, and the parameter of their function."""
WHOLE: dict[str, tuple[dict[str, Any], str]] = {"replaced": ({}, ""), "merged": ({"primary_key": "id"}, "")}
TABLES = {
    f"{name}{ending}": (case, is_declared, name in WHOLE)
    for name, case in (PARTIAL | WHOLE).items()
    for ending, is_declared in (("", False), ("_declared", True))
}


def load_rows(project: Project, rows: str, whole: str = "") -> Outcome:
    """One load of every table; functions that read the whole yield the rows `whole`, too."""
    code = ["import dlt", "import pyarrow as pa"]
    for name, ((_, parameter), _, is_whole) in TABLES.items():
        code += [f"def {name}({parameter}):"]
        code += ["    dlt.current.resource_state()['runs'] = 1"] if parameter == "state=None" else []
        code += [f"    yield from [{whole if is_whole else ''}{rows}]"]
    (project.root / "optional_keys.py").write_text("\n".join(code))
    sys.modules.pop("optional_keys", None)
    return project.load()


def test_dicts_may_lack_keys(tmp_path: Path) -> None:
    project = Project(tmp_path)
    tables = {name: {"resource": f"optional_keys.{name}", **keys} for name, ((keys, _), *_) in TABLES.items()}
    declared = {
        name: {"id": "bigint", "opt": "text"} for name, (_, is_declared, _) in TABLES.items() if is_declared
    }
    project.declare("own", {"kind": "python"}, tables, declared)
    # an empty batch first, then one without the key, then one with it
    assert load_rows(project, "[], {'id': 1}, [{'id': 2, 'opt': 'b'}]").errors == []
    for name in TABLES:
        assert project.raw(f"select id, opt from own.{name} order by id") == [(1, None), (2, "b")], name

    outcome = load_rows(project, "{'id': 3}, {'id': 4, 'more': True}", whole="{'id': 1}, {'id': 2}, ")
    for name, (_, is_declared, is_whole) in TABLES.items():
        if is_whole and not is_declared:
            assert f"own.{name}: the source no longer has opt" in (outcome[name].error or "")
            assert "a key that dicts may lack is declared with its data_type" in (outcome[name].error or "")
            continue
        assert outcome[name].error is None
        expected = [(1, None, None), (2, None if is_whole else "b", None), (3, None, None), (4, None, True)]
        assert project.raw(f"select id, opt, more from own.{name} order by id") == expected, name

    outcome = load_rows(project, "pa.table({'id': [5]}), {'id': 6, 'opt': 'f'}, pa.table({'id': [7]})")
    for name, (_, _, is_whole) in TABLES.items():
        if not is_whole:
            assert outcome[name].error is None
            rows = project.raw(f"select id, opt, more from own.{name} where id > 4 order by id")
            assert rows == [(5, None, None), (6, "f", None), (7, None, None)], name


def test_what_only_a_load_can_see(tmp_path: Path) -> None:
    """Dicts without their key are bad rows; a value that is assigned while the module runs is refused in words."""
    project = Project(tmp_path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "its_neighbour.py").write_text("nothing = None\n")
    (tmp_path / "pipelines" / "seen_late.py").write_text(
        "import its_neighbour\nrows = dict(a=1)\ndef keyless():\n    yield from [{'v': 1}, {'v': 2}]\n"
    )
    project.declare(
        "own",
        {"kind": "python"},
        {
            "things": {"resource": "seen_late.rows"},
            "keyless": {"resource": "pipelines.seen_late.keyless", "primary_key": "id"},
        },
    )
    outcome = project.load()
    value = "own.things: seen_late.rows is a value of the type dict, not a function or a dlt resource"
    assert outcome["things"].error == value
    assert "own.keyless: 2 row(s) have no value in the primary key" in (outcome["keyless"].error or "")
