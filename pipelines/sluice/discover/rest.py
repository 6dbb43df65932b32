"""Web APIs: their endpoints from an OpenAPI document or from links, and how each gives its records, found by trying."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import duckdb
import requests

from sluice.config.connections import REFERENCE, Connections
from sluice.discover import openapi
from sluice.discover.contract import DiscoveredSource, Limits, Target
from sluice.discover.declared_tables import add_declared
from sluice.discover.openapi import PLACEHOLDER, Api, Listing
from sluice.discover.paging import find_page
from sluice.discover.rest_login import find_login
from sluice.discover.rest_tables import GENERIC, REFUSED, Endpoints, plain_path
from sluice.discover.trial_load import TrialLoads
from sluice.errors import ConnectionError, UsageError
from sluice.extract.rest import check
from sluice.extract.rest.errors import explain, safe_url
from sluice.extract.rest.http import Session
from sluice.extract.rest.plan import make_auth

DOCUMENTS = (
    *(
        "openapi.json",
        "swagger.json",
        "openapi.yaml",
        "v3/api-docs",
        "v2/api-docs",
        "swagger/v1/swagger.json",
    ),
    *("api-docs", "docs/openapi.json"),
)
"""Where servers usually have their document."""
TRIES = 2
"""Tries of one request; a load takes more."""
ANSWERS = 3
"""Endpoints that are tried with user and password before a login is looked for."""


def discover_rest(
    target: Target,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    root: Path,
    connections: Connections,
) -> DiscoveredSource:
    """The endpoints of an API that return lists, with the records of some pages in `con`.

    The address is a base URL, an endpoint, or the URL or file of an OpenAPI document; paths among `limits.tables` are
    endpoints below it. Secrets come from the connection: `token`, or `username` and `password`, or `api_key`. Raises
    ConnectionError where the API cannot be reached or refuses them.
    """
    name, known = target.name, target.connection_name
    address, given = _without_secrets(target.address)
    if given:
        connections.give(known, given)
    with _Client(connections, limits) as client:
        if target.declared:
            return _again(target, con, limits, root, connections, client)
        api = _api(address, root, known, client, connections, _paths(limits))
        base_url = _shared_base(api, target.connection, connections)
        secrets = _log_in(client, api, known, connections)
        auth = secrets or next(iter(api.auth), None)
        load = {"kind": "rest", "client": {"base_url": base_url, **({"auth": auth} if auth else {})}}
        source = DiscoveredSource(
            name, load, [], given, api.description, list(api.questions), dict(api.skipped)
        )
        trials = TrialLoads(name, load, connections, root)
        with trials.opened():
            endpoints = Endpoints(client, trials, con, limits, source, api)
            endpoints.add()
            if not source.tables:
                raise _nothing_found(source, endpoints.refused, client.logins, known, auth, connections)
            _share_paginator(source)
            tables = [trials.table(table.name, table.load, {}) for table in source.tables]
            for _, problem in check(trials.source(*tables)):
                source.questions.append(f"the declaration is not complete: {problem}")
    return source


def _again(
    target: Target,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    root: Path,
    connections: Connections,
    client: _Client,
) -> DiscoveredSource:
    """The declared endpoints, read as they are declared, and the others that a document or `limits.tables` names."""
    assert target.declared is not None
    load = target.declared.load.model_dump()
    declared = connections.fill(load["client"])
    base_url, auth = str(declared["base_url"]), declared.get("auth")
    source = DiscoveredSource(target.name, load, [])
    trials = TrialLoads(target.name, load, connections, root)
    with trials.opened():
        add_declared(source, target.declared, trials, con, limits)
        if limits.with_rows:
            client.log_in(auth if isinstance(auth, dict) else None, base_url)
            api = Api(base_url, listings=[Listing(path) for path in _paths(limits)])
            api = api if api.listings else _documented(base_url, target.connection_name, client) or api
            places = {plain_path(table.load.endpoint["path"]) for table in target.declared.declared}
            api.listings = [new for new in _below(api, base_url) if plain_path(new.path) not in places]
            api.base_url = base_url
            own = [declared["paginator"]] if isinstance(declared.get("paginator"), dict) else []
            endpoints = Endpoints(client, trials, con, limits, source, api, _known=own)
            endpoints.know(target.declared)
            endpoints.add()
            for table in source.tables:
                if own and table.load["endpoint"].get("paginator") == own[0]:
                    del table.load["endpoint"]["paginator"]
    return source


def _paths(limits: Limits) -> list[str]:
    """Endpoints that are given by their paths, not by a pattern of names."""
    return [p.strip("/") for p in limits.tables if "/" in p and not set(p) & set("*?[")]


def _documented(base_url: str, name: str, client: _Client) -> Api | None:
    """What a document at the usual places says; None without one."""
    base = base_url.rstrip("/") + "/"
    below = [urljoin(base, place) for place in DOCUMENTS[:3]]
    for place in dict.fromkeys([*below, *(urljoin(base, f"/{place}") for place in DOCUMENTS)]):
        try:
            if document := openapi.parse(client.get(place).text):
                return openapi.read(document, place, name)
        except requests.RequestException:
            continue
    return None


def _below(api: Api, base_url: str) -> Iterator[Listing]:
    """The endpoints with their paths below another base URL; those that are not below it are left out."""
    base = base_url.rstrip("/") + "/"
    for listing in api.listings:
        url = api.base_url.rstrip("/") + "/" + listing.path
        if url.startswith(base):
            yield replace(listing, path=url[len(base) :])


def _shared_base(api: Api, connection: str | None, connections: Connections) -> str:
    """The base URL as the source declares it: that of the connection, if it has one and the endpoints are below it."""
    own = connections.get(connection, "base_url") if connection else None
    if not own or not (api.base_url.rstrip("/") + "/").startswith(own.rstrip("/") + "/"):
        return api.base_url
    base = own.rstrip("/") + "/"
    inside = (api.base_url.rstrip("/") + "/")[len(base) :]
    api.posts = [f"{inside}{path}" for path in api.posts]
    api.listings = list(_below(api, base))
    api.base_url = base
    return f"${{{connection}.base_url}}"


def _log_in(client: _Client, api: Api, name: str, connections: Connections) -> dict[str, Any] | None:
    """Send the credentials that are set: as the API documents it, else as it answers with records."""
    secrets = _with_secrets(api.auth or _usual_auth(name), connections)
    client.log_in(secrets, api.base_url)
    user, password = connections.get(name, "username"), connections.get(name, "password")
    if not (user and password) or (secrets and secrets["type"] != "http_basic") or _answers(client, api):
        return secrets
    login, client.logins = find_login(client, api.base_url, api.posts, name, user, password)
    if login:
        client.log_in(login, api.base_url)
    return login or secrets


def _answers(client: _Client, api: Api) -> bool:
    """Whether one of the first endpoints returns records."""
    for listing in [listing for listing in api.listings if not listing.placeholders][:ANSWERS]:
        params = {n: p["default"] for n, p in listing.parameters.items() if p.get("required")}
        try:
            page = find_page(client.get(f"{api.base_url.rstrip('/')}/{listing.path}", params))
        except (requests.RequestException, ValueError):
            continue
        if page and page.records:
            return True
    return False


def _without_secrets(address: str) -> tuple[str, dict[str, str]]:
    """The address, and user and password that were written into it."""
    if "://" not in address:
        return address, {}
    parts = urlsplit(address)
    if parts.query:
        raise UsageError(
            f"{parts.scheme}://{parts.hostname}{parts.path}: give the address without parameters; a key or token is a "
            "value of the connection"
        )
    given = {"username": parts.username or "", "password": parts.password or ""} if parts.username else {}
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")), given


class _Client:
    """Requests by the session of the loader, with fewer tries."""

    def __init__(self, connections: Connections, limits: Limits) -> None:
        self._connections, self._limits = connections, limits
        self.session = Session(connections, lambda what: None, attempts=TRIES)
        self._auth: Any = None
        self.logins: dict[str, int] = {}
        """Logins that were tried and gave no token, with the status they answered."""

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def log_in(self, auth: Mapping[str, Any] | None, base_url: str) -> None:
        """Send these credentials from now on."""
        self._auth = make_auth(self._connections.fill(dict(auth)), self.session, base_url) if auth else None

    def get(self, url: str, parameters: Mapping[str, Any] | None = None) -> requests.Response:
        """The answer; raises requests.RequestException, also for a status that is an error."""
        request = requests.Request("GET", url, params=dict(parameters or {}), auth=self._auth)
        prepared = self.session.prepare_request(request)
        response = self.session.send(prepared, timeout=(10.0, self._limits.seconds))
        if response.status_code >= 400:
            raise requests.HTTPError(response=response)
        return response

    def post(self, url: str, body: Mapping[str, Any]) -> requests.Response:
        """The answer, whatever its status; raises requests.RequestException where there is none."""
        prepared = self.session.prepare_request(requests.Request("POST", url, json=dict(body)))
        return self.session.send(prepared, timeout=(10.0, self._limits.seconds))

    def explain(self, error: requests.RequestException) -> str:
        """What went wrong, without secrets and without the answer's text."""
        if error.response is not None and error.response.status_code >= 400:
            where = safe_url(error.response.url, self._connections)
            return f"GET {where} answered {error.response.status_code} {error.response.reason or ''}".strip()
        return explain(error, self._connections)[0]


