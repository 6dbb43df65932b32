"""The HTTP side of the rest kind: retries that honour Retry-After, renewed tokens, exact JSON.

dlt's own session gives up after a few seconds, parses every page several times, rounds long numbers and knows
no login; requests' session underneath keeps cookies, proxies and redirects.
"""

from __future__ import annotations

import re
import time
from base64 import urlsafe_b64decode
from codecs import BOM_UTF8
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from dlt.common import jsonpath
from dlt.sources.helpers.rest_client.auth import OAuth2ClientCredentials
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.hooks import default_hooks, dispatch_hook
from tenacity import Future, RetryCallState, Retrying, retry_if_exception, retry_if_result

from sluice.config.connections import Connections
from sluice.extract import retries
from sluice.extract.exact_json import loads
from sluice.extract.rest.errors import BadAnswer, CrossHostRedirectError, TooLong, TooSlow, safe_url
from sluice.extract.silence import Deadline
from sluice.extract.unreachable import why_unreachable

ATTEMPTS = 6
"""Tries of one request; with the waits between them a server may be away for about ten seconds."""
LONGEST_RETRY_AFTER_SECONDS = 300.0
"""If a server asks for a longer wait, the load fails; the next one tries again."""
TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect, and between two pieces of an answer."""
ANSWER_SECONDS = 600.0
"""For a whole answer: a server that sends a byte now and then never meets the other time-outs."""
RETRIED = {408, 425, 429, *range(500, 600)}
TOKEN_LIFE_USED = 0.8
"""A token with a known end is renewed when this part of its life has passed."""


class Login(AuthBase):
    """`auth: {type: login}`: gets a token from a URL and sends it in a header; renews it before it expires, or on 401.

    path | url: where to log in, relative to the base URL or absolute; body: JSON sent; form: or form fields;
    token_path: JSON path of the token in the answer; header: default Authorization; scheme: word before the
    token, default Bearer, may be empty; method: default POST; expires_path: JSON path of its life in seconds (a JWT
    contains that itself).
    """

    def __init__(
        self,
        session: Session,
        base_url: str,
        *,
        token_path: str,
        path: str | None = None,
        url: str | None = None,
        body: dict[str, Any] | None = None,
        form: dict[str, Any] | None = None,
        header: str = "Authorization",
        scheme: str = "Bearer",
        method: str = "POST",
        expires_path: str | None = None,
    ) -> None:
        self.url = url or f"{base_url.rstrip('/')}/{(path or '').lstrip('/')}"
        self._session = session
        self._request = requests.Request(method=method, url=self.url, json=body, data=form)
        self._token_path = jsonpath.compile_path(token_path)
        self._expires_path = jsonpath.compile_path(expires_path) if expires_path else None
        self._header = header
        self._scheme = scheme
        self._token: str | None = None
        self._ends = float("inf")

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is None or time.monotonic() >= self._ends:
            self._log_in()
        request.headers[self._header] = f"{self._scheme} {self._token}".strip()
        return request

    def renew(self) -> None:
        """Log in again with the next request."""
        self._token = None

    def _log_in(self) -> None:
        response = self._session.send(self._session.prepare_request(self._request))
        if response.status_code >= 400:
            raise requests.HTTPError("the login was refused", response=response)
        found = jsonpath.find_values(self._token_path, response.json())
        if not found or not isinstance(found[0], str) or not found[0]:
            raise BadAnswer(f"the login's answer has no token at {self._token_path}", response=response)
        self._token = found[0]
        self._session.connections.conceal(self._token)
        seconds = _jwt_seconds(self._token)
        if self._expires_path and (stated := jsonpath.find_values(self._expires_path, response.json())):
            seconds = float(stated[0])
        self._ends = time.monotonic() + TOKEN_LIFE_USED * seconds if seconds else float("inf")


def _jwt_seconds(token: str) -> float | None:
    """How long a JSON web token is valid from now on; by the server's clock if it contains the time of issue."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"] - claims.get("iat", time.time()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class Session(requests.Session):
    """A session that retries until there is a readable answer or the tries are used up.

    Answers of status >= 400 that are not worth a retry are returned, as dlt's client expects. `json()` of an
    answer is parsed once and exactly (`exact_json.loads`). `report` is called before each retry; `attempts` is the
    number of tries of one request.
    """

    def __init__(
        self, connections: Connections, report: Callable[[str], None], attempts: int | None = None
    ) -> None:
        super().__init__()
        self._attempts = attempts or ATTEMPTS
        self.connections = connections
        self._report = report
        self.headers["User-Agent"] = "sluice"
        self.headers["Accept"] = "application/json, */*;q=0.5"
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(pool_maxsize=4))
        self._environment: dict[str, Any] = {}
        self._sent_with: tuple[requests.PreparedRequest, Any] | None = None
        self._concealed: str | None = None
        self._deadline = Deadline(ANSWER_SECONDS)

    def close(self) -> None:
        self._deadline.close()
        super().close()

    def merge_environment_settings(self, url: str, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Proxies and certificates of a host; requests would look them up for every page, which takes 0.1 ms."""
        host = urlsplit(url).netloc
        if host not in self._environment:
            self._environment[host] = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return dict(self._environment[host])

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        # without .netrc: secrets come from connections, and reading it for every page takes 0.1 ms
        self.trust_env = False
        try:
            prepared = super().prepare_request(request)
        finally:
            self.trust_env = True
        self._sent_with = (prepared, request.auth)
        authorization = str(prepared.headers.get("Authorization") or "")
        if authorization != self._concealed:
            self._concealed = authorization
            self.connections.conceal(authorization.rpartition(" ")[2])
        return prepared

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Take no secrets along when a redirect leads to another host, whatever they stand in."""
        if self.is_same_host(response.request.url, prepared_request.url):
            return
        headers, body = prepared_request.headers, prepared_request.body
        for name, value in list(headers.items()):
            if name.lower() == "authorization" or self.is_secret(str(value)):
                del headers[name]
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
        if self.is_secret(text):
            raise CrossHostRedirectError(
                "the server sends this request on to another host, which would get the secrets in it",
                request=response.request,
            )

    def is_secret(self, text: str) -> bool:
        """Whether a text has a secret in it."""
        return self.connections.redact(text) != text

    def is_same_host(self, one: str | None, other: str | None) -> bool:
        """Whether credentials for one URL are for the other: the same host and port, or the same host over TLS."""
        return not self.should_strip_auth(one or "", other or "")

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUT_SECONDS
        if kwargs.get("allow_redirects") is False:
            # the target of a redirect: what fails there is retried from the first request
            return super().send(request, **kwargs)
        hooks, request.hooks = request.hooks, default_hooks()  # for the last answer only, not for every try
        auth = self._sent_with[1] if self._sent_with and self._sent_with[0] is request else None

        def send() -> requests.Response:
            response = self._send_in_time(request, **kwargs)
            _parse_once(response)
            return response

        def send_with_valid_token() -> requests.Response:
            nonlocal auth
            response = send()
            if response.status_code == 401 and self._renew(auth, request, response):
                auth = None  # a second new token would be refused as well
                response = send()
            return response

        def describe(state: RetryCallState) -> str:
            return f"{request.method} {safe_url(request.url, self.connections)}: {_shortly(state.outcome)}"

        def last(state: RetryCallState) -> requests.Response:
            assert state.outcome is not None
            error: Any = state.outcome.exception()
            if error is None:
                response: Any = state.outcome.result()
                response.tries = state.attempt_number
            else:
                error.request = error.request or request
                error.tries = state.attempt_number
            return cast(requests.Response, state.outcome.result())

        options = retries.policy(self._attempts, RETRY, describe, self._report)
        options |= {"wait": _wait_after, "sleep": retries.pause, "retry_error_callback": last}
        response = Retrying(**options)(send_with_valid_token)
        dispatched: requests.Response = dispatch_hook("response", hooks, response, **kwargs)
        return dispatched

    def _send_in_time(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        with self._deadline.on(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)):
            try:
                return super().send(request, **kwargs)
            except requests.RequestException:
                if not self._deadline.passed:
                    raise
        raise TooSlow(f"did not end within {self._deadline.seconds:.0f} seconds", request=request)

    def _renew(self, auth: Any, request: requests.PreparedRequest, refusal: requests.Response) -> bool:
        """Give the request a new token; False when there is none, or when another host refused it."""
        return self.is_same_host(request.url, refusal.url) and renew(auth, request)


def renew(auth: Any, request: requests.PreparedRequest) -> bool:
    """Give the request a new token; False when `auth` holds none that could be renewed."""
    if isinstance(auth, Login):
        auth.renew()
    elif isinstance(auth, OAuth2ClientCredentials):
        auth.access_token = None
    else:
        return False
    auth(request)
    return True


def _may_pass(error: BaseException) -> bool:
    """Whether a request that failed so may succeed when it is sent again."""
    passing = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
        BadAnswer,
    )
    return isinstance(error, passing) and not isinstance(error, requests.exceptions.SSLError)


