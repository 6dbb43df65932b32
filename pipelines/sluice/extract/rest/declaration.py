"""Checks what a rest source declares against dlt's own definitions, without network or secrets."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError
from typing import Any, Required, TypedDict, get_args, get_type_hints

from dlt.common import jsonpath
from dlt.common.exceptions import DictValidationException
from dlt.common.validation import validate_dict
from dlt.sources.rest_api import typing as rest_typing
from dlt.sources.rest_api.config_setup import (
    build_resource_dependency_graph,
    setup_incremental_object,
)

from sluice.config.checks import located
from sluice.config.connections import REFERENCE
from sluice.config.declaration import RestSource, RestTable, Source, Table
from sluice.config.mistakes import shown
from sluice.config.yaml_file import Problem
from sluice.errors import with_hint
from sluice.extract.rest.paginators import HeaderLinkConfig, make_paginator

Path = tuple[str | int, ...]
Finding = tuple[Path, str]

LOAD: Path = ("config", "meta", "load")
NOT_IN_YAML = {"session", "convert", "transform", "processing_steps", "last_value_func", "json_response"}
"""dlt's keys and values that take a Python object or are deprecated."""
PAGINATORS: dict[str, Any] = {
    "json_link": rest_typing.JSONLinkPaginatorConfig,
    "header_link": HeaderLinkConfig,
    "header_cursor": rest_typing.HeaderCursorPaginatorConfig,
    "cursor": rest_typing.JSONResponseCursorPaginatorConfig,
    "offset": rest_typing.OffsetPaginatorConfig,
    "page_number": rest_typing.PageNumberPaginatorConfig,
    "single_page": rest_typing.PaginatorTypeConfig,
    "auto": rest_typing.PaginatorTypeConfig,
}


class LoginConfig(TypedDict, total=False):
    """Our own auth type."""

    type: str
    path: str | None
    url: str | None
    body: dict[str, Any] | None
    form: dict[str, Any] | None
    token_path: Required[str]
    header: str | None
    scheme: str | None
    method: str | None
    expires_path: str | None


AUTHS: dict[str, tuple[Any, set[str]]] = {
    "bearer": (rest_typing.BearerTokenAuthConfig, {"token"}),
    "api_key": (rest_typing.ApiKeyAuthConfig, {"api_key"}),
    "http_basic": (rest_typing.HttpBasicAuthConfig, {"username", "password"}),
    "oauth2_client_credentials": (
        rest_typing.OAuth2ClientCredentialsConfig,
        {"access_token_url", "client_id", "client_secret"},
    ),
    "login": (LoginConfig, {"token_path"}),
}
"""Type of auth -> its keys, and those that are required (without them dlt reads its own configuration files)."""


def check(source: Source[RestSource, RestTable]) -> list[tuple[list[str | int], str]]:
    """What is wrong in the declaration of a rest source, without network or secrets: path in the file, message.

    Paths begin at the source's entry, e.g. ["tables", 0, "config", "meta", "load", "endpoint", "paginator"].
    """
    found = list(_check_client(source.load.client, (*LOAD, "client")))
    defaults = source.load.resource_defaults
    unknown = [key for key in defaults if key != "endpoint"]
    found += [
        ((*LOAD, "resource_defaults", key), "is not a key here; allowed is endpoint") for key in unknown
    ]
    defaults_at: Path = (*LOAD, "resource_defaults", "endpoint")
    shared = list(_check_endpoint(defaults["endpoint"], defaults_at)) if "endpoint" in defaults else []
    found += shared
    for i, table in enumerate(source.declared):
        at: Path = ("tables", i, *LOAD, "endpoint")  # has the defaults in it
        inherited = [((*at, *path[len(defaults_at) :]), message) for path, message in shared]
        found += [finding for finding in _check_endpoint(table.load.endpoint, at) if finding not in inherited]
    if not found:
        found += _check_graph(source)
    return [(list(path), message) for path, message in found]


