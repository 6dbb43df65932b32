"""A build is left out without dbt only if project, raw and warehouse are as they were, and all had passed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import duckdb
import pytest

from sluice.build.project_files import project_digest
from sluice.build.unchanged import unchanged
from sluice.config.environments import Environment
from sluice.config.settings import Settings
from sluice.dbt import run_results
from sluice.dbt.build_state import BuildState, NodeState, keep_state, read_state
from sluice.engine.file_state import file_state
from sluice.engine.raw_versions import RawVersions

SOURCE, MODEL = "source.small.shop.orders", "model.small.one"


@pytest.fixture
def built(small: Settings) -> Settings:
    """A project all of which is built, and a raw whose versions are kept."""
    for file in (small.raw, small.warehouse):
        duckdb.connect(str(file)).close()
    (small.home / run_results.KEPT).write_text("{}", encoding="utf-8")
    (small.root / "models" / "one.sql").write_text('select \'{{ env_var("ONE", "") }}\'', encoding="utf-8")
    RawVersions(small.raw).keep([("shop", "orders")], "1")
    _keep(small, NodeState("", "", {SOURCE: RawVersions(small.raw).version("shop", "orders")}, "1", ""))
    return small


def _keep(settings: Settings, node: NodeState) -> None:
    state = BuildState(nodes={MODEL: node}, sources={SOURCE: ["shop", "orders"]})
    state.project, state.files = project_digest(settings, {})
    keep_state(settings, state)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _execute(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        con.execute("create table another as select 1 as id")


def _link_a_package(settings: Settings) -> None:
    _write(settings.root.parent / "package" / "macros" / "m.sql", "{% macro m() %}{% endmacro %}")
    (settings.root / "dbt_packages").mkdir()
    (settings.root / "dbt_packages" / "package").symlink_to(settings.root.parent / "package")


HAPPENINGS: dict[str, Callable[[Settings], object]] = {
    "a model": lambda s: _write(s.root / "models" / "one.sql", "select 2"),
    "a new file": lambda s: _write(s.root / "seeds" / "rates.csv", "a\n1\n"),
    "a macro": lambda s: _write(s.root / "macros" / "m.sql", "{% macro m() %}{% endmacro %}"),
    "a package": lambda s: _write(s.root / "dbt_packages" / "p" / "macros" / "m.sql", "{% macro m() %}{% endmacro %}"),
    "a linked package": _link_a_package,
    "packages.yml": lambda s: _write(s.root / "packages.yml", "packages: []"),
    "vars.yml": lambda s: _write(s.root / "vars.yml", "vars: {a: 1}"),
    "selectors.yml": lambda s: _write(s.root / "selectors.yml", "selectors: []"),
    "the profile": lambda s: _write(s.root / "profiles.yml", (s.root / "profiles.yml").read_text() + "# threads\n"),
    "the project file": lambda s: _write(
        s.root / "dbt_project.yml", (s.root / "dbt_project.yml").read_text() + "vars: {a: 1}\n"
    ),
    "the environment": lambda s: os.environ.update(ONE="2"),
    "a variable of dbt's": lambda s: os.environ.update(DBT_FULL_REFRESH="1"),
    "the warehouse": lambda s: _execute(s.warehouse),
    "a log of the warehouse": lambda s: _write(s.warehouse.with_name("warehouse.duckdb.wal"), ""),
    "raw by hand": lambda s: _execute(s.raw),
    "a load": lambda s: RawVersions(s.raw).keep([("shop", "orders")], "2"),
    "a load of the schema": lambda s: RawVersions(s.raw).keep([("shop", "")], "2"),
    "no results": lambda s: (s.home / run_results.KEPT).unlink(),
    "no state": lambda s: (s.home / "build_state.json").write_text("{}"),
    "no warehouse": lambda s: s.warehouse.unlink(),
    "no versions of raw": lambda s: (s.home / "raw.versions.json").unlink(),
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONE", "DBT_FULL_REFRESH"):
        monkeypatch.setenv(name, "0")  # what a case sets is taken back


@pytest.mark.parametrize("what", HAPPENINGS)
def test_what_changes_is_noticed(built: Settings, what: str) -> None:
    assert unchanged(built)
    HAPPENINGS[what](built)
    assert unchanged(built) is None


def test_a_load_of_another_table_and_a_touched_file_change_nothing(built: Settings) -> None:
    RawVersions(built.raw).keep([("shop", "products"), ("web", "")], "2")
    os.utime(built.root / "models" / "one.sql")
    assert unchanged(built)


def test_what_may_differ_is_good_enough_for_its_time(built: Settings) -> None:
    now = datetime.now(UTC)
    for until, is_left in (("", False), (now - timedelta(1), False), (now + timedelta(1), True)):
        text = until if isinstance(until, str) else until.isoformat()
        _keep(built, NodeState("", "", {}, "1", "", differs="now() is another", until=text))
        assert bool(unchanged(built)) is is_left


def test_a_project_that_may_read_any_variable_has_no_digest(built: Settings) -> None:
    _write(built.root / "models" / "two.sql", "select '{{ env_var(name) }}'")
    assert project_digest(built, {})[0] == ""


def test_a_version_of_dbt_or_another_target_is_another_project(
    built: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project_digest(built, {})[0]
    monkeypatch.setattr("sluice.build.project_files.version", lambda name: f"{name} 0")
    after = project_digest(built, {})[0]
    ci = cast("Environment", SimpleNamespace(name="ci", profile=built.profile, home=built.home))
    assert len({before, after, project_digest(replace(built, environment=ci), {})[0]}) == 3


def test_a_build_that_is_not_whole_leaves_no_digest(built: Settings) -> None:
    state = read_state(built.home)
    state.project = ""
    keep_state(built, state)
    assert unchanged(built) is None


def test_versions_of_a_raw_that_something_else_changed_are_others(built: Settings) -> None:
    """As after a load that was killed: nothing of what was known counts."""
    before = RawVersions(built.raw)
    assert before.is_known
    _execute(built.raw)
    after = RawVersions(built.raw)
    assert not after.is_known
    assert after.version("shop", "orders") != before.version("shop", "orders")
    after.keep((), "")
    assert RawVersions(built.raw).version("shop", "orders") == after.version("shop", "orders")


def test_versions_of_other_tables_stay(built: Settings) -> None:
    before = RawVersions(built.raw).version("shop", "orders")
    RawVersions(built.raw).keep([("shop", "products")], "2")
    assert RawVersions(built.raw).version("shop", "orders") == before


def test_a_file_put_back_with_another_content_has_another_state(built: Settings) -> None:
    before, about = file_state(built.warehouse), built.warehouse.stat()
    _execute(built.warehouse)
    os.utime(built.warehouse, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert file_state(built.warehouse) not in ("", before)


def test_another_header_is_another_state(built: Settings) -> None:
    """Also with the size and the time as before."""
    before, about = file_state(built.warehouse), built.warehouse.stat()
    with built.warehouse.open("r+b") as opened:
        opened.seek(2 * 4096 + 8)
        opened.write(b"changed")
    os.utime(built.warehouse, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert file_state(built.warehouse) != before


def test_another_time_is_another_state(built: Settings) -> None:
    before = file_state(built.warehouse)
    os.utime(built.warehouse, ns=(1, 1))
    assert file_state(built.warehouse) != before
