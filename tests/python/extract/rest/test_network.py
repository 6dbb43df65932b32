"""What a load does when an API fails: retries, Retry-After, and the error that is reported."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from sluice.errors import ConnectionError
from sluice.extract import rest, retries
from sluice.extract.rest import http as rest_http
from tests.python.extract.rest.api import (
    ALL,
    FAMILY,
    PAGED,
    PAGES,
    SECRET,
    SECRETS,
    Answer,
    Api,
    Request,
    by_cursor,
    by_page,
    declaration,
    failure,
    records,
    shop,
)
from tests.python.extract.rig import declare, run


def flaky(trouble: Callable[[int], Answer | None]) -> Callable[[Request], Answer]:
    """Pages of `by_page`, each preceded by what `trouble` answers to the n-th request."""
    count = 0

    def answer(request: Request) -> Answer:
        nonlocal count
        count += 1
        return trouble(count) or by_page(request)

    return answer


WHOLE = json.dumps({"items": PAGES[0], "pages": 3}).encode()


@pytest.mark.parametrize(
    "trouble",
    [
        Answer({}, 503),
        Answer({}, 500),
        Answer({}, 429),
        Answer({}, 408),
        Answer({}, 429, {"Retry-After": "0"}),
        Answer(raw=b""),
        Answer(
            raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            + WHOLE[:9]
        ),
        Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + WHOLE[:9]),
        Answer(
            raw=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n"
            + WHOLE
        ),
        Answer(b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=[
        "503",
        "500",
        "429",
        "408",
        "retry-after 0",
        "reset",
        "cut off",
        "cut off, no length",
        "chunks",
        "bad gzip",
    ],
)
def test_what_passes_is_tried_again(api: Api, tmp_path: Path, trouble: Answer) -> None:
    api.answer = flaky(lambda n: trouble if n % 3 else None)
    assert records(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path)) == ALL


@pytest.mark.parametrize("body", [{"error": {"code": 17}}, {"errors": ["shard 3 is away"], "items": []}])
def test_an_error_with_status_200_is_no_end_of_the_pages(
    api: Api, tmp_path: Path, body: dict[str, Any]
) -> None:
    api.answer = lambda request: Answer(body) if request.query.get("after") else by_cursor(request)
    table = {
        "path": "things",
        "data_selector": "items",
        "paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "after"},
    }
    text = failure(run(rest.extract, declaration(api.url, {"things": table}), tmp_path))
    assert "the answer says there was an error, with status 200" in text


def test_a_gateways_page_is_tried_again(api: Api, tmp_path: Path) -> None:
    page = Answer(b"<html>back soon</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    api.answer = flaky(lambda n: page if n % 3 else None)
    assert records(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path)) == ALL


def test_retries_end_and_are_counted(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"detail": "maintenance"}, 503)
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "answered 503 Service Unavailable after 6 tries" in text
    assert "maintenance" in text
    assert "load again later" in text
    assert len(api.requests) == rest_http.ATTEMPTS


def test_an_own_mistake_is_not_tried_again(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"message": "unknown filter"}, 400)
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "answered 400" in text
    assert "unknown filter" in text
    assert len(api.requests) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(api: Api, tmp_path: Path, form: str) -> None:
    asked: list[float] = []

    def answer(request: Request) -> Answer:
        asked.append(time.time())
        # an HTTP date has whole seconds, so the wait it asks for is between one and two
        value = "1" if form == "seconds" else formatdate(int(time.time()) + 2, usegmt=True)
        return Answer({}, 429, {"Retry-After": value}) if len(asked) == 1 else by_page(request)

    api.answer = answer
    assert records(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path)) == ALL
    assert 1.0 <= asked[1] - asked[0] < 5


def test_a_server_that_asks_for_too_much_patience_is_left_alone(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({}, 429, {"Retry-After": "86400"})
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "asks to wait 86400 seconds" in text
    assert len(api.requests) == 1


def test_a_timeout_is_told(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_http, "TIMEOUT_SECONDS", (0.2, 0.05))
    monkeypatch.setattr(rest_http, "ATTEMPTS", 2)

    def answer(request: Request) -> Answer:
        time.sleep(0.3)
        return by_page(request)

    api.answer = answer
    result = run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path)
    assert isinstance(result.errors["things"], ConnectionError)
    assert "was not answered in time after 2 tries" in failure(result)


def test_a_server_that_does_not_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_SECONDS", 0.01)
    result = run(rest.extract, declaration("http://127.0.0.1:9", {"things": PAGED}), tmp_path)
    assert (
        "no connection after 6 tries: the server refuses connections: nothing listens on this port. Check client"
        in failure(result)
    )


def test_an_answer_that_is_no_json_is_told(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer(b"<html>login</html>", headers={"Content-Type": "text/html"})
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "is not whole JSON" in text


def test_a_secret_in_the_url_is_never_shown(api: Api, tmp_path: Path) -> None:
    api.answer = lambda request: Answer({"url": request.query}, 404)
    source = declaration(
        api.url, {"things": {"path": "things/${api.token}", "params": {"page": 7, "q": "a ${api.token}"}}}
    )
    text = failure(run(rest.extract, source, tmp_path, values=SECRETS))
    assert SECRET not in text
    assert "/things/***?page=7&q=***" in text


def test_braces_in_a_secret_are_no_placeholder(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer(ALL)
    table = {
        "path": "things",
        "params": {"word": "${api.password}"},
        "headers": {"X-Word": "${api.password}"},
    }
    source = declaration(api.url, {"things": table})
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
    assert api.requests[0].query["word"] == api.requests[0].headers["x-word"] == "pa$$word-{1}"


def test_a_response_may_be_ignored(api: Api, tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        return Answer({"message": "gone"}, 404) if request.path == "/orders/2/lines" else shop(request)

    api.answer = answer
    lines = FAMILY["lines"]
    lines = {
        **lines,
        "endpoint": {**lines["endpoint"], "response_actions": [{"status_code": 404, "action": "ignore"}]},
    }
    tables = {**FAMILY, "lines": lines}
    assert rest.check(declare(declaration(api.url, tables), tmp_path)) == []
    assert len(records(run(rest.extract, declaration(api.url, tables), tmp_path), "lines")) == 2
