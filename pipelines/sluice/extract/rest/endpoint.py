"""One endpoint while it is read: its cursor, its pages, and the records it brought."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from dlt.common import jsonpath
from dlt.extract.incremental import Incremental
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.helpers.rest_client.paginators import (
    OffsetPaginator,
    PageNumberPaginator,
    RangePaginator,
    SinglePagePaginator,
)
from dlt.sources.rest_api.config_setup import (
    create_response_hooks,
    paginate_dependent_resource,
    paginate_resource,
    setup_incremental_object,
)

from sluice.config.declaration import RestSource, RestTable, Source, Table
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext
from sluice.extract.exact_json import dumps
from sluice.extract.rest.cursor import compare_by_meaning, of_meaning
from sluice.extract.rest.endings import Sign, full_page, is_envelope, says_end, signs_of_more
from sluice.extract.rest.errors import BadAnswer, failure
from sluice.extract.rest.http import renew
from sluice.extract.rest.page_watch import PageWatch
from sluice.extract.rest.paginators import link_not_followed, make_paginator
from sluice.extract.row_buffer import ValueBuffer

RECORDS = pa.schema([("_record", pa.string())])
PAGES_WITHOUT_NEWS = 50
"""After this number of pages in a row without a record that is new, the paginator is taken to find no end."""
CAPPED = (
    "the API gives fewer records per page than the limit of {}, so that records between the pages are skipped; set the "
    "paginator's limit to the most that the API gives"
)
REMEMBERED_RECORDS = 2_000_000
"""After this number of records, new ones are not remembered any more: this bounds the memory that it takes."""
PARENT_CURSOR = "parent_cursor"
"""Key of a child's state: how far its parent had been read when the child was last complete."""


ENVELOPE = {"code", "detail", "details", "error", "error_description", "errors", "message", "msg", "ok", "path"} | {
    "reason", "request_id", "status", "status_code", "success", "timestamp", "title", "trace_id", "type"
}  # fmt: skip
"""Keys of an object that reports an error and is no record."""