def problems(source: Source[RestSource, RestTable]) -> list[Problem]:
    """The findings of `check` with the lines they stand on."""
    return located(source, _in_words(source))


def _in_words(source: Source[RestSource, RestTable]) -> Iterator[tuple[list[str | int], str, str]]:
    """The findings of `check` with the place in words."""
    for path, message in check(source):
        table = source.declared[int(path[1])].name if path[0] == "tables" else ""
        keys = [str(part) for part in path if not isinstance(part, int) and part not in ("tables", *LOAD)]
        yield path, ".".join(filter(None, [source.name, table, *keys])), message


def _check_client(client: dict[str, Any], at: Path) -> Iterator[Finding]:
    yield from _check_keys(
        rest_typing.ClientConfig, client, at, needed={"base_url"}, skip={"auth", "paginator"}
    )
    yield from _check_auth(client.get("auth"), (*at, "auth"))
    yield from _check_paginator(client.get("paginator"), (*at, "paginator"))


def _check_endpoint(endpoint: Any, at: Path) -> Iterator[Finding]:
    if not isinstance(endpoint, dict):
        yield at, f"is {shown(endpoint)}: write a mapping with the key path"
        return
    own = {"auth", "paginator", "params", "incremental", "response_actions"}
    yield from _check_keys(rest_typing.Endpoint, endpoint, at, skip=own)
    yield from _check_auth(endpoint.get("auth"), (*at, "auth"))
    yield from _check_paginator(endpoint.get("paginator"), (*at, "paginator"))
    if (incremental := endpoint.get("incremental")) is not None:
        yield from _check_keys(
            rest_typing.IncrementalConfig, incremental, (*at, "incremental"), needed={"cursor_path"}
        )
        yield from _check_path(incremental, "cursor_path", (*at, "incremental"))
    yield from _check_path(endpoint, "data_selector", at)
    for key in ("params", "json"):
        if key in endpoint and endpoint[key] is None:
            yield (*at, key), "is empty; write a mapping, or leave the key out"
    params = endpoint.get("params") or {}
    if not isinstance(params, dict):
        yield (*at, "params"), f"is {shown(params)}: write a mapping"
        return
    for name, param in params.items():
        here = (*at, "params", name)
        kind = param.get("type") if isinstance(param, dict) else None
        if isinstance(param, dict) and kind not in ("resolve", "incremental"):
            yield here, f"has the type {shown(kind)}; allowed are resolve, incremental"
        elif kind == "resolve":
            yield from _check_keys(rest_typing.ResolveParamConfig, param, here, needed={"resource", "field"})
        elif kind == "incremental":
            yield from _check_keys(rest_typing.IncrementalParamConfig, param, here, needed={"cursor_path"})
    actions = endpoint.get("response_actions") or []
    if not isinstance(actions, list):
        yield (*at, "response_actions"), f"is {shown(actions)}: write a list"
        return
    for i, action in enumerate(actions):
        here = (*at, "response_actions", i)
        yield from _check_keys(rest_typing.ResponseActionDict, action, here, needed={"action"})
        if isinstance(action, dict) and action.get("action", "ignore") != "ignore":
            yield (*here, "action"), f"is {shown(action['action'])}; allowed is ignore"


def _check_auth(auth: Any, at: Path) -> Iterator[Finding]:
    if auth is None:
        return
    kind = auth.get("type", "bearer") if isinstance(auth, dict) else auth
    if not isinstance(auth, dict) or not isinstance(kind, str) or kind not in AUTHS:
        yield (*at, "type") if isinstance(auth, dict) else at, f"is {shown(kind)}; {_allowed(AUTHS, kind)}"
        return
    spec, needed = AUTHS[kind]
    yield from _check_keys(spec, auth, at, needed=needed, skip={"type"}, what=f"auth {kind}")
    if kind == "login":
        if ("path" in auth) == ("url" in auth):
            yield at, "auth login needs either path (below base_url) or url"
        if "body" in auth and "form" in auth:
            yield at, "auth login sends either body (as JSON) or form, not both"
        yield from _check_path(auth, "token_path", at)


