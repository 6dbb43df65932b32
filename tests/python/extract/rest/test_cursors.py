"""Incremental loads: where the next one continues, ranges, and how cursor values compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.extract import rest
from tests.python.extract.rest.api import (
    PAGES,
    Answer,
    Api,
    Request,
    declaration,
    failure,
    records,
)
from tests.python.extract.rig import declare, run

STORE = [{"id": n, "updated": f"2026-09-{n:02} 00:00:00Z"} for n in range(1, 6)]


def since(request: Request) -> Answer:
    begin = request.query.get("since", "")
    return Answer([row for row in STORE if str(row["updated"]) >= begin])


@pytest.mark.parametrize(
    "endpoint",
    [
        {
            "path": "things",
            "params": {"since": "{incremental.start_value}"},
            "incremental": {"cursor_path": "updated", "initial_value": "2026-09-02 00:00:00Z"},
        },
        {
            "path": "things",
            "incremental": {
                "cursor_path": "updated",
                "initial_value": "2026-09-02 00:00:00Z",
                "start_param": "since",
            },
        },
        {
            "path": "things",
            "params": {
                "since": {
                    "type": "incremental",
                    "cursor_path": "updated",
                    "initial_value": "2026-09-02 00:00:00Z",
                }
            },
        },
    ],
    ids=["placeholder", "start_param", "param"],
)
def test_a_cursor_goes_on_at_its_last_value_included(
    api: Api, tmp_path: Path, endpoint: dict[str, Any]
) -> None:
    api.answer = since
    tables = {"things": {"primary_key": "id", "endpoint": endpoint}}
    assert rest.check(declare(declaration(api.url, tables), tmp_path)) == []
    assert [r["id"] for r in records(run(rest.extract, declaration(api.url, tables), tmp_path))] == [
        2,
        3,
        4,
        5,
    ]
    # rows that share the last value come again, for one of them may have been late
    second = run(rest.extract, declaration(api.url, tables), tmp_path)
    assert [r["id"] for r in records(second)] == [5]
    assert api.requests[-1].query["since"] == "2026-09-05 00:00:00Z"
    refused = run(rest.extract, declaration(api.url, tables), tmp_path, full_refresh=True)
    assert [r["id"] for r in records(refused)] == [2, 3, 4, 5]


def test_a_load_that_breaks_off_leaves_the_cursor(api: Api, tmp_path: Path) -> None:
    table = {
        "path": "things",
        "data_selector": "items",
        "paginator": {"type": "page_number", "base_page": 0, "total_path": "pages"},
        "incremental": {"cursor_path": "id", "initial_value": 0},
    }
    tables = {"things": {"primary_key": "id", "endpoint": table}}

    def broken(request: Request) -> Answer:
        page = int(request.query["page"])
        return Answer({"items": PAGES[page], "pages": 3}) if page < 2 else Answer({}, 403)

    api.answer = broken
    assert "answered 403" in failure(run(rest.extract, declaration(api.url, tables), tmp_path))
    api.answer = lambda request: Answer({"items": PAGES[int(request.query["page"])], "pages": 3})
    assert len(records(run(rest.extract, declaration(api.url, tables), tmp_path))) == 5


def test_a_window_reads_a_range_and_leaves_the_cursor(api: Api, tmp_path: Path) -> None:
    api.answer = since
    endpoint = {
        "path": "things",
        "params": {"since": "{incremental.start_value}"},
        "incremental": {"cursor_path": "updated", "initial_value": "2026-09-01 00:00:00Z"},
    }
    source = declaration(api.url, {"things": {"primary_key": "id", "endpoint": endpoint}})
    run(rest.extract, source, tmp_path)
    window = run(rest.extract, source, tmp_path, window=("2026-09-02", "2026-09-04 00:00:00Z"))
    assert [r["id"] for r in records(window)] == [2, 3]
    open_end = run(rest.extract, source, tmp_path, window=("2026-09-04", None))
    assert [r["id"] for r in records(open_end)] == [4, 5]
    assert [r["id"] for r in records(run(rest.extract, source, tmp_path))] == [5]


@pytest.mark.parametrize("has_key", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        # an API that leaves out a fraction of zero, and one that tells times in several zones
        ["2026-09-01T00:00:00Z", "2026-09-01T00:00:00.5Z", "2026-09-01T00:00:01Z", "2026-09-01T00:00:01.25Z"],
        [
            "2026-09-01T02:00:00+02:00",
            "2026-09-01T00:30:00Z",
            "2026-08-31T20:31:00-04:00",
            "2026-09-01 00:32",
        ],
        ["9", "10", "101"],
        ["b", "c", "ca"],
    ],
    ids=["fractions", "zones", "numbers", "texts"],
)
def test_a_cursor_rises_by_what_its_texts_mean(
    api: Api, tmp_path: Path, values: list[str], has_key: bool
) -> None:
    rows: list[dict[str, Any]] = []
    api.answer = lambda request: Answer(rows)
    endpoint = {
        "path": "things",
        "data_selector": "$",
        "incremental": {"cursor_path": "at", "initial_value": values[0], "start_param": "since"},
    }
    source = declaration(
        api.url, {"things": {"endpoint": endpoint, **({"primary_key": "id"} if has_key else {})}}
    )
    for number, value in enumerate(values):
        rows.append({"id": number, "at": value})
        read = [row["id"] for row in records(run(rest.extract, source, tmp_path))]
        assert number in read
        assert len(read) <= 2  # those at the last value may come again, those before it not
        assert number == 0 or api.requests[-1].query["since"] == values[number - 1]
    if has_key:
        window = run(rest.extract, source, tmp_path, window=(values[1], values[2]))
        assert [row["id"] for row in records(window)] == [1]


def test_a_lag_steps_back_from_the_latest_time(api: Api, tmp_path: Path) -> None:
    api.answer = lambda request: Answer(
        [{"id": 1, "at": "2026-09-01T00:00:20.5Z"}, {"id": 2, "at": "2026-09-01T00:00:20Z"}]
    )
    endpoint = {
        "path": "things",
        "data_selector": "$",
        "incremental": {
            "cursor_path": "at", "initial_value": "2026-09-01T00:00:00Z", "start_param": "since", "lag": 10
        },
    }  # fmt: skip
    source = declaration(api.url, {"things": {"endpoint": endpoint, "primary_key": "id"}})
    for _ in range(2):
        assert len(records(run(rest.extract, source, tmp_path))) == 2
    assert api.requests[-1].query["since"].startswith("2026-09-01T00:00:10.5")


def test_records_without_a_cursor_need_a_key(api: Api, tmp_path: Path) -> None:
    incremental = {"cursor_path": "at", "initial_value": 0, "on_cursor_value_missing": "include"}
    endpoint = {"path": "things", "incremental": incremental}
    problems = rest.check(declare(declaration(api.url, {"things": endpoint}), tmp_path))
    assert "needs a primary_key to know them by" in problems[0][1]


def test_events_without_a_key_come_once(api: Api, tmp_path: Path) -> None:
    rows = [{"at": 1, "what": "a"}, {"at": 2, "what": "b"}]
    api.answer = lambda request: Answer([r for r in rows if int(str(r["at"])) >= int(request.query["since"])])
    endpoint = {
        "path": "things",
        "data_selector": "$",
        "incremental": {"cursor_path": "at", "initial_value": 0, "start_param": "since"},
    }
    source = declaration(api.url, {"things": endpoint})
    assert len(records(run(rest.extract, source, tmp_path))) == 2
    rows.append({"at": 2, "what": "late"})
    assert records(run(rest.extract, source, tmp_path)) == [{"at": 2, "what": "late"}]
