"""Finds by trying how an API gives its records in pages: one request after the other, compared with the first page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
import yaml

from sluice.discover.dialects import record_paths
from sluice.extract.exact_json import dumps
from sluice.extract.rest.endings import MORE, PAGES, TOKEN, TOTAL, full_page, signs_of_more
from sluice.extract.rest.paginators import NEXT, beside_records, letters, link_not_followed

LIST_NAMES = (
    "data",
    "results",
    "items",
    "value",
    "values",
    "records",
    "rows",
    "entries",
    "hits",
    "objects",
    "content",
)
"""Names under which APIs put the records, the likelier first."""
PAGE_NAMES = ("page", "page_number", "pagenumber", "pageindex", "p", "pg")
OFFSET_NAMES = ("offset", "skip", "start", "startindex", "start_index", "from", "$skip")
LIMIT_NAMES = (
    "limit",
    "per_page",
    "perpage",
    "pagesize",
    "page_size",
    "size",
    "count",
    "take",
    "top",
    "max_results",
    "$top",
)
CURSOR_NAMES = (
    *(
        "cursor",
        "page_token",
        "pagetoken",
        "next_cursor",
        "nextpagetoken",
        "after",
        "starting_after",
        "continuation",
    ),
    *("next", "marker", "token"),
)
COMMON = {
    "page": ["page"],
    "limit": ["limit", "per_page"],
    "offset": ["offset"],
    "cursor": ["cursor", "page_token", "after", "starting_after"],
}
"""Parameters that are tried where no document names any."""
MOST_REQUESTS = 7
"""Requests for one endpoint, beside the first."""

Get = Callable[[Mapping[str, Any]], requests.Response]
"""Requests an endpoint with more parameters of the query; raises requests.RequestException, also for an error."""


@dataclass(frozen=True)
class Page:
    """One answer with records."""

    response: requests.Response
    selector: str
    """Path of the list of records; empty: the document."""
    records: list[Any]

    @property
    def identities(self) -> list[bytes]:
        """The records as texts, by which pages are compared."""
        return [dumps(record) for record in self.records]


@dataclass
class Paging:
    """How an endpoint pages, and the records that were seen on the way."""

    paginator: dict[str, Any] | None = None
    """As `endpoint.paginator` declares it; None: one answer, or not found."""
    reason: str = ""
    records: list[Any] = field(default_factory=list)
    is_whole: bool = False
    """Whether these are all records."""
    total: int | None = None
    """How many records the API says there are."""
    question: str | None = None


def find_page(response: requests.Response, selector: str | None = None) -> Page | None:
    """The records in an answer; None if it has no list of objects."""
    document = response.json()
    if selector is not None:
        for key in filter(None, selector.split(".")):
            document = document.get(key) if isinstance(document, dict) else None
        return Page(response, selector, document) if isinstance(document, list) else None
    found = [(".".join(path), records) for path, records in record_paths(document)]
    if isinstance(document, dict) and "id" in document:  # a record with lists inside
        return None
    if not found:
        return _empty_page(response, document)
    named = {name: place for place, name in enumerate(LIST_NAMES)}
    best = min(found, key=lambda one: (named.get(one[0].rpartition(".")[2].lower(), 99), -len(one[1])))
    return Page(response, *best)


def _empty_page(response: requests.Response, document: Any) -> Page | None:
    """An answer without records, if it is clear where they would be."""
    if document == []:
        return Page(response, "", [])
    lists = [(".".join(path), value) for path, value in beside_records(document) if value == []]
    named = [one for one in lists if one[0].rpartition(".")[2].lower() in LIST_NAMES]
    chosen = named or (lists if len(lists) == 1 else [])
    return Page(response, chosen[0][0], []) if chosen else None


class PagingTrial:
    """Tries one way to page after the other on one endpoint."""

    def __init__(
        self, get: Get, first: Page, parameters: Sequence[str], known: Sequence[dict[str, Any]]
    ) -> None:
        self._get, self._first, self._known = get, first, known
        self._names = list(parameters)
        self._requests = 0
        self._records = dict(zip(first.identities, first.records, strict=True))
        self._total = _total(first)

    def found(self) -> Paging:
        """How the endpoint pages."""
        paging = self._found()
        paging.records = list(self._records.values())
        paging.total = self._total if self._total is not None and self._total >= len(paging.records) else None
        if paging.total is not None and paging.total == len(paging.records):
            paging.is_whole = True
        return paging

    def _found(self) -> Paging:
        for way in (self._link, self._cursor, self._page_number, self._offset):
            if (paging := way()) is not None:
                return paging
        count = len(self._first.records)
        if null := self._empty_link():
            return Paging(
                {"type": "json_link", "next_url_path": null},
                f"{null} is the link to a next page; it is empty",
                is_whole=True,
            )
        more = next(signs_of_more(self._first.response, count, 1), None)
        why = f"the answer says so ({more.text})" if more else full_page(self._first.response, count)
        if why:  # no paginator is declared, so that a load refuses or warns to take a part for all
            question = f"are there more than {count} records? {why[:1].upper()}{why[1:]}, but no further page was found"
            return Paging(None, question=f"{question}; declare the paginator")
        reason = f"{count} records in one answer, without a sign of more; a load looks for such signs, too"
        return Paging(None, reason, is_whole=True)

    # -- ways ------------------------------------------------------------------------------------------

    def _link(self) -> Paging | None:
        found = link_not_followed(self._first.response)
        if found is None:
            return None
        where, _, declared = found.partition(": paginator: ")
        paginator = yaml.safe_load(declared)
        return Paging(paginator, f"a link in {where}")

    def _empty_link(self) -> str | None:
        """The path of a link to the next page that is empty, because there is none."""
        for path, value in beside_records(self._first.response.json()):
            if value is None and NEXT.fullmatch(letters(path[-1])):
                return ".".join(path)
        return None

    def _cursor(self) -> Paging | None:
        more = self._more()
        ends = {"has_more_path": more} if more else {}
        for at, value in self._cursors():
            for parameter in dict.fromkeys(
                [at.rpartition(".")[2], *self._candidates("cursor", CURSOR_NAMES)]
            ):
                page = self._try({parameter: value})
                if page is not None and self._is_next(page):
                    paginator = {"type": "cursor", "cursor_path": at, "cursor_param": parameter, **ends}
                    return self._paged(
                        paginator, page, f"{parameter} with the value at {at} brought other records"
                    )
        return None

    def _cursors(self) -> Iterator[tuple[str, Any]]:
        """Values that may name the next page, by their path: cursors, and where there is more the last identifier."""
        for path, value in beside_records(self._first.response.json()):
            names = [letters(part) for part in path]
            is_cursor = any(TOKEN.fullmatch(name) or name in ("cursor", "cursors") for name in names)
            is_after = any(map(NEXT.fullmatch, names[:-1]))
            if (is_cursor or is_after) and value and type(value) in (str, int):
                yield ".".join(path), value
        last = self._first.records[-1] if self._first.records else {}
        if self._more() and "id" in last:
            yield f"{self._first.selector or '$'}[-1].id", last["id"]

    def _page_number(self) -> Paging | None:
        for parameter in self._candidates("page", PAGE_NAMES):
            second = self._try({parameter: 2}) if self._first.records else None
            if second is None or second.identities == self._first.identities:
                continue
            size: dict[str, Any] = {}
            if not second.records:  # all records are on the first page; smaller pages show more
                return self._small_pages(parameter)
            one = self._try({parameter: 1})
            base = 1 if one is not None and one.identities == self._first.identities else 0
            following = one if base == 0 and one is not None else second
            if not self._is_next(following):
                continue
            paginator = {
                "type": "page_number",
                "base_page": base,
                "page_param": parameter,
                **self._pages(parameter),
                **size,
            }
            return self._paged(
                paginator,
                following,
                f"{parameter}={base + 1} brought records that the first page does not have",
            )
        return None

    def _small_pages(self, parameter: str) -> Paging | None:
        """Pages by a parameter whose second page is empty: that is evidence only if page 1 is not."""
        one = self._try({parameter: 1})
        if one is None or one.identities != self._first.identities:
            return None
        paginator = {"type": "page_number", "base_page": 1, "page_param": parameter, **self._pages(parameter)}
        return Paging(
            paginator, f"{parameter}=1 brought the first page, {parameter}=2 an empty one", is_whole=True
        )

    def _offset(self) -> Paging | None:
        count = len(self._first.records)
        for parameter in self._candidates("offset", OFFSET_NAMES) if count > 1 else ():
            for limit in self._candidates("limit", LIMIT_NAMES):
                size = max(count // 2, 1)
                page = self._try({parameter: size, limit: size})
                if page is None or not page.records or page.identities[0] == self._first.identities[0]:
                    continue
                if page.identities[: count - size] != self._first.identities[size : size + len(page.records)]:
                    continue
                beyond = self._try({parameter: count, limit: count})
                paginator: dict[str, Any] = {
                    "type": "offset",
                    "limit": count,
                    "offset_param": parameter,
                    "limit_param": limit,
                }
                paginator["total_path"] = self._total_path()
                reason = f"{parameter}={size} and {limit}={size} brought the records from there on"
                paging = self._paged(paginator, beyond or page, reason)
                paging.is_whole = beyond is not None and not beyond.records
                return paging
        return None

    # -- requests and what they say --------------------------------------------------------------------

    def _candidates(self, what: str, names: Sequence[str]) -> Iterator[str]:
        """Parameters that may be meant: those that worked elsewhere, that the document names, or that are common."""
        documented = [
            n for n in self._names if n.lower() in names or letters(n) in {letters(x) for x in names}
        ]
        worked = [str(way[key]) for way in self._known for key in (f"{what}_param",) if key in way]
        yield from dict.fromkeys([*worked, *(documented or ([] if self._names else COMMON[what]))])

    def _try(self, parameters: Mapping[str, Any]) -> Page | None:
        """The page that these parameters bring; None if there is none, or enough was asked."""
        if self._requests >= MOST_REQUESTS:
            return None
        self._requests += 1
        try:
            return find_page(self._get(parameters), self._first.selector)
        except (requests.RequestException, ValueError):
            return None

    def _is_next(self, page: Page) -> bool:
        """Whether a page has records, and none of the first."""
        return bool(page.records) and not set(page.identities) & set(self._first.identities)

    def _paged(self, paginator: dict[str, Any], page: Page, reason: str) -> Paging:
        self._records |= dict(zip(page.identities, page.records, strict=True))
        return Paging(paginator, reason)

    def _pages(self, parameter: str) -> dict[str, Any]:
        """Where the answer says how many pages there are, or whether there is one more."""
        for path, value in beside_records(self._first.response.json()):
            if PAGES.fullmatch(letters(path[-1])) and isinstance(value, int) and not isinstance(value, bool):
                return {"total_path": ".".join(path)}
        more = self._more()
        return {"total_path": None, **({"has_more_path": more} if more else {})}

    def _more(self) -> str | None:
        """Where the answer says whether there is a next page."""
        for path, value in beside_records(self._first.response.json()):
            if MORE.fullmatch(letters(path[-1])) and isinstance(value, bool):
                return ".".join(path)
        return None

    def _total_path(self) -> str | None:
        found = _total_at(self._first)
        return ".".join(found[0]) if found else None


def _total(page: Page) -> int | None:
    """How many records there are, as the answer says in its body or a header."""
    if found := _total_at(page):
        return found[1]
    for name, value in page.response.headers.items():
        if TOTAL.fullmatch(letters(name)) and value.isdigit():
            return int(value)
    return None


def _total_at(page: Page) -> tuple[tuple[str, ...], int] | None:
    for path, value in beside_records(page.response.json()):
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if is_number and value >= len(page.records) and TOTAL.fullmatch(letters(path[-1])):
            return path, value
    return None
