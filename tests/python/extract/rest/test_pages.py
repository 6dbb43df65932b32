"""How an API pages: every paginator, and APIs that ignore the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.extract import rest
from tests.python.extract.rest.api import (
    ALL,
    PAGES,
    Answer,
    Api,
    Request,
    by_cursor,
    by_page,
    declaration,
    failure,
    records,
)
from tests.python.extract.rig import declare, run


def by_offset(request: Request) -> Answer:
    offset, limit = int(request.query.get("offset", 0)), int(request.query["limit"])
    return Answer({"items": ALL[offset : offset + limit], "total": 5})


def by_body_link(request: Request) -> Answer:
    page = int(request.query.get("p", 0))
    link = f"{request.headers['host']}/things?p={page + 1}"
    return Answer({"items": PAGES[page], "links": {"next": f"http://{link}" if page < 2 else None}})


def by_header_link(request: Request) -> Answer:
    page = int(request.query.get("p", 0))
    link = f'<http://{request.headers["host"]}/things?p={page + 1}>; rel="next"'
    return Answer({"items": PAGES[page]}, headers={"Link": link} if page < 2 else {})


def by_header_cursor(request: Request) -> Answer:
    page = int(request.query.get("cursor", 0))
    return Answer({"items": PAGES[page]}, headers={"X-Next": str(page + 1) if page < 2 else ""})


def by_body_link_or_blank(request: Request) -> Answer:
    answer = by_body_link(request)
    answer.body = answer.body.replace(b"null", b'""')
    return answer


def in_body(request: Request) -> Answer:
    page = json.loads(request.body).get("page", 0)
    return Answer({"items": PAGES[page], "pages": 3})


@pytest.mark.parametrize(
    ("answer", "paginator", "more"),
    [
        (by_page, {"type": "page_number", "base_page": 1, "total_path": "pages"}, {}),
        (by_page, {"type": "page_number", "base_page": 1, "total_path": None}, {}),
        (by_page, {"type": "page_number", "base_page": 1, "total_path": None, "has_more_path": "more"}, {}),
        (by_offset, {"type": "offset", "limit": 2, "total_path": "total"}, {}),
        (by_cursor, {"type": "cursor", "cursor_path": "next", "cursor_param": "after"}, {}),
        (by_body_link, {"type": "json_link", "next_url_path": "links.next"}, {}),
        (by_body_link_or_blank, {"type": "json_link", "next_url_path": "links.next"}, {}),
        (by_header_link, {"type": "header_link"}, {}),
        (by_header_link, "header_link", {}),
        (by_header_cursor, {"type": "header_cursor", "cursor_key": "X-Next", "cursor_param": "cursor"}, {}),
        (
            in_body,
            {
                "type": "page_number",
                "base_page": 0,
                "total_path": "pages",
                "page_body_path": "page",
                "page_param": "",
            },
            {"method": "POST", "json": {"size": 2}},
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_every_paginator(api: Api, tmp_path: Path, answer: Any, paginator: Any, more: dict[str, Any]) -> None:
    api.answer = answer
    table = {"path": "things", "data_selector": "items", "paginator": paginator, **more}
    assert rest.check(declare(declaration(api.url, {"things": table}), tmp_path)) == []
    assert records(run(rest.extract, declaration(api.url, {"things": table}), tmp_path)) == ALL


def test_an_api_that_ignores_the_page_is_noticed(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"items": PAGES[0], "pages": 1000})
    table = {
        "path": "things",
        "data_selector": "items",
        "paginator": {"type": "page_number", "total_path": "pages"},
    }
    assert "the same page again and again" in failure(
        run(rest.extract, declaration(api.url, {"things": table}), tmp_path)
    )
    assert len(api.requests) == 2


def test_nothing_is_an_empty_table(api: Api, tmp_path: Path) -> None:
    result = run(rest.extract, declaration(api.url, {"things": {"path": "things"}}), tmp_path)
    assert records(result) == []


def test_many_pages_are_landed_once_each(api: Api, tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        page = int(request.query["page"])
        return Answer(
            {"items": [{"id": page * 1000 + i, "text": "ä" * 20} for i in range(1000)], "pages": 45}
        )

    api.answer = answer
    table = {
        "path": "things",
        "data_selector": "items",
        "paginator": {"type": "page_number", "base_page": 0, "total_path": "pages"},
    }
    result = run(rest.extract, declaration(api.url, {"things": table}), tmp_path)
    assert sorted(r["id"] for r in records(result)) == list(range(45_000))
    assert result.read == {"things": 45_000}