# -- what there is -----------------------------------------------------------------------------------


def _api(
    address: str, root: Path, name: str, client: _Client, connections: Connections, paths: Sequence[str]
) -> Api:
    """What a document says of the API, or the endpoints that its root names; or those at `paths` below it."""
    if paths and "://" in address:
        return Api(address.rstrip("/") + "/", listings=[Listing(path) for path in paths])
    if "://" not in address:
        document = openapi.parse((root / address).read_text(encoding="utf-8-sig"))
        if document is None:
            raise UsageError(
                f"{address} is not an OpenAPI document: it has neither the key openapi nor swagger"
            )
        return openapi.read(document, None, name)
    first, refused = _first_answer(address, name, client, connections)
    if first is not None and (document := openapi.parse(first.text)):
        return openapi.read(document, address, name)
    first = first if first is None or _is_json(first) else None
    if first is not None and find_page(first) is not None:
        return _one_endpoint(address)
    if found := _documented(address, name, client):
        return found
    base = address.rstrip("/") + "/"
    if first is not None and (links := dict(_links(first.json(), base))):
        return Api(base, listings=[Listing(path) for path in links.values()])
    if refused and connections.get(name, "password") and urlsplit(address).path.strip("/"):
        return _one_endpoint(address)
    if refused:
        raise _refusal(refused, name, _usual_auth(name)[0], connections)
    raise UsageError(
        f"{address} has no OpenAPI document at the usual places, and does not name endpoints: which are there? Give "
        "the URL of the document, or of an endpoint that returns records in JSON, or the paths of endpoints below it: "
        "--tables /api/orders --tables /api/customers (files are read from a folder, s3:// or sftp://, not over HTTP)"
    )


