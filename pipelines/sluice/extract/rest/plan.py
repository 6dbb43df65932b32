"""From a declaration and its secrets to the endpoints that are read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from dlt.sources.helpers.rest_client.auth import OAuth2ClientCredentials
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.rest_api.config_setup import build_resource_dependency_graph, create_auth

from sluice.config.connections import REFERENCE, Connections
from sluice.config.declaration import RestSource, RestTable, Source, Table
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext
from sluice.extract.rest.declaration import as_resource
from sluice.extract.rest.endpoint import Endpoint
from sluice.extract.rest.errors import safe_url
from sluice.extract.rest.http import Login, Session
from sluice.extract.rest.paginators import make_paginator

SECRETS_OF_AUTH = {"api_key", "client_secret", "password", "token"}


class Plan:
    """The declaration, with its secrets, as dlt's parts want it; makes the endpoints that are read."""

    def __init__(
        self,
        source: Source[RestSource, RestTable],
        wanted: dict[str, Table[RestTable]],
        context: ExtractContext,
    ) -> None:
        self.source = source
        self.context = context
        self._wanted = wanted
        self._client = context.connections.fill(source.load.client)
        resources = [
            as_resource(table, _fill(table.load.endpoint, context.connections)) for table in source.declared
        ]
        graph, configs, self._resolved = build_resource_dependency_graph({}, resources)  # type: ignore[arg-type]
        self._configs: dict[str, Any] = configs
        self._reading = ""
        self._session = Session(context.connections, lambda what: context.retried(self._reading, what))
        self._auth = make_auth(self._client.get("auth"), self._session, self._client["base_url"])
        order = list(graph.static_order())
        needed = set(wanted)
        for name in reversed(order):
            if name in needed and (parent := self._parent(name)):
                needed.add(parent)
        self._order = [name for name in order if name in needed]
        self.roots = [name for name in self._order if not self._parent(name)]

    def _parent(self, name: str) -> str | None:
        resolved = self._resolved[name]
        return resolved[0].resolve_config["resource"] if resolved else None

    def close(self) -> None:
        """End the connections."""
        self._session.close()

    def family(self, root: str) -> Endpoint:
        """A root endpoint with all that is wanted or needed below it, ready to be read."""
        made = {root: self._endpoint(root, None)}
        for name in self._order:
            if (parent := self._parent(name)) in made:
                made[name] = self._endpoint(name, made[parent])
                made[parent].children.append(made[name])
        return made[root]

    def _endpoint(self, name: str, parent: Endpoint | None) -> Endpoint:
        resource = self._configs[name]
        config = copy.deepcopy(resource["endpoint"])
        base_url = self._client["base_url"]
        own = config.get("auth")
        client = _Client(
            self._reads(name),
            [base_url, config["path"]],
            base_url=base_url,
            headers=self._client.get("headers"),
            auth=make_auth(own, self._session, base_url) if own else self._auth,
            paginator=make_paginator(self._client.get("paginator")),
            session=self._session,
        )
        return Endpoint(
            name=name,
            config=config,
            client=client,
            context=self.context,
            source=self.source,
            table=self._wanted.get(name),
            parent=parent,
            resolved=self._resolved[name],
            include_from_parent=resource.get("include_from_parent") or [],
        )

    def _reads(self, name: str) -> Callable[[], None]:
        """Called before each request of an endpoint, so that retries are reported for the right table."""

        def reads() -> None:
            self._reading = name

        return reads


class _Client(RESTClient):
    """dlt's client, with a call before each request, and secrets only for the declared hosts."""

    session: Session

    def __init__(self, before_request: Callable[[], None], declared: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self._before_request = before_request
        self._declared = [url for url in declared if url.startswith(("http://", "https://"))]

    def _send_request(self, request: requests.Request, **options: Any) -> requests.Response:
        self._before_request()
        self._keep_to_host(request)
        return super()._send_request(request, **options)

    def _keep_to_host(self, request: requests.Request) -> None:
        """Raise LoadError for a URL, taken from an answer, by which another host would get the secrets.

        One of the same host without TLS, as servers behind a proxy write them, is asked for with TLS.
        """
        asked = str(request.url)
        if not self._declared or any(self.session.is_same_host(url, asked) for url in self._declared):
            return
        sent = f"{asked} {request.headers} {request.json} {request.data!r}"
        if any(self.session.is_same_host(asked, url) for url in self._declared):
            request.url = asked.replace("http://", "https://", 1)
        elif request.auth or self.session.is_secret(sent):
            raise LoadError(
                f"a URL in the answer leads to another host, {safe_url(asked, self.session.connections)}, which "
                f"would get the credentials of {urlsplit(self._declared[0]).netloc}. Nothing was loaded. Check "
                "client.base_url, or declare a table without auth for that host"
            )


def _fill(value: Any, connections: Connections, inside_auth: bool = False) -> Any:
    """`connections.fill`, with the braces in secrets doubled where dlt would read them as placeholders."""
    if isinstance(value, dict):
        return {k: _fill(inner, connections, inside_auth or k == "auth") for k, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, connections, inside_auth) for inner in value]
    if isinstance(value, str) and not inside_auth and REFERENCE.search(value):
        return REFERENCE.sub(
            lambda m: connections.require(m[1], m[2]).replace("{", "{{").replace("}", "}}"), value
        )
    return connections.fill(value)


def make_auth(config: Any, session: Session, base_url: str) -> Any:
    if isinstance(config, dict) and config.get("type") == "login":
        return Login(session, base_url, **{k: v for k, v in config.items() if k != "type"})
    if isinstance(config, dict):  # whatever the connection calls them
        for key in SECRETS_OF_AUTH & config.keys():
            session.connections.conceal(str(config[key]))
    auth = create_auth(config)
    if isinstance(auth, OAuth2ClientCredentials):
        auth.session = session  # so that the request for its token is retried as pages are
    return auth
