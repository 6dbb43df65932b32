"""Signs in an API's last answer that it has more records than were read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from requests import Response

from sluice.extract.rest.paginators import NEXT, beside_records, letters

MORE = re.compile(
    r"x?(?:has|is)?(?:more|next|truncated)(?:page|items|results|records|rows|data|available)*s?"
)
"""Names, in small letters without signs, of what is true where there is more; of LAST, false."""
TRUE, FALSE = ("true", "1", "yes", "y"), ("false", "0", "no", "n")
LAST = re.compile(r"(?:is)?(?:last(?:page)?|done|complete|end(?:of(?:stream|list|data|results|pages))?)")
TOKEN = re.compile(
    r"(?:x|odata|meta|paging|page|pagination)*next(?:page|cursor|token|offset|marker|start|skip|key|number|id)*"
    r"|(?:x|ms)*continu(?:e|ation)(?:token|key)?|resumptiontoken|lastevaluatedkey"
)
"""Names of a cursor or number of the next page."""
PLACE = re.compile(r"after|page|cursor|offset|start|token|number|skip|marker|key|value")
"""Names of a cursor or number in an object that is called as the next page is, such as `next: {after: 7}`."""
PAGES = re.compile(
    r"(?:x|wp)*(?:(?:total|number|num|count)?(?:of)?pages?(?:count|total)|(?:total|numof|numberof)?pages|lastpage)"
)
TOTAL = re.compile(
    r"(?:x|wp|odata|api|items|records|results|rows|objects|elements|hits)*(?:total|count|numfound|nbhits)"
    r"(?:count|items|results|records|elements|rows|hits|size|objects|entries|number|value)*"
)
SIZE = re.compile(r"(?:page|max|per|results|items|hits)*(?:limit|size|page|results|records|items)")
ASKED = re.compile(rf"{SIZE.pattern}|top|first|rows|take|count|num|number")
"""Names of the records that a page has at most: in an answer, and in a request."""
AROUND = re.compile(
    r"(?:response)?(?:meta|metadata|paging|pagination|page|pageinfo|info|hits|results?|data|list|header)"
)
"""Names of objects whose `total` is that of the records."""
BESIDE = re.compile(
    r"(?:page|per|current|max|start|next|prev|previous|last|first|has|total|is)*"
    r"(?:limit|offset|page|perpage|pagesize|size|skip|start|from|pages|more|next|previous|prev|index|pagecount)"
    r"|startat|max(?:results|items|records)"
)
"""Names that show that the object they are in is about paging."""
ROUND = {10, 20, 25, 30}
"""Usual sizes of a page that are not a multiple of 50."""


@dataclass(frozen=True)
class Sign:
    """What an answer says, in words."""

    text: str
    is_total: bool = False
    records: int | None = None
    """How many records it says there are."""
    is_certain: bool = True
    """Whether nothing else can be meant by it."""


def is_envelope(document: Any) -> bool:
    """Whether an answer that was taken for one record may be a page of some."""
    return (
        isinstance(document, Mapping)
        and "id" not in document
        and any(
            isinstance(value, list) and value and isinstance(value[0], Mapping) for value in document.values()
        )
    )


def signs_of_more(response: Response, records: int, pages: int) -> Iterator[Sign]:
    """What says that there are more than these records on these pages; the first one is the clearest."""
    totals = []
    for path, value in _stated(response):
        name, shown = letters(path[-1]), ".".join(path)
        number = int(value) if str(value).isdigit() and not isinstance(value, bool) else None
        if MORE.fullmatch(name) and str(value).lower() in TRUE:
            yield Sign(f"{shown} is {str(value).lower()}")
        elif LAST.fullmatch(name) and value is False:
            yield Sign(f"{shown} is false")
        elif _is_token(path, name) and value and not isinstance(value, bool | float):
            yield Sign(f"{shown} has a value")
        elif PAGES.fullmatch(name):
            if number is not None and number > pages:
                yield Sign(f"{shown} is {value}, read was {pages}", is_total=True)
        elif number is not None and number > records and (TOTAL.fullmatch(name) or _is_total(path)):
            totals.append(Sign(f"{shown} is {value}", True, number, _is_about_paging(path, name, response)))
    yield from totals


def says_end(response: Response, records: int) -> bool:
    """Whether an answer says that it is the last: next is null, has_more is false, or all of the total were read."""
    for path, value in _stated(response):
        name = letters(path[-1])
        is_next = NEXT.fullmatch(name) or TOKEN.fullmatch(name)
        if is_next and (value is None or value is False or value == ""):
            return True
        if MORE.fullmatch(name) and str(value).lower() in FALSE:
            return True
        if (LAST.fullmatch(name) and value is True) or (TOTAL.fullmatch(name) and str(value) == str(records)):
            return True
    return False


def full_page(response: Response, records: int) -> str | None:
    """Why a page may be one that was cut at its size; None if it is smaller than that."""
    query = parse_qsl(urlsplit(response.request.url or "").query)
    if str(records) in [value for name, value in query if ASKED.fullmatch(letters(name))]:
        return "as many as were asked for"
    stated = [str(value) for path, value in _stated(response) if SIZE.fullmatch(letters(path[-1]))]
    sizes = [int(value) for value in stated if value.isdigit()]
    if records in sizes:
        return "as many as the answer says a page has"
    is_cut = is_round(records) and not any(size > records for size in sizes)
    return "a round number, as pages have" if is_cut else None


def is_round(records: int) -> bool:
    """Whether an API is likely to have pages of this number of records."""
    return records in ROUND or (records > 0 and records % 50 == 0)


def _stated(response: Response) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Values in headers and, in the body, beside the records, by their path."""
    for name, value in response.headers.items():
        if name.lower() == "content-range":
            yield ("Content-Range total",), value.rpartition("/")[2]
        else:
            yield (name,), value
    yield from (stated for stated in beside_records(response.json()) if not isinstance(stated[1], list))


def _is_token(path: tuple[str, ...], name: str) -> bool:
    """Whether a value is the cursor or number of the next page: by its name, or by that of the object it is in."""
    above = [letters(part) for part in path[:-1]]
    if any(TOKEN.fullmatch(part) and not NEXT.fullmatch(part) for part in above):
        return True
    return bool(TOKEN.fullmatch(name) or (above and NEXT.fullmatch(above[-1]) and PLACE.fullmatch(name)))


def _is_total(path: tuple[str, ...]) -> bool:
    """Whether it is the number in `total: {value: 3}`, or that of Content-Range."""
    inner = path[1:] and letters(path[-1]) in ("value", "count") and letters(path[-2]) == "total"
    return bool(inner) or path[-1] == "Content-Range total"


def _is_about_paging(path: tuple[str, ...], name: str, response: Response) -> bool:
    """Whether a total counts records: `total` alone may be an amount."""
    if name not in ("total", "count"):
        return True
    if path[1:] and AROUND.fullmatch(letters(path[-2])):
        return True
    beside = response.json()
    for part in path[:-1]:
        beside = beside[part]
    others = [letters(key) for key in beside if key != path[-1]]
    return (len(others) < 2 and not path[1:]) or any(BESIDE.fullmatch(other) for other in others)