@dataclass
class Endpoint:
    """One endpoint while it is read."""

    name: str
    config: dict[str, Any]
    client: RESTClient
    context: ExtractContext
    source: Source[RestSource, RestTable]
    table: Table[RestTable] | None
    """None for a parent that only its children need."""
    parent: Endpoint | None
    resolved: Any
    include_from_parent: list[str]
    children: list[Endpoint] = field(default_factory=list)
    file: ValueBuffer | None = None
    error: Exception | None = None
    cursor: dict[str, Any] = field(default_factory=dict)
    """How far it was read, as dlt's Incremental keeps it; saved in the state together with the rows."""
    closed: bool = False
    """Set by dlt's Incremental when, by the order of rows, no further page is needed."""
    moved: bool = False
    """Whether records moved between pages while they were read, so that some may have been skipped."""
    last_page: Any = None
    doubts: dict[str, str] = field(default_factory=dict)
    """Why there may be more records than were read, each kind of reason once."""
    single_pages: dict[int, int] = field(default_factory=dict)
    """How many times there was only one page, by its number of records; for each parent there may be one."""
    full_pages: dict[int, str] = field(default_factory=dict)
    """Why a page may have been cut, by its number of records."""

    has_parent = False  # for Incremental, which closes only endpoints that are not children

    def __post_init__(self) -> None:
        params = self.config.get("params") or {}
        incremental, self.param, self.convert = setup_incremental_object(
            params, self.config.get("incremental")
        )
        self.incremental: Incremental[Any] | None = incremental
        self.paginator = make_paginator(self.config.get("paginator"))
        self.counted = self.paginator or self.client.paginator
        declared = self.config.get(
            "paginator"
        )  # an object is dlt's choice, for a path that ends with a placeholder
        self.is_single = isinstance(self.counted, SinglePagePaginator) and self.counted is not declared
        if isinstance(self.counted, RangePaginator) and (
            self.counted.total_path or self.counted.has_more_path
        ):
            # the API says where it ends: an empty page before that is not the end
            self.counted.stop_after_empty_page = False
        self.hooks = create_response_hooks(self.config.get("response_actions"))
        selector = self.config.get("data_selector")
        # a path given as text would be compiled for each page, which takes as long as the page itself
        self.selector = jsonpath.compile_path(selector) if selector else None
        if self.table is not None:
            self.file = ValueBuffer(
                self.context.folder / f"{self.name}.records.parquet", RECORDS, self.context
            )

    def close(self) -> None:
        """Called by dlt's Incremental."""
        self.closed = True

    @property
    def qualified(self) -> str:
        return f"{self.source.name}.{self.name}"

    def fail(self, error: Exception) -> None:
        """Give up this endpoint and all below it."""
        self.error = failure(error, self.qualified, self.context.connections)
        for below in self.family():
            below.error = below.error or LoadError(
                f"{below.qualified}: not loaded, because {self.name}, whose records it is read for, failed"
            )

    def family(self) -> Iterator[Endpoint]:
        """This endpoint and all below it."""
        yield self
        for child in self.children:
            yield from child.family()

    def begin(self) -> None:
        """Bind the cursor; if a child is behind, its parent is read from where the child stopped."""
        if self.incremental is None:
            return
        known = [self._kept(self.name, "incremental", self.incremental.cursor_path)]
        known += [
            self._kept(below.name, PARENT_CURSOR, self.name)
            for below in self.family()
            if below is not self and below.table is not None
        ]
        self.cursor = copy.deepcopy(_earliest(known, self.incremental))
        if self.table is None or self.table.load.primary_key:
            # rows at the boundary value are read again, and by their key recognised as unchanged
            self.incremental.set_deduplication_key((), from_hints=False)
        if self.context.options.window:
            self.cursor = {}
            _limit(self.incremental, self.context.options.window)
        initial = self.incremental.initial_value
        fresh: dict[str, Any] = {
            "initial_value": initial,
            "last_value": initial,
            "start_value": initial,
            "unique_hashes": [],
        }
        self.cursor = {**fresh, **self.cursor}
        self.incremental.get_state = lambda: self.cursor  # type: ignore[method-assign,assignment,return-value]
        self.incremental.bind(self)  # type: ignore[arg-type]
        compare_by_meaning(self.incremental)

    def _kept(self, table: str, *keys: str) -> dict[str, Any]:
        """Part of a table's state; empty if everything is read from the beginning."""
        found = self.context.kept(table)
        for key in keys:
            found = found.get(key) or {}
        return found

    def state(self) -> dict[str, Any]:
        """What the state keeps once the rows are staged: its own cursor, and how far its parents were read.

        A parent's cursor moves on although a child failed, so each child records what it has seen itself.
        """
        if self.context.options.window:
            return {}
        state: dict[str, Any] = {}
        if self.incremental is not None:
            state["incremental"] = {self.incremental.cursor_path: self.cursor}
        above = self.parent
        while above is not None:
            if above.incremental is not None:
                state.setdefault(PARENT_CURSOR, {})[above.name] = copy.deepcopy(above.cursor)
            above = above.parent
        return state

    def reads_whole(self) -> bool:
        """Whether all records that the API has are read: not only what is new, and no less, also of its parents."""
        above = self.parent is None or self.parent.reads_whole()
        return self.incremental is None and self.warning() is None and above

    def pages(self, parent_record: Any) -> Iterator[list[Any]]:
        """Pages of records; of a child, those that belong to a record of its parent."""
        previous: bytes | None = None
        seen: set[int] = set()
        without_news = 0
        count, read = 0, 0
        watch = PageWatch(next(t.load.primary_key for t in self.source.declared if t.name == self.name))
        # of a list, records with a key that was there are not new; of changes they may be
        identity = dumps if self.incremental else watch.identity
        for page in self._requested(parent_record):
            body = page.response.content
            if (page or getattr(self.counted, "has_more_path", None)) and body == previous:
                raise LoadError(
                    "the API gives the same page again and again: the paginator does not fit it. Check "
                    "client.paginator or endpoint.paginator"
                )
            previous = body
            self.raise_for_error(page)
            self.last_page = page
            count, read = count + 1, read + len(page)
            records = {hash(identity(record)) for record in page}
            without_news = 0 if records - seen else without_news + 1
            seen |= records if len(seen) < REMEMBERED_RECORDS else set()
            if without_news >= PAGES_WITHOUT_NEWS:
                raise LoadError(
                    f"{without_news} pages in a row had no record that was not on an earlier page, the last of them "
                    f"{len(page)} record(s): the API does not come to an end, or the paginator does not fit it. Check "
                    "client.paginator or endpoint.paginator; of a cursor, has_more_path or stop_after_empty_page: true "
                    "says what the end is"
                )
            if isinstance(page.paginator, RangePaginator):
                watch.see(page)
            rows = self.incremental(list(page)) if self.incremental else page
            if rows:
                yield rows
            if self.closed:
                break
        self._check_end(count, read, watch)
        self.moved = self.moved or watch.has_moved()
        if (
            isinstance(self.counted, OffsetPaginator)
            and not self.closed
            and watch.skips_records(self.counted.limit)
        ):
            raise LoadError(CAPPED.format(self.counted.limit))

    def _check_end(self, pages: int, records: int, watch: PageWatch) -> None:
        """Raise LoadError where the last answer shows that there are more records, or note that there may be."""
        page = self.last_page
        if (
            page is None
            or not (page or watch.sizes)
            or self.is_single
            or self.closed
            or getattr(self.counted, "maximum_value", None) is not None
        ):
            return
        is_record = any(row is page.response.json() for row in page)
        if is_record and not is_envelope(page.response.json()):
            return
        if found := link_not_followed(page.response):
            raise LoadError(
                f"read {len(page)} record(s) of the last page, but the answer leads to another page, in {found}. "
                "Nothing was loaded, because what is there would be missed by all later loads. Declare it; if this is "
                "all that is wanted: paginator: single_page"
            )
        counts = isinstance(page.paginator, RangePaginator)
        is_capped = (
            isinstance(page.paginator, OffsetPaginator)
            and watch.may_be_cut(page.paginator.limit)
            and not says_end(page.response, records)
        )
        is_followed = not is_capped and (counts or pages > 1 or says_end(page.response, records))
        for sign in signs_of_more(page.response, records, pages):
            # a total may count what is not shown, or what is not new
            is_clear = not (counts and pages > 1)
            if sign.is_total:
                is_clear = sign.is_certain and not is_followed and not self.incremental
            if is_clear and is_capped:
                raise LoadError(CAPPED.format(page.paginator.limit))
            if self._lacks_first_page(sign, records, watch):
                raise LoadError(
                    f"read {records} record(s), but in the answer {sign.text}: as many as a page has are missing. "
                    "Nothing was loaded. If the API's first page is 0, declare base_page: 0"
                )
            if is_clear:
                raise LoadError(
                    f"read {records} record(s), but the answer says that there are more: {sign.text}. Nothing was "
                    "loaded, because the others would be missed by all later loads. Declare how the API pages in "
                    "client.paginator or endpoint.paginator; if this is all that is wanted: paginator: single_page"
                )
            if not is_record and not (is_followed and (self.incremental or not sign.is_certain)):
                self.doubts.setdefault("total", f"read {records} record(s), but in the answer {sign.text}")
        if not is_followed and not is_record:
            self.single_pages[records] = self.single_pages.get(records, 0) + 1
            if why := full_page(page.response, records):
                self.full_pages[records] = why

    def _lacks_first_page(self, sign: Sign, records: int, watch: PageWatch) -> bool:
        """Whether pages were counted from 1 where the API counts from 0."""
        if not isinstance(self.counted, PageNumberPaginator) or self.counted.initial_value == 0:
            return False
        missing = (sign.records or 0) - records
        return sign.is_certain and not self.incremental and missing == watch.sizes[0]

    def warning(self) -> str | None:
        """Why there may be more records than were read; None if nothing speaks for it."""
        largest = max(self.single_pages, default=0)
        often = (
            self.parent is None or self.single_pages.get(largest, 0) > 1
        )  # one of many children may have 10
        if why := self.full_pages.get(largest) if often else None:
            self.doubts.setdefault("full", f"the only page has {largest} records, {why}")
        if not self.doubts:
            return None
        gone = ". Records that are gone were not looked for" if self.table and self.table.load.deletes else ""
        return (
            f"{self.qualified}: {'; '.join(self.doubts.values())}; if there are more, they are missed. Looked for was "
            "the URL, cursor or number of a next page in the body and the headers, has_more, and a total. Declare how "
            f"the API pages in client.paginator or endpoint.paginator; single_page says that this is all{gone}"
        )

    def _requested(self, parent_record: Any) -> Iterator[Any]:
        """dlt's pages, each with its response."""
        common: dict[str, Any] = {
            "method": self.config.get("method") or "GET",
            "path": self.config["path"],
            "headers": self.config.get("headers"),
            "params": dict(self.config.get("params") or {}),
            "json": self.config.get("json"),
            "data": self.config.get("data"),
            "paginator": self.paginator,
            "data_selector": self.selector,
            "hooks": self.hooks,
            "client": self.client,
            "incremental_object": self.incremental,
            "incremental_param": self.param,
            "incremental_cursor_transform": self.convert,
        }
        pages: Iterator[Any]
        if self.parent is None:
            pages = paginate_resource(**common)
        else:
            resolved = [param.param_name for param in self.resolved]
            common["params"] = {k: v for k, v in common["params"].items() if k not in resolved}
            pages = paginate_dependent_resource(
                items=[parent_record],
                resolved_params=self.resolved,
                include_from_parent=self.include_from_parent,
                **common,
            )
        return pages

    def raise_for_error(self, page: Any) -> None:
        """Raise BadAnswer if the answer is an error: some servers report errors with status 200."""
        found = page.response.json()
        if not isinstance(found, dict):
            return
        failed = found.get("error") or found.get("errors") or found.get("success") is False
        is_record = any(row is found for row in page) and not set(found) <= ENVELOPE
        if failed and not is_record:
            text = self.context.connections.redact(" ".join(page.response.text.split()))[:200]
            raise BadAnswer(
                f"the answer says there was an error, with status 200: {text}", response=page.response
            )
        selector = self.config.get("data_selector") or "*"
        if not page and not set("*?") & set(selector) and not jsonpath.find_values(selector, found):
            raise BadAnswer(
                f"the answer has nothing at data_selector {selector!r}; it has "
                f"{', '.join(list(found)[:10]) or 'no key'}. Where the API leaves it out when there are no "
                f"records, write '{selector}[*]'",
                response=page.response,
            )

    def was_refused_silently(self) -> bool:
        """Whether the last page is empty only because the token had expired: with a new one there are records.

        Some servers (PocketBase) treat an expired token as none, and show what everybody may see: nothing.
        """
        if self.last_page is None or self.last_page:
            return False
        request = self.last_page.response.request.copy()
        if not renew(self.last_page.auth, request):
            return False
        response = self.client.session.send(request)
        return bool(response.ok and self.client.extract_response(response, self.selector or "$"))

    def append(self, rows: list[Any]) -> None:
        """Append records to the buffer."""
        if self.file is not None:
            records = [dumps(row) for row in rows]
            self.file.extend(records, size=sum(map(len, records)))
            self.context.progress(self.name, len(rows))


def _earliest(cursors: list[dict[str, Any]], incremental: Incremental[Any]) -> dict[str, Any]:
    """The cursor that has advanced least."""
    furthest = of_meaning(incremental)
    earliest = cursors[0]
    for cursor in cursors[1:]:
        values = [earliest.get("last_value"), cursor.get("last_value")]
        if values[0] is None:
            return earliest
        if values[1] is None or furthest(values) != values[1]:
            earliest = cursor
    return earliest


def _limit(incremental: Incremental[Any], window: tuple[str | None, str | None]) -> None:
    """Read from one cursor value to another, which is excluded."""
    kind = type(incremental.initial_value)
    begin, end = (kind(v) if kind in (int, float) and v is not None else v for v in window)
    if begin is not None:
        incremental.initial_value = begin
    incremental.end_value = end
