"""Authentication, tokens that expire, and secrets on redirects."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.errors import ConnectionError
from sluice.extract import rest
from sluice.extract.rest import http as rest_http
from tests.python.extract.rest.api import (
    ALL,
    PAGED,
    SECRET,
    SECRETS,
    Answer,
    Api,
    Request,
    by_page,
    declaration,
    failure,
    records,
)
from tests.python.extract.rig import declare, run


@pytest.mark.parametrize(
    ("auth", "accepts"),
    [
        (
            {"type": "bearer", "token": "${api.token}"},
            lambda r: r.headers.get("authorization") == f"Bearer {SECRET}",
        ),
        (
            {"type": "api_key", "name": "X-Key", "api_key": "${api.api_key}", "location": "header"},
            lambda r: r.headers.get("x-key") == SECRET,
        ),
        (
            {"type": "api_key", "name": "key", "api_key": "${api.api_key}", "location": "query"},
            lambda r: r.query.get("key") == SECRET,
        ),
        (
            {"type": "http_basic", "username": "${api.username}", "password": "${api.password}"},
            lambda r: (
                r.headers.get("authorization") == "Basic " + base64.b64encode(b"reader:pa$$word-{1}").decode()
            ),
        ),
    ],
    ids=["bearer", "api key in header", "api key in query", "basic"],
)
def test_auth(api: Api, tmp_path: Path, auth: dict[str, Any], accepts: Callable[[Request], bool]) -> None:
    def answer(request: Request) -> Answer:
        # an API that repeats what it was sent must not bring it into our log
        return (
            Answer(ALL)
            if accepts(request)
            else Answer({"sent": str(request.headers), "q": request.query}, 401)
        )

    api.answer = answer
    source = declaration(api.url, {"things": {"path": "things"}}, {"auth": auth})
    assert rest.check(declare(source, tmp_path)) == []
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
    wrong = {
        "api": {
            "token": "wr0ng-token",
            "username": "reader",
            "password": "wr0ng-word",
            "api_key": "wr0ng-key",
        }
    }
    refused = run(rest.extract, source, tmp_path, values=wrong)
    assert isinstance(refused.errors["things"], ConnectionError)
    assert "answered 401" in failure(refused)
    assert "The credentials were refused" in failure(refused)
    assert "wr0ng" not in failure(refused)
    assert base64.b64encode(b"reader:wr0ng-word").decode() not in failure(refused)


class Tokens:
    """An API whose tokens serve for a number of requests."""

    def __init__(self, uses: int, jwt_seconds: float | None = None, page_seconds: float = 0) -> None:
        self.uses = uses
        self.page_seconds = page_seconds
        self.jwt_seconds = jwt_seconds
        self.logins: list[Request] = []
        self.valid: dict[str, int] = {}

    def __call__(self, request: Request) -> Answer:
        if request.path in ("/login", "/oauth/token"):
            self.logins.append(request)
            token = f"t0ken-{len(self.logins)}"
            if self.jwt_seconds is not None:
                now = time.time()
                claims = json.dumps(
                    {"iat": now, "exp": now + self.jwt_seconds, "n": len(self.logins)}
                ).encode()
                token = f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"
            self.valid = {token: self.uses}
            return Answer({"data": {"token": token}, "access_token": token, "expires_in": 3600})
        token = request.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("Token ")
        left = self.valid.get(token, 0)
        if left == 0:
            return Answer({"message": f"{token} expired"}, 401)
        self.valid[token] = left - 1
        time.sleep(self.page_seconds)
        return by_page(request)


LOGIN = {
    "type": "login",
    "path": "login",
    "body": {"identity": "${api.username}", "password": "${api.password}"},
    "token_path": "data.token",
}


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        (LOGIN, b'{"identity": "reader", "password": "pa$$word-{1}"}'),
        ({**LOGIN, "scheme": ""}, b'{"identity": "reader", "password": "pa$$word-{1}"}'),
        (
            {
                **{k: v for k, v in LOGIN.items() if k != "body"},
                "scheme": "Token",
                "form": {"p": "${api.password}"},
            },
            b"p=pa%24%24word-%7B1%7D",
        ),
        (
            {
                "type": "oauth2_client_credentials",
                "access_token_url": "URL/oauth/token",
                "client_id": "${api.username}",
                "client_secret": "${api.password}",
            },
            b"client_id=reader&client_secret=pa%24%24word-%7B1%7D&grant_type=client_credentials",
        ),
    ],
    ids=["json", "bare token", "form", "oauth2"],
)
def test_a_token_that_expires_between_pages_is_renewed_once(
    api: Api, tmp_path: Path, auth: dict[str, Any], sent: bytes
) -> None:
    api.answer = tokens = Tokens(uses=2)
    auth = {k: v.replace("URL", api.url) if isinstance(v, str) else v for k, v in auth.items()}
    source = declaration(api.url, {"things": PAGED}, {"auth": auth})
    assert rest.check(declare(source, tmp_path)) == []
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
    assert [login.body for login in tokens.logins] == [sent, sent]
    assert [r.query["page"] for r in api.requests if r.path == "/things"] == ["1", "2", "3", "3"]


def test_a_token_that_says_when_it_ends_is_renewed_before(api: Api, tmp_path: Path) -> None:
    """PocketBase answers an expired token with an empty list, so waiting for a 401 would lose records."""
    api.answer = tokens = Tokens(uses=99, jwt_seconds=0.01, page_seconds=0.02)
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
    assert len(tokens.logins) >= 3


def test_a_token_that_is_refused_at_once_fails_without_a_loop(api: Api, tmp_path: Path) -> None:
    api.answer = tokens = Tokens(uses=0)
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    result = run(rest.extract, source, tmp_path, values=SECRETS)
    assert isinstance(result.errors["things"], ConnectionError)
    assert "answered 401" in failure(result)
    assert "t0ken" not in failure(result)
    assert len(tokens.logins) == 2


def test_a_refused_login_is_told_from_a_refused_page(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"message": "Failed to authenticate."}, 400)
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    text = failure(run(rest.extract, source, tmp_path, values=SECRETS))
    assert "POST" in text
    assert "/login answered 400" in text
    assert "the login was refused" in text


class Blind:
    """An API that shows nothing to a token that has ended, instead of refusing it, as PocketBase does."""

    def __init__(self, uses: int, rows: list[dict[str, int]]) -> None:
        self.uses = uses
        self.rows = rows
        self.logins = 0

    def __call__(self, request: Request) -> Answer:
        if request.path == "/login":
            self.logins += 1
            return Answer({"data": {"token": f"t0ken-{self.logins}"}})
        dead = request.headers["authorization"] == "Bearer t0ken-1" and self.uses == 0
        self.uses -= 1 if self.uses else 0
        at = 2 * int(request.query["page"])
        return Answer({"items": [] if dead else self.rows[at : at + 2]})


@pytest.mark.parametrize("uses", [0, 1, 2])
def test_an_empty_page_is_believed_only_with_a_new_token(api: Api, tmp_path: Path, uses: int) -> None:
    api.answer = Blind(uses, ALL)
    uncounted = {"type": "page_number", "base_page": 0, "total_path": None}
    table = {"path": "things", "data_selector": "items", "paginator": uncounted}
    source = declaration(api.url, {"things": table}, {"auth": LOGIN})
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL


def test_a_table_without_records_is_one(api: Api, tmp_path: Path) -> None:
    api.answer = blind = Blind(99, [])
    uncounted = {"type": "page_number", "base_page": 0, "total_path": None}
    table = {"path": "things", "data_selector": "items", "paginator": uncounted}
    source = declaration(api.url, {"things": table}, {"auth": LOGIN})
    assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == []
    assert blind.logins == 2


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "bearer", "token": "${api.token}"}, "authorization"),
        ({"type": "api_key", "name": "X-Key", "api_key": "${api.api_key}", "location": "header"}, "x-key"),
        (
            {"type": "http_basic", "username": "${api.username}", "password": "${api.password}"},
            "authorization",
        ),
        ({**LOGIN, "header": "X-Session", "scheme": ""}, "x-session"),
    ],
    ids=["bearer", "api key", "basic", "login"],
)
def test_a_redirect_to_another_host_takes_no_credentials_along(
    api: Api, tmp_path: Path, auth: dict[str, Any], header: str
) -> None:
    other = Api()
    try:
        other.answer = lambda _: Answer(ALL)

        def answer(request: Request) -> Answer:
            if request.path == "/login":
                return Answer({"data": {"token": "t0ken-of-the-login"}})
            assert header in request.headers
            return Answer({}, 307, {"Location": f"{other.url}/elsewhere"})

        api.answer = answer
        source = declaration(api.url, {"things": {"path": "things"}}, {"auth": auth})
        assert records(run(rest.extract, source, tmp_path, values=SECRETS)) == ALL
        (request,) = other.requests
        assert header not in request.headers
        assert SECRET not in str(request.headers)
    finally:
        other.server.shutdown()
        other.server.server_close()


def test_a_login_is_not_sent_on_to_another_host(api: Api, tmp_path: Path) -> None:
    other = Api()
    try:
        api.answer = lambda _: Answer({}, 307, {"Location": f"{other.url}/login"})
        source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
        text = failure(run(rest.extract, source, tmp_path, values=SECRETS))
        assert "the server sends this request on to another host" in text
        assert not other.requests
    finally:
        other.server.shutdown()
        other.server.server_close()


def test_a_failing_redirect_is_tried_no_more_often_than_any_other_request(api: Api, tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        if request.path == "/things":
            return Answer({}, 302, {"Location": f"{api.url}/elsewhere"})
        return Answer({}, 503)

    api.answer = answer
    text = failure(run(rest.extract, declaration(api.url, {"things": PAGED}), tmp_path))
    assert "answered 503" in text
    assert len(api.requests) == 2 * rest_http.ATTEMPTS


def test_a_login_without_a_token_is_named(api: Api, tmp_path: Path) -> None:
    api.answer = lambda _: Answer({"welcome": True})
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    assert "has no token at data.token" in failure(run(rest.extract, source, tmp_path, values=SECRETS))


def test_a_missing_secret_says_where_it_may_be_set(api: Api, tmp_path: Path) -> None:
    source = declaration(api.url, {"things": PAGED}, {"auth": LOGIN})
    assert "CONNECTIONS__API__USERNAME" in failure(run(rest.extract, source, tmp_path))