RETRY = retry_if_exception(_may_pass) | retry_if_result(lambda response: response.status_code in RETRIED)


def _answer(outcome: Future | None) -> requests.Response | None:
    """The answer of a try; None if it failed without one."""
    return outcome.result() if outcome and not outcome.failed else None


def _shortly(outcome: Future | None) -> str:
    """What a try failed with, in a few words."""
    if (response := _answer(outcome)) is not None:
        return f"status {response.status_code}"
    error = outcome.exception() if outcome else None
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return why_unreachable(error) or "no connection"
    return "the answer is not whole"


def _wait_after(state: RetryCallState) -> float:
    # tenacity calls this after the last try, too
    return _wait(state.attempt_number, _answer(state.outcome)) if state.attempt_number < ATTEMPTS else 0.0


def _wait(attempt: int, response: requests.Response | None) -> float:
    """Seconds to wait before the next try: what the server asks for, plus the backoff.

    So clients that got the same answer do not return at the same moment, and "at once" does not become a busy loop.
    """
    headers = response.headers if response is not None else {}
    asked = retry_after(headers.get("Retry-After"), headers.get("Date"))
    if asked is not None and asked > LONGEST_RETRY_AFTER_SECONDS:
        raise TooLong(
            f"asks to wait {asked:.0f} seconds; a load waits {LONGEST_RETRY_AFTER_SECONDS:.0f}",
            response=response,
        )
    return (asked or 0.0) + retries.backoff(attempt)


