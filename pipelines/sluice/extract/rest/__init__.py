"""Web APIs, declared in the keys of dlt's rest_api source.

dlt's parts do the work: its client, paginators, authentication, incremental cursors and the resolving of
children. Only the loop around them is ours, because dlt's pipes stop every table when one fails.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any

import pyarrow as pa
import requests
from dlt.common import jsonpath
from dlt.extract.incremental import Incremental
from dlt.sources.helpers.rest_client.auth import OAuth2ClientCredentials
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.helpers.rest_client.exceptions import PaginatorNotFound
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator, RangePaginator
from dlt.sources.rest_api.config_setup import (
    build_resource_dependency_graph,
    create_auth,
    create_paginator,
    create_response_hooks,
    paginate_dependent_resource,
    paginate_resource,
    setup_incremental_object,
)

from sluice.config.connections import REFERENCE, Connections
from sluice.config.declaration import RestSource, RestTable, Source, Table
from sluice.errors import ConnectionError, LoadError, SluiceError
from sluice.extract.contract import ExtractContext, Extraction, Failed, JsonRecords
from sluice.extract.exact_json import dumps
from sluice.extract.rest.cursor import compare_by_meaning, of_meaning
from sluice.extract.rest.declaration import as_resource, check, problems
from sluice.extract.rest.http import BadAnswer, Login, Session, explain, renew
from sluice.extract.row_buffer import ValueBuffer

__all__ = ["check", "extract", "problems"]

RECORDS = pa.schema([("_record", pa.string())])
PARENT_CURSOR = "parent_cursor"
"""Key of a child's state: how far its parent had been read when the child was last complete."""


SECRETS_OF_AUTH = {"api_key", "client_secret", "password", "token"}
PASSES = 3
"""How often pages are read when their records move while they are read."""
ENVELOPE = {"code", "detail", "details", "error", "error_description", "errors", "message", "msg", "ok", "path"} | {
    "reason", "request_id", "status", "status_code", "success", "timestamp", "title", "trace_id", "type"
}  # fmt: skip
"""Keys of an object that only tells of an error."""
ENVELOPE_DEPTH = 3
ENVELOPE_WIDTH = 50
"""How deep, and in objects of how many keys, a number of records is looked for beside the records."""
MOVED = (
    f"records moved between pages while they were read, {PASSES} times over, so some may have been skipped. Let the "
    "API sort by what never changes, such as the id or the time of creation; or is the primary_key not unique?"
)


def extract(
    source: Source[RestSource, RestTable], tables: Sequence[Table[RestTable]], context: ExtractContext
) -> Generator[Extraction, None, None]:
    """Records of every table; a parent that children need is fetched once, also when it is not loaded itself.

    A family (a parent with its children) is delivered when all of it was read. Errors are LoadError, or
    ConnectionError when the API cannot be reached or refuses the credentials.
    """
    wanted = {table.name: table for table in tables}
    if found := check(source):
        for place, table in enumerate(source.declared):
            wrong = [message for path, message in found if path[0] != "tables" or path[1] == place]
            if table.name in wanted and wrong:
                error = LoadError(f"{table.qualified}: {wrong[0]}. See `sluice check`")
                yield Failed(wanted.pop(table.name), error)
    if not wanted:
        return
    try:
        plan = _Plan(source, wanted, context)
    except Exception as error:
        failure = error if isinstance(error, SluiceError) else LoadError(f"{source.name}: {error}")
        yield from (Failed(table, failure) for table in wanted.values())
        return
    try:
        for root in plan.roots:
            yield from _family(root, plan)
    finally:
        plan.close()


# -- the loop --------------------------------------------------------------------------------------------