def _check_paginator(paginator: Any, at: Path) -> Iterator[Finding]:
    if paginator is None:
        return
    kind = paginator.get("type", "auto") if isinstance(paginator, dict) else paginator
    if not isinstance(kind, str) or kind not in PAGINATORS:
        yield (
            (*at, "type") if isinstance(paginator, dict) else at,
            f"is {shown(kind)}; {_allowed(PAGINATORS, kind)}",
        )
        return
    if isinstance(paginator, dict):
        wrong = list(_check_keys(PAGINATORS[kind], paginator, at, skip={"type"}, what=f"paginator {kind}"))
        yield from wrong
        if wrong:
            return
    if kind == "offset" and (not isinstance(paginator, dict) or "limit" not in paginator):
        yield at, "offset needs the number of records per page: write {type: offset, limit: 100}"
        return
    try:
        make_paginator(copy.deepcopy(paginator))
    except (TypeError, AttributeError):  # a value that dlt does not look at before it uses it
        empty = (
            [key for key, inner in paginator.items() if inner is None] if isinstance(paginator, dict) else []
        )
        yield (*at, *empty[:1]), "is empty; write a value, or leave the key out"
    except Exception as error:
        yield at, f"does not work: {error}"


def _check_keys(
    spec: Any, value: Any, at: Path, needed: Collection[str] = (), skip: Collection[str] = (), what: str = ""
) -> Iterator[Finding]:  # fmt: skip
    """Keys of a mapping against one of dlt's typed dictionaries, and the types of their values."""
    if not isinstance(value, dict):
        yield at, f"is {shown(value)}: write a mapping"
        return
    types = {k: t for k, t in get_type_hints(spec).items() if k not in NOT_IN_YAML}
    for key, inner in value.items():
        if key not in types:
            known = f"is not a key of {what}" if what else "is not a key here"
            yield (*at, key), f"{known}; {_allowed(types, key)}"
        elif key not in skip:
            try:
                validate_dict(TypedDict("one", {key: types[key]}), {key: inner}, ".")  # type: ignore[operator]
            except DictValidationException:
                yield (*at, key), f"is {shown(inner)}; it has to be {_spoken(types[key])}"
    for key in sorted(set(needed) - set(value)):
        yield at, f"{what + ' ' if what else ''}needs {key}"


def _check_path(value: Any, key: str, at: Path) -> Iterator[Finding]:
    path = value.get(key) if isinstance(value, dict) else None
    if isinstance(path, str):
        try:
            jsonpath.compile_path(path)
        except Exception as error:
            yield (*at, key), f"is {path!r}, which is not a JSON path: {error}"


def _check_graph(source: Source[RestSource, RestTable]) -> Iterator[Finding]:
    """Parents, placeholders and cursors, as dlt combines them; then what the loader needs beyond that."""
    try:
        resources = [as_resource(table, _without_secrets(table.load.endpoint)) for table in source.declared]
        graph, configs, resolved_of = build_resource_dependency_graph({}, resources)  # type: ignore[arg-type]
        order = list(graph.static_order())
    except Exception as error:
        named = [i for i, table in enumerate(source.declared) if f"`{table.name}`" in str(error)]
        named += [i for i, table in enumerate(source.declared) if f"'{table.name}'" in str(error)]
        path = ("tables", named[0], *LOAD, "endpoint") if named else LOAD
        yield path, f"does not fit together: {_why_not(error, source)}"
        return
    position = {table.name: i for i, table in enumerate(source.declared)}
    parents = {resolved[0].resolve_config["resource"] for resolved in resolved_of.values() if resolved}
    moving: set[str] = set()
    for name in order:
        table = source.declared[position[name]]
        at: Path = ("tables", position[name], *LOAD)
        config: Any = configs[name]
        resolved = resolved_of[name]
        parent = resolved[0].resolve_config["resource"] if resolved else None
        if config.get("include_from_parent") and not parent:
            yield (*at, "include_from_parent"), "means nothing here: no param is resolved from a parent"
        try:
            endpoint = config["endpoint"]
            incremental, *_ = setup_incremental_object(
                endpoint.get("params") or {}, endpoint.get("incremental")
            )
        except Exception as error:
            yield (*at, "endpoint"), f"does not work: {error}"
            continue
        if incremental is not None or parent in moving:
            moving.add(name)
        if table.load.deletes:
            yield from _check_deletes(source, table, parent if parent in moving else None, at)
        if table.load.disposition() != "merge" and (
            parent in moving or (incremental is not None and (name in parents or incremental.lag))
        ):
            whose = f"what is new in {parent}" if parent in moving else "what is new, and some of it again"
            yield at, f"reads only {whose}, so it needs a primary_key by which new records replace old ones"
        elif (
            table.load.disposition() == "append"
            and incremental is not None
            and incremental.on_cursor_value_missing == "include"
        ):
            yield (
                at,
                "takes records without a cursor with every load, so it needs a primary_key to know them by",
            )


