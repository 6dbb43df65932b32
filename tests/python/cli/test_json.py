"""`--json`: one object on standard output, with exactly the keys that docs/cli.md lists."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sluice.cli import documents
from sluice.cli.env import of_environments
from sluice.config.settings import Settings
from sluice.dbt.preview import Preview
from sluice.discover.contract import DiscoveredColumn, DiscoveredSource, DiscoveredTable, Relationship, Target
from sluice.discover.differences import Difference
from sluice.discover.model_files import Saved
from sluice.discover.project_files import Written
from sluice.discover.run import Discovery
from sluice.load.results import SourceResult, TableResult
from sluice.publish.publication import Published, Rotated
from sluice.publish.versions import PublishedAudience, PublishedTable, Version
from sluice.review.findings import stop
from sluice.review.result import Review
from sluice.runs.status import SourceStatus
from sluice.runs.store import Build, LoadRecord, RunStore
from sluice.scaffold.adopt import ProposedFile
from sluice.scaffold.names import Names
from sluice.upgrade.plan import UpgradePlan
from sluice.upgrade.project_files import FileChange
from sluice.workflow.environments import environment_statuses
from tests.python.project import Project

CLI = Path(__file__).parents[3] / "docs" / "cli.md"
NOW = datetime(2026, 10, 1, tzinfo=UTC)
TABLE = PublishedTable(
    model="model.x.y", rows=1, fingerprint="", columns={}, classed={}, condition=None, rows_in_warehouse=1
)
AUDIENCE = PublishedAudience(format="duckdb", is_encrypted=False, tables={"y": TABLE})
VERSION = Version(
    version="v",
    created_at=NOW,
    run_id=None,
    git_commit=None,
    load_packages={},
    tests={},
    audiences={"a": AUDIENCE},
)
FINDING = stop("column-gone", "orders.amount", "is gone")


NEW = Difference("new table", "shop.orders", "is new", 1)
NAMES = Names(Path("acme"), "acme", "Acme")


def _discovery() -> Discovery:
    """A system with one of everything that is listed."""
    table = DiscoveredTable("orders", [DiscoveredColumn("id", "integer")], None)
    source = DiscoveredSource("shop", {}, [table], skipped={"log": "no rights"})
    between = Relationship(("shop", "orders"), ("id",), ("crm", "orders"), ("id",), 1.0, "same values")
    return Discovery(source, Target("shop", "database", "shop.db", None), [between])


def _documents(folder: Path) -> dict[str, dict[str, Any]]:
    """One document per command, with at least one entry in each list of objects."""
    store = RunStore(folder / "ledger.sqlite")
    store.end(store.begin("load"), "ok")
    store.record(LoadRecord("r", "crm", "contacts", NOW, NOW, "loaded"))
    build = Build("b", "build", NOW.isoformat(), NOW.isoformat())
    store.record_build(build, {}, {}, {"model.acme.orders": "its SQL has changed"})
    kept = store.builds_between("", "")
    settings = Settings(folder, folder)
    return {
        "status": documents.of_status(
            [SourceStatus("crm", NOW, "fresh", 1, timedelta(hours=1), None, ("a",), ("b",))]
        ),
        "runs": documents.of_runs(store.runs(1)),
        "runs show": documents.of_run(store.runs(1)[0], store.loads_of("r"), kept),
        "env": of_environments(settings, environment_statuses(settings)),
        "load": documents.of_loads([SourceResult("crm", [TableResult("contacts")], 1.0)]),
        "publish": documents.of_published(
            settings,
            Published("v", {"a": ["y"]}, {"a": AUDIENCE}, {"orders": "a test failed"}, unread={"a": []}),
        ),
        "publish --versions": documents.of_versions([VERSION], "v"),
        "publish --rollback": {"version": "v"},
        "publish --rotate-key": documents.of_rotated("a", Rotated(["v"], "nothing")),
        "show": documents.of_preview(Preview("a", "models/a.sql", "select 1", "", ("b",), [("1",)], [])),
        "new": documents.of_new_project(NAMES, ["README.md"]),
        "adopt": documents.of_adopted(["models: 1"], [ProposedFile("a.yml", "", None, "a")], written=True),
        "discover": {
            **documents.of_discovered(
                settings, _discovery(), Written(folder / "s.yml", True, differences=[NEW]), write=False
            ),
            "models": documents.of_models(settings, Saved()),
        },
        "upgrade": documents.of_upgrade(
            settings, UpgradePlan((FileChange("a", None, b"", ""),), None, (), ()), "0", None
        ),
        "review": documents.of_review(Review("main", "abc", findings=[FINDING], lint=[FINDING])),
    }


def _documented() -> dict[str, set[str]]:
    """Keys by command from the table, each with the list it is in before it: `sources[].tables[].table`."""
    found = {}
    for command, cell in re.findall(r"^\| `([a-z -]+)` \| (`[^|]+) \|$", CLI.read_text(), re.M):
        keys = set()
        for part in re.sub(r"\([^)]*\)", "", cell).split(";"):
            before, colon, names = part.rpartition(":")
            prefix = f"{before.strip(' `')}." if colon else ""
            keys |= {prefix + name.removesuffix("[]") for name in re.findall(r"`([a-z_\[\]]+)`", names)}
        found[command] = keys
    return found


def _keys(value: Any, prefix: str = "") -> set[str]:
    found = set()
    for key, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            found |= set.union(*(_keys(entry, f"{prefix}{key}[].") for entry in inner))
        else:
            found.add(prefix + key)
    return found


def test_the_keys_are_those_the_documentation_lists(tmp_path: Path) -> None:
    shown = {command: _keys(document) for command, document in _documents(tmp_path).items()}
    assert shown == _documented()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    with sqlite3.connect(project.root / "till.db") as con:
        con.executescript("create table sales (id int); insert into sales values (1)")
    project.declare("till", {"kind": "database", "connection": "till"}, {"sales": {}, "missing": {}})
    project.connect("till", url="sqlite:///till.db")
    return project


def test_standard_output_is_one_object(project: Project) -> None:
    load = project.sluice("load", "--json")
    loaded = json.loads(load.stdout)
    assert (load.returncode, loaded["status"]) == (1, "failed")
    assert {t["table"]: (t["status"], t["rows"]) for t in loaded["sources"][0]["tables"]} == {
        "sales": ("loaded", 1),
        "missing": ("failed", 0),
    }
    assert "load till: 1 rows" in load.stderr
    status = project.sluice("status", "--json")
    assert [s["state"] for s in json.loads(status.stdout)["sources"]] == ["failed"]
    runs = json.loads(project.sluice("runs", "--json").stdout)["runs"]
    assert [(run["command"], run["status"], run["rows"], run["failed"]) for run in runs] == [
        ("load", "failed", 1, 1)
    ]


def test_what_was_discovered(project: Project) -> None:
    """Proposals with their reasons; the file that is written is the same as without the option."""
    done = project.sluice("discover", "till.db", "--name", "shop", "--json")
    found = json.loads(done.stdout)
    assert (found["source"], found["file"], found["status"]) == ("shop", "sources/shop.yml", "new")
    (table,) = found["tables"]
    assert (table["table"], table["rows"], table["columns"][0]["column"]) == ("sales", 1, "id")
    assert (project.root / found["file"]).is_file()
    with sqlite3.connect(project.root / "till.db") as con:
        con.execute("alter table sales add column price int")
    again = json.loads(project.sluice("discover", "shop", "--json").stdout)
    assert (again["status"], again["models"]) == ("differs", None)
    assert [one["what"] for one in again["differences"]] == ["new column"]
    assert "+" in again["patch"]


def test_without_a_result_there_is_no_object(project: Project) -> None:
    done = project.sluice("load", "nothing", "--json")
    assert (done.returncode, done.stdout) == (3, "")