def _one_endpoint(address: str) -> Api:
    """The API of one endpoint, whose path below the base URL has a part that can name the table."""
    above, _, path = address.rstrip("/").rpartition("/")
    while path.partition("/")[0].lower() in GENERIC and urlsplit(above).path.strip("/"):
        above, _, part = above.rpartition("/")
        path = f"{part}/{path}"
    return Api(above + "/", listings=[Listing(path)])


def _is_json(response: requests.Response) -> bool:
    try:
        response.json()
    except (requests.RequestException, ValueError):
        return False
    return True


def _first_answer(
    address: str, name: str, client: _Client, connections: Connections
) -> tuple[requests.Response | None, str]:
    """What the address answers in JSON or as a document, with credentials only if it asks for them; and its refusal."""
    refused = ""
    for auth in (None, _with_secrets(_usual_auth(name), connections)):
        if refused and auth is None:
            break
        client.log_in(auth, address)
        try:
            return client.get(address), ""
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ConnectionError(client.explain(error)) from None
        except requests.RequestException as error:  # a root that answers 404, or HTML
            status = error.response.status_code if error.response is not None else 0
            if status not in REFUSED:
                break
            refused = client.explain(error)
    client.log_in(None, address)
    return None, refused


def _links(document: Any, base: str) -> Iterator[tuple[str, str]]:
    """Endpoints that an answer links to, by name, as paths below the base URL."""
    links = document if isinstance(document, dict) else {}
    inner = links.get("_links")
    for name, value in [*links.items(), *(inner.items() if isinstance(inner, dict) else ())]:
        target = value.get("href") if isinstance(value, dict) else value
        if name == "self" or not isinstance(target, str) or not re.match(r"https?://|/", target):
            continue
        url = urljoin(base, PLACEHOLDER.sub("", target))
        if url.startswith(base) and url.rstrip("/") != base.rstrip("/"):
            yield name, url[len(base) :].partition("?")[0]


