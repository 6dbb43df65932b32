"""Finds by trying where an API logs in with user and password, and where the answer has the token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urljoin

import requests

from sluice.extract.rest.paginators import beside_records

USERS = "api/collections/users/auth-with-password"
USUAL = (
    *("auth/login", "login", "api/auth/login", "api/login", "auth/token", "token", "api/token"),
    *("api/v1/auth/login", "api/v1/login", USERS),
)
"""Paths of logins that are tried, below the base URL and below its host."""
LOGIN = re.compile(
    r"(^|/)(log[-_]?in|sign[-_]?in|auth|authenticate|auth-with-password|(access[-_]?)?token)/?$",
    re.IGNORECASE,
)
"""The end of a document's path that is a login; a POST to another one could create something."""
NAMES = ("username", "email", "identity")
"""What APIs call the user in a login."""
TOKEN = re.compile(r"(\w*_?)?(token|jwt)|access|key", re.IGNORECASE)
NO_LOGIN = (404, 405, 501)
SHORTEST = 8
"""Characters of a token."""


class Client(Protocol):
    """Requests to the API."""

    def post(self, url: str, body: Mapping[str, Any]) -> requests.Response:
        """The answer, whatever its status; raises requests.RequestException where there is none."""


def find_login(
    client: Client, base_url: str, documented: Sequence[str], name: str, user: str, password: str
) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """The login as `client.auth` declares it, if a path that was tried gives a token; and what the others answered.

    `documented`: paths that take a POST by the API's document; without any the usual ones are tried. `name`: of the
    connection that has `username` and `password`. The password is sent to the host of the base URL only.
    """
    refused: dict[str, int] = {}
    for url in _places(base_url, documented):
        for key in NAMES if not url.endswith(USERS) else NAMES[::-1]:
            try:
                response = client.post(url, {key: user, "password": password})
            except requests.RequestException:
                break
            if response.status_code in NO_LOGIN:
                break
            refused[url] = response.status_code
            if path := _token_path(response):
                body = {key: f"${{{name}.username}}", "password": f"${{{name}.password}}"}
                return {"type": "login", **_place(url, base_url), "body": body, "token_path": path}, {}
    return None, refused


def _places(base_url: str, documented: Sequence[str]) -> Iterator[str]:
    base = base_url.rstrip("/") + "/"
    likely = [path.lstrip("/") for path in documented if LOGIN.search(path)]
    if likely:
        yield from dict.fromkeys(urljoin(base, path) for path in likely)
        return
    yield from dict.fromkeys(urljoin(base, place) for path in USUAL for place in (path, f"/{path}"))


def _place(url: str, base_url: str) -> dict[str, str]:
    """Where the login is: below the base URL if it is there."""
    base = base_url.rstrip("/") + "/"
    return {"path": url[len(base) :]} if url.startswith(base) else {"url": url}


def _token_path(response: requests.Response) -> str | None:
    """Where a good answer has a token; None if it is no good answer, or has none."""
    if response.status_code >= 400:
        return None
    try:
        document = response.json()
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    found = {
        ".".join(path): value
        for path, value in beside_records(document)
        if isinstance(value, str) and len(value) >= SHORTEST and TOKEN.fullmatch(path[-1])
    }
    return min(found, key=lambda path: ("refresh" in path.lower(), path.count("."), len(path)), default=None)