@dataclass
class _Endpoint:
    """One endpoint while it is read."""

    name: str
    config: dict[str, Any]
    client: RESTClient
    context: ExtractContext
    source: Source[RestSource, RestTable]
    table: Table[RestTable] | None
    """None for a parent that only its children need."""
    parent: _Endpoint | None
    resolved: Any
    include_from_parent: list[str]
    children: list[_Endpoint] = field(default_factory=list)
    file: ValueBuffer | None = None
    error: Exception | None = None
    cursor: dict[str, Any] = field(default_factory=dict)
    """How far it is read, as dlt's Incremental keeps it; goes into the state when the rows do."""
    closed: bool = False
    """Set by dlt's Incremental when the order of rows says that no more are wanted."""
    moved: bool = False
    """Whether records moved between pages while they were read, so that some may have been skipped."""
    last_page: Any = None

    has_parent = False  # for Incremental, which closes only what is no child

    def __post_init__(self) -> None:
        params = self.config.get("params") or {}
        incremental, self.param, self.convert = setup_incremental_object(
            params, self.config.get("incremental")
        )
        self.incremental: Incremental[Any] | None = incremental
        self.paginator = create_paginator(self.config.get("paginator"))
        self.counted = self.paginator or self.client.paginator
        if isinstance(self.counted, RangePaginator) and (
            self.counted.total_path or self.counted.has_more_path
        ):
            # the API says how far it goes: an empty page on the way is not the end
            self.counted.stop_after_empty_page = False
        self.hooks = create_response_hooks(self.config.get("response_actions"))
        selector = self.config.get("data_selector")
        # a path given as text would be compiled anew for each page, which takes as long as the page itself
        self.selector = jsonpath.compile_path(selector) if selector else None
        if self.table is not None:
            self.file = ValueBuffer(
                self.context.folder / f"{self.name}.records.parquet", RECORDS, self.context
            )

    def close(self) -> None:
        """Called by dlt's Incremental."""
        self.closed = True

    def family(self) -> Iterator[_Endpoint]:
        """This endpoint and all below it."""
        yield self
        for child in self.children:
            yield from child.family()

    def begin(self) -> None:
        """Bind the cursor; a child that lags behind takes its parent back to where the child stopped."""
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
            # rows of the boundary value come again and are recognised as unchanged by their key
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
        """Part of a table's state; empty when everything is to be read anew."""
        found: dict[str, Any] = {} if self.context.options.full_refresh else self.context.state(table)
        for key in keys:
            found = found.get(key) or {}
        return found

    def state(self) -> dict[str, Any]:
        """What the state keeps once the rows are staged: its own cursor, and how far its parents were read.

        A parent's cursor moves on although a child failed, so a child has to know for itself what it has seen.
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

    def pages(self, parent_record: Any) -> Iterator[list[Any]]:
        """Pages of records; of a child, those that belong to a record of its parent."""
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
        if self.parent is None:
            pages: Iterator[Any] = paginate_resource(**common)
        else:
            resolved = [param.param_name for param in self.resolved]
            common["params"] = {k: v for k, v in common["params"].items() if k not in resolved}
            pages = paginate_dependent_resource(
                items=[parent_record],
                resolved_params=self.resolved,
                include_from_parent=self.include_from_parent,
                **common,
            )
        previous: bytes | None = None
        watch = _Watch(next(t.load.primary_key for t in self.source.declared if t.name == self.name))
        for page in pages:
            body = page.response.content
            if (page or getattr(self.counted, "has_more_path", None)) and body == previous:
                raise LoadError(
                    "the API gives the same page again and again: the paginator does not fit it. Check "
                    "client.paginator or endpoint.paginator"
                )
            previous = body
            self.refuse_an_error(page)
            self.last_page = page
            if isinstance(page.paginator, RangePaginator):
                watch.see(page)
            rows = self.incremental(list(page)) if self.incremental else page
            if rows:
                yield rows
            if self.closed:
                break
        self.moved = self.moved or watch.has_moved()
        if (
            isinstance(self.counted, OffsetPaginator)
            and not self.closed
            and watch.is_passed_over(self.counted.limit)
        ):
            raise LoadError(
                f"the API gives fewer records a page than the limit of {self.counted.limit}, so that records between "
                "the pages are passed over; set the paginator's limit to what the API gives at most"
            )

    def refuse_an_error(self, page: Any) -> None:
        """Raise BadAnswer for the word that something went wrong: some servers say so with status 200."""
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

    def was_refused_in_silence(self) -> bool:
        """Whether the last page is empty only because the token had ended: a new one brings records.

        Some servers (PocketBase) take a token that has ended for nobody's, and show what everybody may see: nothing.
        """
        if self.last_page is None or self.last_page:
            return False
        request = self.last_page.response.request.copy()
        if not renew(self.last_page.auth, request):
            return False
        response = self.client.session.send(request)
        return bool(response.ok and self.client.extract_response(response, self.selector or "$"))

    def keep(self, rows: list[Any]) -> None:
        """Append records to the buffer."""
        if self.file is not None:
            records = [dumps(row) for row in rows]
            self.file.extend(records, size=sum(map(len, records)))
            self.context.progress(self.name, len(rows))


class _Watch:
    """Tells whether records moved between pages that are counted off while they were read.

    A record that is removed draws those behind it one place forward, one that changes its place in the order leaves
    its old page for a later one, one that is new pushes those behind it back. The first shows in what the API says how
    much there is, the others in a record that comes twice.
    """

    def __init__(self, primary_key: Sequence[str]) -> None:
        self._key = itemgetter(*primary_key) if primary_key else None
        self._pages = 0
        self._rows = 0
        self._sizes: list[int] = []
        self._totals: list[Any] = []
        """What the declared total says with every page."""
        self._counts: dict[tuple[str, ...], list[int]] = {}
        """Numbers beside the records, by their path; the one that ends as the number of records read counts them."""
        self._seen = array("q")
        """Hashes of the records' keys, each once a page."""

    def see(self, page: Any) -> None:
        """Note a page; must come before anything changes its records."""
        self._pages += 1
        self._rows += len(page)
        self._sizes.append(len(page))
        if page.paginator.total_path:
            self._totals += jsonpath.find_values(page.paginator.total_path, page.response.json())[:1]
        numbers = dict(_numbers(page.response.json()))
        if self._pages == 1:
            self._counts = {path: [] for path, number in numbers.items() if number > len(page)}
        self._counts = {
            path: [*seen, numbers[path]] for path, seen in self._counts.items() if path in numbers
        }
        self._seen.extend({hash(self._identity(record)) for record in page})

    def _identity(self, record: Any) -> str | bytes:
        """What tells the record from others: its key, or all of it."""
        if self._key is not None:
            try:
                return str(self._key(record))
            except (KeyError, TypeError):
                pass
        return dumps(record)

    def is_passed_over(self, limit: int) -> bool:
        """Whether offsets that rise by `limit` leave out records, because the API gives fewer a page.

        Pages short of some records only, such as those one may not see, have no size in common.
        """
        full = [size for size in self._sizes if size][:-1]
        capped = bool(full) and full[0] < limit and len(set(full)) == 1
        short = bool(self._totals) and str(self._totals[-1]).isdigit() and self._rows < int(self._totals[-1])
        return capped and (short or len(full) > 1)

    def has_moved(self) -> bool:
        if self._pages < 2:
            return False
        series = [self._totals, *(c for c in self._counts.values() if c[-1] == self._rows)]
        if any(later < earlier for numbers in series for earlier, later in pairwise(numbers)):
            return True
        came_twice = len(set(self._seen)) < len(self._seen)
        # without a key there may be equal records: only when there are more in all than before, one was pushed back
        return came_twice and (self._key is not None or any(len(set(numbers)) > 1 for numbers in series))


