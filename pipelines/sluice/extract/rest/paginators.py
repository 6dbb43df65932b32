"""The next page: by dlt's paginators, or by a URL in any header; and a URL of one that no paginator followed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    HeaderCursorPaginator,
    HeaderLinkPaginator,
    JSONLinkPaginator,
)
from dlt.sources.rest_api import typing as rest_typing
from dlt.sources.rest_api.config_setup import create_paginator
from requests import Response

DEPTH = 5
"""How deep in the answer a link to the next page is looked for."""
HREFS = ("href", "url", "uri", "link")
"""Keys of a link that is an object."""
RELS = ("rel", "relation")
"""Keys that say what a link in a list leads to."""
NEXT = re.compile(
    r"(?:x|odata|paging|page|pagination|links?)*next(?:page|link|url|uri|href|records|results)*"
)
"""Names, in small letters without signs, of a link to the next page; not of a next invoice or a next run."""

LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w*-]+(?:\s*=\s*(?:"[^"]*"|[^\s";,]+))?)*)')
PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"([^"]*)"|([^\s";,]+))')
"""One link of a header in the form of `Link`, whose URL may have commas and semicolons; and a parameter of it."""
ODATA = re.compile(r"(?<![\w'\"@])@?odata\.\w+")
"""Keys with a dot in them, which a JSON path would take for two."""


class HeaderLinkConfig(rest_typing.HeaderLinkPaginatorConfig, total=False):
    """dlt's keys, and the header that has the link."""

    header: str | None


class HeaderLink(HeaderLinkPaginator):
    """The URL in a header: in the form of `Link`, by its rel, or the whole value."""

    def __init__(self, links_next_key: str = "next", header: str = "Link") -> None:
        super().__init__(links_next_key)
        self.header = header

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Called by dlt with each answer."""
        value = response.headers.get(self.header, "").strip()
        found = _links(value).get(self.links_next_key.lower()) if value.startswith("<") else value
        self._next_reference = found or None


class JSONLink(JSONLinkPaginator):
    """The URL in a field of the body; an empty one ends the pages."""

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Called by dlt with each answer."""
        super().update_state(response, data)
        self._next_reference = self._next_reference or None


class HeaderCursor(HeaderCursorPaginator):
    """The value of a header; an empty one ends the pages, as GitLab's `X-Next-Page` does."""

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Called by dlt with each answer."""
        super().update_state(response, data)
        self._next_reference = self._next_reference or None


OURS: dict[str, Callable[..., BasePaginator]] = {
    "header_link": HeaderLink,
    "json_link": JSONLink,
    "header_cursor": HeaderCursor,
}


def make_paginator(config: Any) -> BasePaginator | None:
    """The paginator of a declaration; None where none is declared, so that dlt guesses it."""
    if isinstance(config, str) and config in OURS:
        config = {"type": config}
    if not isinstance(config, dict):
        return create_paginator(config)
    quoted = {
        key: ODATA.sub(r"'\g<0>'", value) if isinstance(value, str) else value
        for key, value in config.items()
    }
    if ours := OURS.get(str(quoted.get("type"))):
        return ours(**{key: value for key, value in quoted.items() if key != "type"})
    return create_paginator(quoted)  # type: ignore[arg-type]


def link_not_followed(response: Response) -> str | None:
    """Where an answer has the URL of another page, and how to declare it; None where it has none."""
    for name, value in response.headers.items():
        for rel, url in _links(value).items():
            if NEXT.fullmatch(letters(rel)) and _leads_on(url, response):
                header = "" if name.lower() == "link" else f", header: {name}"
                return f"the header {name}: paginator: {{type: header_link, links_next_key: {rel}{header}}}"
        if NEXT.fullmatch(letters(name)) and _leads_on(value, response):
            return f"the header {name}: paginator: {{type: header_link, header: {name}}}"
    for path, value in beside_records(response.json()):
        name = path[-2] if path[-1].lower() in HREFS and path[1:] else path[-1]
        place = ""
        if isinstance(value, list):
            value, place = _listed_link(value)
        elif not NEXT.fullmatch(letters(name)):
            continue
        if _leads_on(value, response):
            place = ".".join(part if part.isidentifier() else f"'{part}'" for part in path) + place
            return f'{place} in the body: paginator: {{type: json_link, next_url_path: "{place}"}}'
    return None


def _listed_link(links: list[Any]) -> tuple[Any, str]:
    """The URL of the next page in `[{rel: next, href: …}]`, and the path from the list to it; None without one."""
    for link in links:
        keys = link if isinstance(link, Mapping) else {}
        for rel in (key for key in RELS if NEXT.fullmatch(letters(str(keys.get(key))))):
            for href in (key for key in HREFS if key in keys):
                return keys[href], f"[?(@.{rel}=='{keys[rel]}')].{href}"
    return None, ""


def _links(header: str) -> dict[str, str]:
    """URL by rel, in small letters, of a header in the form of `Link`."""
    return {
        rel.lower(): url
        for url, parameters in LINK.findall(header if header.startswith("<") else "")
        for name, quoted, bare in PARAMETER.findall(parameters)
        if name.lower() == "rel"
        for rel in (quoted or bare).split()
    }


def _leads_on(value: Any, response: Response) -> bool:
    """Whether a value is the URL, absolute or relative, of another page of the same server."""
    if not isinstance(value, str) or not re.match(r"https?://|[\w./-]*[/?]", value):
        return False
    url = urljoin(response.url, value)
    return url != response.url and urlsplit(url).netloc == urlsplit(response.url).netloc


def beside_records(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Values in an answer that are not in a list, and lists as a whole, by their path."""
    if not isinstance(value, Mapping) or len(path) > DEPTH:
        return
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from beside_records(inner, (*path, name))
        else:
            yield (*path, name), inner


def letters(name: str) -> str:
    """A name in small letters without signs."""
    return re.sub("[^a-z]", "", name.lower())
