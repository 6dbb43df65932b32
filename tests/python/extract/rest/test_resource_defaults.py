"""A source's resource_defaults count for each of its tables wherever a declaration is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.config.sources import read_sources
from sluice.extract import rest
from tests.python.extract.rest.api import Answer, Api
from tests.python.project import Project

SINCE = {
    "endpoint": {
        "data_selector": "$",
        "params": {"since": "{incremental.start_value}", "size": 100},
        "incremental": {"cursor_path": "at", "initial_value": 0},
    }
}


@pytest.fixture
def events(api: Api) -> list[dict[str, Any]]:
    """What the API has; it gives what is not before `since`."""
    rows = [{"id": n, "at": n * 10} for n in range(1, 5)]
    api.answer = lambda request: Answer([r for r in rows if r["at"] >= int(request.query["since"])])
    return rows


def project(api: Api, folder: Path, table: dict[str, Any], defaults: dict[str, Any] = SINCE) -> Project:
    made = Project(folder)
    client = {"base_url": api.url, "paginator": "single_page"}
    load = {"kind": "rest", "client": client, "resource_defaults": defaults}
    made.declare("api", load, {"events": {"endpoint": {"path": "events"}, **table}})
    return made


def test_a_range_can_be_loaded(api: Api, events: list[dict[str, Any]], tmp_path: Path) -> None:
    made = project(api, tmp_path, {"primary_key": "id"})
    assert made.load().errors == []
    for row in events:
        row["note"] = "new"
    outcome = made.load(window=("20", "40"))
    assert outcome.errors == []
    assert api.requests[-1].query["since"] == "20"
    assert made.raw("select id from api.events where note = 'new' order by id") == [(2,), (3,)]


def test_new_records_without_a_key_add_to_those_before(
    api: Api, events: list[dict[str, Any]], tmp_path: Path
) -> None:
    made = project(api, tmp_path, {})
    assert made.load().errors == []
    events[:] = [{"id": 5, "at": 50}]
    assert made.load().errors == []
    assert made.raw("select id from api.events order by id") == [(1,), (2,), (3,), (4,), (5,)]


def test_a_tables_own_keys_come_first(api: Api, events: list[dict[str, Any]], tmp_path: Path) -> None:
    own = {"path": "events", "params": {"size": 5}, "incremental": {"cursor_path": "at", "initial_value": 30}}
    made = project(api, tmp_path, {"endpoint": own})
    assert made.load().errors == []
    assert made.raw("select id from api.events order by id") == [(3,), (4,)]
    assert api.requests[-1].query == {"since": "30", "size": "5"}


def test_a_mark_of_deleted_rows_needs_a_key_here_too(api: Api, tmp_path: Path) -> None:
    made = project(api, tmp_path, {"soft_delete": "gone"})
    _, (problem,) = read_sources(made.settings.sources)
    assert problem.where == "api.events.config.meta.load.soft_delete"
    assert problem.file.read_text().splitlines()[problem.line - 1].strip() == "soft_delete: gone"
    assert "soft_delete needs a primary_key" in problem.message


@pytest.mark.parametrize("wrong", [{"data_selctor": "x"}, {"params": {"a": {"type": "b"}}}])
def test_a_mistake_is_reported_once(api: Api, tmp_path: Path, wrong: dict[str, Any]) -> None:
    made = project(api, tmp_path, {}, {"endpoint": wrong})
    sources, problems = read_sources(made.settings.sources)
    assert problems == []
    (found,) = rest.problems(sources[0])
    assert found.where.startswith("api.resource_defaults.endpoint.")
    assert made.load().error.count("See `sluice check`") == 1


@pytest.mark.parametrize("defaults", [{"endpoint": "events"}, {"endpoint": {"params": "x"}}])
def test_defaults_of_a_wrong_type_are_a_mistake_of_theirs(
    api: Api, tmp_path: Path, defaults: dict[str, Any]
) -> None:
    made = project(api, tmp_path, {}, defaults)
    sources, problems = read_sources(made.settings.sources)
    assert problems == []
    found = rest.problems(sources[0])
    assert found
    assert all(p.where.startswith("api.resource_defaults.endpoint") for p in found)