def retry_after(header: str | None, date: str | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or an HTTP date; None without one.

    `date` is the answer's Date header: what a server means by a date depends on its own clock.
    """
    if not header:
        return None
    header = header.strip()
    if re.fullmatch(r"\d+(\.\d+)?", header):
        return float(header)
    when, now = _moment(header), _moment(date or "") or datetime.now(UTC)
    return max(0.0, (when - now).total_seconds()) if when else None


def _moment(text: str) -> datetime | None:
    """An HTTP date."""
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _parse_once(response: requests.Response) -> None:
    """Give the response a `json()` that parses once; BadAnswer when what should be JSON was cut off on its way.

    HTML is never the wanted answer: it comes from a gateway whose service is away for a moment.
    """
    documents: list[Any] = []

    def parsed(**_: Any) -> Any:
        if not documents:
            try:
                documents.append(loads(_utf8(response)))
            except ValueError as error:
                raise BadAnswer(f"the body is not whole JSON ({error})", response=response) from None
        return documents[0]

    if response.status_code == 204:  # "no content": no records
        documents.append([])
    response.json = parsed  # type: ignore[method-assign]
    content_type = response.headers.get("Content-Type", "")
    if response.status_code < 400 and ("json" in content_type or "html" in content_type) and response.content:
        parsed()


def _utf8(response: requests.Response) -> bytes:
    """The body in UTF-8, without a byte order mark."""
    charset = re.search(r"charset=[\"']?([\w.-]+)", response.headers.get("Content-Type", ""), re.IGNORECASE)
    body = response.content
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        try:
            body = body.decode(charset[1]).encode()
        except LookupError:
            raise ValueError(f"the charset {charset[1]} is unknown") from None
    return body.removeprefix(BOM_UTF8)
