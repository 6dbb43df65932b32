"""Reads an OpenAPI (or Swagger 2) document: the server, how to log in, and the endpoints that return records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import yaml

from sluice.discover.contract import DiscoveredColumn
from sluice.errors import UsageError

DEPTH = 8
"""How many references of a schema are followed, one inside of another."""
PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
TYPES = {
    ("string", "date-time"): "timestamptz",
    ("string", "date"): "date",
    ("integer", None): "bigint",
    ("number", None): "double",
    ("boolean", None): "boolean",
    ("object", None): "json",
    ("array", None): "json",
}
"""Declared types by a schema's type and format."""


@dataclass(frozen=True)
class Listing:
    """A GET that may return a list of records."""

    path: str
    """Below the base URL, without a slash at the begin; placeholders in braces."""
    comment: str | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Parameters of the query by name, each with its schema's keys."""
    columns: tuple[DiscoveredColumn, ...] = ()
    """Of a record, as the document describes it; empty if it does not."""
    is_documented: bool = False
    """Whether a document names the endpoint and its parameters."""

    @property
    def placeholders(self) -> list[str]:
        """Parameters of the path."""
        return PLACEHOLDER.findall(self.path)


@dataclass
class Api:
    """What a document says of an API."""

    base_url: str
    description: str | None = None
    auth: list[dict[str, Any]] = field(default_factory=list)
    """Ways to log in, as `client.auth` declares them, with `${name.key}` for each secret."""
    listings: list[Listing] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    """Paths that take a POST, among which may be a login."""
    skipped: dict[str, str] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)


def parse(text: str) -> dict[str, Any] | None:
    """A document as a mapping, from JSON or YAML; None if it is no OpenAPI document."""
    try:
        document = json.loads(text) if text.lstrip()[:1] == "{" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return None
    return document if isinstance(document, dict) and (document.keys() & {"openapi", "swagger"}) else None


def read(document: Mapping[str, Any], url: str | None, name: str) -> Api:
    """The API that a document describes.

    `url`: where the document was read; the server may be relative to it. `name`: of the connection with the secrets.
    Raises UsageError if the document names no server.
    """
    info = _mapping(document.get("info"))
    api = Api(_base_url(document, url), _text(info.get("description")) or _text(info.get("title")))
    api.auth = [auth for scheme in _schemes(document) if (auth := _auth(scheme, name))]
    if _schemes(document) and not api.auth:
        kinds = ", ".join(sorted(str(scheme.get("type")) for scheme in _schemes(document)))
        api.questions.append(
            f"the API logs in by {kinds}, which a load does not: is there a token, or a login of its own?"
        )
    for path, item in _mapping(document.get("paths")).items():
        if _mapping(item).get("post"):
            api.posts.append(path.lstrip("/"))
        operation = _mapping(_mapping(item).get("get"))
        if not operation:
            continue
        shared = _mapping(item).get("parameters") or []
        listing, why = _listing(document, path, operation, [*shared, *(operation.get("parameters") or [])])
        if listing:
            api.listings.append(listing)
        else:
            api.skipped[f"GET {path}"] = why
    return api


def _base_url(document: Mapping[str, Any], url: str | None) -> str:
    servers = document.get("servers") or []
    server = _mapping(servers[0] if servers else {})
    base = str(server.get("url") or "")
    for key, variable in _mapping(server.get("variables")).items():
        base = base.replace(f"{{{key}}}", str(_mapping(variable).get("default", "")))
    if document.get("host"):
        schemes = document.get("schemes") or ["https"]
        base = f"{'https' if 'https' in schemes else schemes[0]}://{document['host']}{document.get('basePath', '')}"
    elif document.get("basePath"):
        base = str(document["basePath"])
    if not base.startswith(("http://", "https://")):
        if url is None:
            raise UsageError(
                "the document names no server: discover the API by the URL of the document instead of a file"
            )
        base = urljoin(url, base or "/")
    return base.rstrip("/") + "/"