def _with_secrets(ways: Sequence[dict[str, Any]], connections: Connections) -> dict[str, Any] | None:
    """The first way to log in whose secrets are set."""
    for auth in ways:
        if all(connections.get(name, key) for name, key in REFERENCE.findall(str(auth))):
            return auth
    return None


def _usual_auth(name: str) -> list[dict[str, Any]]:
    """Ways to log in that need no document."""
    return [
        {"type": "bearer", "token": f"${{{name}.token}}"},
        {"type": "http_basic", "username": f"${{{name}.username}}", "password": f"${{{name}.password}}"},
        {"type": "api_key", "name": "X-API-Key", "api_key": f"${{{name}.api_key}}"},
    ]


def _share_paginator(source: DiscoveredSource) -> None:
    """Declare a paginator that all tables have once, for the client."""
    endpoints = [table.load["endpoint"] for table in source.tables]
    shared = endpoints[0].get("paginator")
    if shared and all(endpoint.get("paginator") == shared for endpoint in endpoints):
        source.load["client"]["paginator"] = shared
        for endpoint in endpoints:
            del endpoint["paginator"]


def _nothing_found(
    source: DiscoveredSource,
    refused: str,
    logins: Mapping[str, int],
    name: str,
    auth: Mapping[str, Any] | None,
    connections: Connections,
) -> Exception:
    """Why there is no table: the credentials, or what each endpoint answered."""
    if connections.get(name, "password") and (auth or {}).get("type") != "login":
        tried = ", ".join(f"{safe_url(url, connections)} answered {code}" for url, code in logins.items())
        login = f"a login gave no token ({tried})" if tried else "no login was found at the usual paths"
        return ConnectionError(
            f"no endpoint returns records to {name}'s user and password, and {login}. Are they right? If the API logs "
            f"in elsewhere, declare client.auth with `type: login` and one table in sources/{source.name}.yml, and run "
            f"sluice discover {source.name}"
        )
    if refused:
        keys = [key for _, key in REFERENCE.findall(str(auth))] or ["token"]
        places = " and ".join(connections.place(name, key) for key in keys)
        return ConnectionError(
            f"the API refuses to answer without valid credentials: {refused}. Set {places}"
        )
    why = "; ".join(f"{what}: {reason}" for what, reason in list(source.skipped.items())[:10])
    return UsageError(f"no endpoint returns records ({why or 'the document has none'})")


def _refusal(refused: str, name: str, auth: Mapping[str, Any], connections: Connections) -> ConnectionError:
    keys = [key for _, key in REFERENCE.findall(str(auth))]
    places = " and ".join(connections.place(name, key) for key in keys)
    return ConnectionError(
        f"the API does not answer without valid credentials: {refused}. Set {places} (also understood: username and "
        "password, api_key), and run this again"
    )
