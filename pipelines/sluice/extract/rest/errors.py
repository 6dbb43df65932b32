"""Errors of the REST kind as people read them: what happened, where, and what to do; without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import requests
from dlt.sources.helpers.rest_client.exceptions import PaginatorNotFound
from dlt.sources.helpers.rest_client.redaction import SENSITIVE_PARAMS

from sluice.config.connections import Connections
from sluice.errors import ConnectionError, LoadError, SluiceError
from sluice.extract.unreachable import CLOSED, TLS, why_unreachable


class BadAnswer(requests.RequestException):
    """The server's answer cannot be used."""


class TooLong(requests.RequestException):
    """The server asks to wait longer than a load waits."""


class TooSlow(requests.RequestException):
    """An answer did not end in time."""


class CrossHostRedirectError(requests.RequestException):
    """A redirect would carry secrets to another host."""


ADVICE: Mapping[int, str] = {
    400: "The request is not what the API expects: compare endpoint.path, params and json with its documentation.",
    401: "The credentials were refused, also after a new login where there is one: check the secrets that "
    "`auth` names.",
    403: "These credentials may not read this: ask whoever runs the API for the right, or check `auth`.",
    404: "There is nothing at this address: check client.base_url and endpoint.path.",
    405: "The API does not take this method here: check endpoint.method.",
    429: "The API limits the number of requests: load less often, or ask for larger pages.",
}


def safe_url(url: str | None, connections: Connections) -> str:
    """A URL that may be shown: without user, password, and parameters that are or hold a secret."""
    parts = urlsplit(url or "")
    clean = connections.redact
    query = [
        (key, "***" if key.lower() in SENSITIVE_PARAMS or clean(value) != value else value)
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    path = unquote(parts.path)
    shown = clean(path) if clean(path) != path else parts.path
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, shown, urlencode(query, safe="*:/,", quote_via=quote), ""))


def failure(error: Exception, name: str, connections: Connections) -> Exception:
    """The error with the table's qualified name and no secret in it."""
    if isinstance(error, requests.RequestException):
        text, status = explain(error, connections)
        unreachable = isinstance(error, requests.ConnectionError | requests.Timeout)
        kind = ConnectionError if status in (401, 403) or unreachable else LoadError
        return kind(f"{name}: {text}")
    text = connections.redact(str(error))
    if isinstance(error, PaginatorNotFound):
        text = "how the API pages could not be guessed; declare client.paginator or endpoint.paginator"
    if isinstance(error, SluiceError):
        return type(error)(f"{name}: {text}")
    return LoadError(f"{name}: {type(error).__name__}: {text}")


def explain(error: requests.RequestException, connections: Connections) -> tuple[str, int | None]:
    """What happened and what to do, safe to print, and the status if there was an answer."""
    response = error.response
    request = response.request if response is not None else error.request
    where = (
        f"{request.method} {safe_url(str(request.url), connections)}"
        if request is not None
        else "the request"
    )
    tries = getattr(response, "tries", getattr(error, "tries", None))
    tried = f" after {tries} tries" if tries else ""
    if isinstance(error, TooLong):
        return f"{where} {error}. Load again later.", None
    if response is not None and response.status_code >= 400:
        status = response.status_code
        # redacted before it is cut: a secret that is cut in two would not be found
        body = " ".join(connections.redact(response.text).split())[:200]
        advice = ADVICE.get(status) or (
            "The server has a problem of its own: load again later."
            if status >= 500
            else "Check the endpoint."
        )
        refused = f", {error}" if str(error) == "the login was refused" else ""
        said = f": {body}" if body else ""
        return f"{where} answered {status} {response.reason or ''}{tried}{refused}{said}. {advice}", status
    if isinstance(error, BadAnswer):
        return f"{where}: {error}{tried}. Check endpoint.path, or ask whoever runs the API.", None
    if isinstance(error, TooSlow):
        return f"{where}: the answer {error}. Ask for smaller pages, or load again later.", None
    if isinstance(error, CrossHostRedirectError):
        return f"{where}: {error}. Check client.base_url.", None
    if isinstance(error, requests.TooManyRedirects):
        return f"{where}: the server redirects in a circle. Check client.base_url and endpoint.path.", None
    if isinstance(error, requests.exceptions.SSLError):
        return f"{where}: {why_unreachable(error) or TLS}. Check client.base_url.", None
    if isinstance(error, requests.Timeout):
        return f"{where} was not answered in time{tried}. Load again later, or ask for smaller pages.", None
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return f"{where}: the answer is not JSON. Check endpoint.path.", None
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return f"{where}: the answer broke off{tried}. Load again later, or ask for smaller pages.", None
    if isinstance(error, requests.ConnectionError):
        why = why_unreachable(error)
        if why == CLOSED:
            return (
                f"{where}: {CLOSED}{tried}. Check client.base_url (http or https), or load again later.",
                None,
            )
        reason = f": {why}" if why else ""
        return (
            f"{where}: no connection{tried}{reason}. Check client.base_url and whether the server runs.",
            None,
        )
    return f"{where}: {connections.redact(str(error))}", None