def _schemes(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The security schemes; those that all operations need first."""
    schemes = _mapping(_mapping(document.get("components")).get("securitySchemes")) or _mapping(
        document.get("securityDefinitions")
    )
    needed = [key for requirement in document.get("security") or [] for key in requirement]
    ordered = [*(key for key in needed if key in schemes), *(key for key in schemes if key not in needed)]
    return [_resolved(document, schemes[key]) for key in ordered]


def _auth(scheme: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """One scheme as `client.auth` declares it; None for those that a load does not know."""
    kind = str(scheme.get("type", "")).lower()
    if kind == "http" and str(scheme.get("scheme", "")).lower() == "bearer":
        return {"type": "bearer", "token": f"${{{name}.token}}"}
    if kind == "basic" or (kind == "http" and str(scheme.get("scheme", "")).lower() == "basic"):
        return {
            "type": "http_basic",
            "username": f"${{{name}.username}}",
            "password": f"${{{name}.password}}",
        }
    if kind == "apikey" and scheme.get("in") in ("header", "query"):
        return {
            "type": "api_key",
            "name": str(scheme.get("name")),
            "location": str(scheme["in"]),
            "api_key": f"${{{name}.api_key}}",
        }
    flows = _mapping(scheme.get("flows"))
    flow = _mapping(flows.get("clientCredentials")) or (scheme if scheme.get("flow") == "application" else {})
    if kind == "oauth2" and flow.get("tokenUrl"):
        return {
            "type": "oauth2_client_credentials",
            "access_token_url": str(flow["tokenUrl"]),
            "client_id": f"${{{name}.client_id}}",
            "client_secret": f"${{{name}.client_secret}}",
        }
    flow = _mapping(flows.get("password")) or (scheme if scheme.get("flow") == "password" else {})
    if kind == "oauth2" and flow.get("tokenUrl"):
        place = str(flow["tokenUrl"])
        form = {
            "grant_type": "password",
            "username": f"${{{name}.username}}",
            "password": f"${{{name}.password}}",
        }
        return {
            "type": "login",
            "url" if "://" in place else "path": place,
            "form": form,
            "token_path": "access_token",
        }
    return None


def _listing(
    document: Mapping[str, Any], path: str, operation: Mapping[str, Any], parameters: list[Any]
) -> tuple[Listing | None, str]:
    """The endpoint, or why it is left out."""
    resolved = [_resolved(document, parameter) for parameter in parameters]
    query = {str(p.get("name")): p for p in resolved if p.get("in") == "query"}
    if needed := [n for n, p in query.items() if p.get("required") and _default(document, p) is None]:
        return None, f"needs {', '.join(needed)}, whose value the document does not say"
    schema = _answer(document, operation)
    record = _record(document, schema) if schema else None
    if schema and record is None:
        return None, "returns one object, not a list of records"
    if path.rstrip("/").endswith("}") and record is None:
        return None, "is one record by its identifier"
    comment = _text(operation.get("summary")) or _text(operation.get("description"))
    details = {
        n: {**_resolved(document, p.get("schema")), **p, "default": _default(document, p)}
        for n, p in query.items()
    }
    columns = tuple(_columns(document, record)) if record else ()
    return Listing(path.lstrip("/"), comment, details, columns, is_documented=True), ""


def _default(document: Mapping[str, Any], parameter: Mapping[str, Any]) -> Any:
    """A value by which a parameter can be filled: its default, its example, or the first of its values."""
    schema = _resolved(document, parameter.get("schema"))
    for place in (parameter, schema):
        for key in ("default", "example"):
            if place.get(key) is not None:
                return _plain(place[key])
    values = schema.get("enum") or parameter.get("enum") or [None]
    return _plain(values[0])


def _plain(value: Any) -> Any:
    """A value as a parameter: YAML reads a day as a date."""
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _answer(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a good answer in JSON; None if the document has none."""
    for status, answer in _mapping(operation.get("responses")).items():
        if not str(status).startswith("2") and status != "default":
            continue
        resolved = _resolved(document, answer)
        for kind, content in _mapping(resolved.get("content")).items():
            if "json" in str(kind) or kind == "*/*":
                return _resolved(document, _mapping(content).get("schema")) or None
        if resolved.get("schema"):
            return _resolved(document, resolved["schema"])
    return None


def _record(
    document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0
) -> Mapping[str, Any] | None:
    """The schema of a record: the items of the answer, or of a list of objects in it; None for one object."""
    if depth > 3:
        return None
    if schema.get("type") == "array" or "items" in schema:
        items = _resolved(document, schema.get("items"))
        return (
            items
            if _properties(document, items) or not items.get("type") or items["type"] == "object"
            else None
        )
    lists = []
    for name, inner in _properties(document, schema).items():
        found = (
            _record(document, inner, depth + 1) if inner.get("type") in ("array", "object", None) else None
        )
        if found is not None:
            lists.append((name.lower() not in ("data", "results", "items", "value", "records"), depth, found))
    if "id" in _properties(document, schema):  # a record with lists inside
        return None
    return min(lists, key=lambda one: one[:2])[2] if lists else None


def _columns(document: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[DiscoveredColumn]:
    required = set(record.get("required") or [])
    for name, schema in _properties(document, record).items():
        kind = schema.get("type")
        kinds = [one for one in kind if one != "null"] if isinstance(kind, list) else [kind]
        form = schema.get("format")
        data_type = TYPES.get((str(kinds[0]), form)) or TYPES.get((str(kinds[0]), None), "text")
        nullable = name not in required or bool(schema.get("nullable")) or "null" in (kind or [])
        yield DiscoveredColumn(name, data_type, nullable, _text(schema.get("description")))


def _properties(
    document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0
) -> dict[str, Mapping[str, Any]]:
    """The properties of an object, also those of the schemas it is made of."""
    found: dict[str, Mapping[str, Any]] = {}
    for part in (schema.get("allOf") or []) if depth < DEPTH else ():  # a schema may be made of itself
        found |= _properties(document, _resolved(document, part), depth + 1)
    return found | {
        str(name): _resolved(document, inner) for name, inner in _mapping(schema.get("properties")).items()
    }


def _resolved(document: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """A part of the document, or what its `$ref` names within the document."""
    for _ in range(DEPTH):
        if not isinstance(value, Mapping):
            return {}
        reference = value.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return value
        value = document
        for part in reference[2:].split("/"):
            value = (
                value.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(value, Mapping) else None
            )
    return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    """A text on one line; None if there is none."""
    return " ".join(value.split()) or None if isinstance(value, str) else None