def _numbers(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Whole numbers in an answer that stand beside its records."""
    if isinstance(value, dict) and len(path) < ENVELOPE_DEPTH and len(value) <= ENVELOPE_WIDTH:
        for name, inner in value.items():
            if type(inner) is int:
                yield (*path, name), inner
            else:
                yield from _numbers(inner, (*path, name))


def _family(name: str, plan: _Plan) -> Iterator[Extraction]:
    """Read a root endpoint and, page by page, the children of its records; then deliver all of them."""
    for attempt in range(1, PASSES + 1):
        root = plan.family(name)
        for endpoint in root.family():
            endpoint.begin()
        _read(root, None)
        if not (again := _why_again(root, attempt)):
            break
        if attempt < PASSES:
            plan.context.retried(name, f"{again}; reading {attempt + 1} of {PASSES}")
            for endpoint in root.family():
                if endpoint.file:
                    plan.context.progress(endpoint.name, -endpoint.file.rows)
                    endpoint.file.close()
                    endpoint.file.release()
            continue
        root.error = _failure(LoadError(MOVED), root)
        for below in root.family():
            below.error = below.error or _because_of(root, below)
    for endpoint in root.family():
        if endpoint.table is None or endpoint.file is None:
            continue
        file = endpoint.file
        file.close()
        if endpoint.error:
            file.release()
            yield Failed(endpoint.table, endpoint.error)
        else:
            yield JsonRecords(
                table=endpoint.table,
                relation=file.relation(),
                is_exact=file.is_exact,
                state=endpoint.state(),
                release=file.release,
            )


def _why_again(root: _Endpoint, attempt: int) -> str | None:
    """Why what was read has to be read again, if so; the second reading begins with a token that is known to live."""
    read = [endpoint for endpoint in root.family() if endpoint.error is None]
    if root.error:
        return None
    if any(endpoint.moved for endpoint in read):
        if root.last_page is not None:
            renew(root.last_page.auth, root.last_page.response.request.copy())
        return "records moved between pages while they were read"
    if attempt == 1:
        try:
            if any(endpoint.was_refused_in_silence() for endpoint in read):
                return "the server gave no records for a token that had ended"
        except requests.RequestException as error:
            root.error = _failure(error, root)
            for below in root.family():
                below.error = below.error or _because_of(root, below)
    return None


def _read(endpoint: _Endpoint, parent_record: Any) -> None:
    """Read an endpoint, or its part that belongs to one record of its parent."""
    try:
        for rows in endpoint.pages(parent_record):
            endpoint.keep(rows)
            for child in endpoint.children:
                for row in rows:
                    if child.error is None:
                        _read(child, row)
    except Exception as error:
        endpoint.error = _failure(error, endpoint)
        for below in endpoint.family():
            below.error = below.error or _because_of(endpoint, below)


def _earliest(cursors: list[dict[str, Any]], incremental: Incremental[Any]) -> dict[str, Any]:
    """Whichever has read least."""
    furthest = of_meaning(incremental)
    earliest = cursors[0]
    for cursor in cursors[1:]:
        values = [earliest.get("last_value"), cursor.get("last_value")]
        if values[0] is None:
            return earliest
        if values[1] is None or furthest(values) != values[1]:
            earliest = cursor
    return earliest


# -- from the declaration to endpoints -------------------------------------------------------------------


class _Plan:
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
        self._auth = _auth(self._client.get("auth"), self._session, self._client["base_url"])
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

    def family(self, root: str) -> _Endpoint:
        """A root endpoint with all that is wanted or needed below it, ready to be read."""
        made = {root: self._endpoint(root, None)}
        for name in self._order:
            if (parent := self._parent(name)) in made:
                made[name] = self._endpoint(name, made[parent])
                made[parent].children.append(made[name])
        return made[root]

    def _endpoint(self, name: str, parent: _Endpoint | None) -> _Endpoint:
        resource = self._configs[name]
        config = copy.deepcopy(resource["endpoint"])
        base_url = self._client["base_url"]
        own = config.get("auth")
        client = _Client(
            self._reads(name),
            base_url=base_url,
            headers=self._client.get("headers"),
            auth=_auth(own, self._session, base_url) if own else self._auth,
            paginator=create_paginator(self._client.get("paginator")),
            session=self._session,
        )
        return _Endpoint(
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
        """Called before each request of an endpoint, so that a retry is told of the right table."""

        def reads() -> None:
            self._reading = name

        return reads


class _Client(RESTClient):
    """dlt's client, which says when it asks."""

    def __init__(self, asking: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._asking = asking

    def _send_request(self, request: requests.Request, **options: Any) -> requests.Response:
        self._asking()
        return super()._send_request(request, **options)


def _limit(incremental: Incremental[Any], window: tuple[str | None, str | None]) -> None:
    """Read from one cursor value to another, which is excluded."""
    kind = type(incremental.initial_value)
    begin, end = (kind(v) if kind in (int, float) and v is not None else v for v in window)
    if begin is not None:
        incremental.initial_value = begin
    incremental.end_value = end


def _fill(value: Any, connections: Connections, inside_auth: bool = False) -> Any:
    """`connections.fill`, with braces of the secrets doubled where dlt takes braces for its placeholders."""
    if isinstance(value, dict):
        return {k: _fill(inner, connections, inside_auth or k == "auth") for k, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, connections, inside_auth) for inner in value]
    if isinstance(value, str) and not inside_auth and REFERENCE.search(value):
        return REFERENCE.sub(
            lambda m: connections.require(m[1], m[2]).replace("{", "{{").replace("}", "}}"), value
        )
    return connections.fill(value)


def _auth(config: Any, session: Session, base_url: str) -> Any:
    if isinstance(config, dict) and config.get("type") == "login":
        return Login(session, base_url, **{k: v for k, v in config.items() if k != "type"})
    if isinstance(config, dict):  # whatever the connection calls them
        for key in SECRETS_OF_AUTH & config.keys():
            session.connections.conceal(str(config[key]))
    auth = create_auth(config)
    if isinstance(auth, OAuth2ClientCredentials):
        auth.session = session  # its token is asked for with the same patience as the pages
    return auth


# -- errors ----------------------------------------------------------------------------------------------


def _failure(error: Exception, endpoint: _Endpoint) -> Exception:
    """The error with source and table named and no secret in it."""
    name = f"{endpoint.source.name}.{endpoint.name}"
    connections = endpoint.context.connections
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


def _because_of(endpoint: _Endpoint, below: _Endpoint) -> LoadError:
    return LoadError(
        f"{below.source.name}.{below.name}: not loaded, because {endpoint.name}, whose records it is read for, failed"
    )