def _check_deletes(
    source: Source[RestSource, RestTable], table: Table[RestTable], moving: str | None, at: Path
) -> Iterator[Finding]:
    """Deletions are found only where all records are read; `moving`: a parent of which only what is new is read."""
    paginator = table.load.endpoint.get("paginator") or source.load.client.get("paginator")
    bounds = [
        key
        for key in ("maximum_page", "maximum_offset")
        if isinstance(paginator, dict) and paginator.get(key)
    ]
    if moving:
        news = f"of {moving}, whose records it is read for, only what is new is read"
        yield (*at, "deletes"), f"compare_keys needs a table that is read whole; {news}"
    elif bounds:
        yield (
            (*at, "deletes"),
            f"compare_keys needs a table that is read whole; its paginator has a {bounds[0]}",
        )


def _why_not(error: Exception, source: Source[RestSource, RestTable]) -> str:
    """dlt's reason in words for people who write YAML."""
    text = str(error)
    if isinstance(error, CycleError):
        return f"{', '.join(sorted(set(error.args[1])))} need each other's records in a circle"
    if found := re.match(r"The path '(.+?)' defined in resource .+ requires a param named '(.+?)'", text):
        return f"the path {found[1]!r} needs {found[2]}: declare it under params"
    if found := re.search(r"refers to non existing parent resource `(.+?)`", text):
        names = [table.name for table in source.declared]
        return with_hint(f"the table {found[1]!r} is not declared in this source", found[1], names)
    return text


def _without_secrets(value: Any) -> Any:
    """A copy with a plain text for every reference, whose braces dlt would read as placeholders."""
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return REFERENCE.sub("secret", value) if isinstance(value, str) else value


def as_resource(table: Table[RestTable], endpoint: dict[str, Any]) -> dict[str, Any]:
    """A table as dlt's rest_api wants its resources."""
    included = table.load.include_from_parent
    return {
        "name": table.name,
        "endpoint": endpoint,
        **({"include_from_parent": included} if included else {}),
    }


def _allowed(choices: Iterable[str], given: Any) -> str:
    names = [name for name in choices if name not in NOT_IN_YAML]
    return with_hint(f"allowed are {', '.join(sorted(names))}", str(given), names)


def _spoken(annotation: Any) -> str:
    """A type in words for people who write YAML."""
    arguments = get_args(annotation)
    if not arguments:
        words = {
            str: "a text",
            int: "a whole number",
            bool: "true or false",
            float: "a number",
            dict: "a mapping",
        }
        return words.get(
            annotation, "a text" if not hasattr(annotation, "__required_keys__") else "a mapping"
        )
    if all(isinstance(argument, str) for argument in arguments):
        return "one of " + ", ".join(arguments)
    origin = getattr(annotation, "__origin__", None)
    if origin in (dict, list):
        return "a mapping" if origin is dict else "a list"
    return " or ".join(dict.fromkeys(_spoken(a) for a in arguments if a is not type(None)))
