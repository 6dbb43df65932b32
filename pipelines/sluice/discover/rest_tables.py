"""The tables of an API: each endpoint is requested a few times, and what came back is read as a load would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import duckdb
import requests

from sluice.config.column_names import normalized
from sluice.config.declaration import Source
from sluice.discover.column_findings import columns_of, set_nullable, without_values
from sluice.discover.contract import (
    DiscoveredColumn,
    DiscoveredSource,
    DiscoveredTable,
    Limits,
    distinct_name,
)
from sluice.discover.file_groups import table_name
from sluice.discover.incremental import Incremental, find_incremental
from sluice.discover.openapi import PLACEHOLDER, Api, Listing
from sluice.discover.paging import Page, Paging, PagingTrial, find_page
from sluice.discover.trial_load import Trial, TrialLoads, fill
from sluice.extract.contract import JsonRecords
from sluice.extract.exact_json import dumps
from sluice.sql import one_row, quoted

PARENTS = 3
"""Records of a parent whose children are looked at."""
GENERIC = {"records", "list", "items", "all", "search", "query", "index", "find"}
"""Last parts of a path that say nothing of the records."""
REFUSED = (401, 403)
MOST_PAGES = 20
"""Pages up to which all records are read, so that keys and types are certain."""
MOST_ENDPOINTS = 60
"""Endpoints that are looked at, each with a few requests."""


class Client(Protocol):
    """Requests to the API."""

    def get(self, url: str, parameters: Mapping[str, Any] | None = None) -> requests.Response:
        """The answer; raises requests.RequestException, also for a status that is an error."""

    def explain(self, error: requests.RequestException) -> str:
        """What went wrong, without secrets."""


@dataclass
class Endpoints:
    """Adds a table for each endpoint that returns records to the source."""

    client: Client
    trials: TrialLoads
    con: duckdb.DuckDBPyConnection
    limits: Limits
    source: DiscoveredSource
    api: Api
    refused: str = ""
    """What the API said to the credentials, if it refused them."""
    _known: list[dict[str, Any]] = field(default_factory=list)
    """Paginators that work, for the endpoints that follow."""
    _records: dict[str, list[Any]] = field(default_factory=dict)
    """Records by the path of the endpoint."""
    _names: dict[str, str] = field(default_factory=dict)
    """Tables by the path of the endpoint."""

    def know(self, declared: Source[Any, Any]) -> None:
        """Take declared tables, which are among the source's already, for parents of the endpoints below theirs."""
        there = {table.name: table.relation for table in self.source.tables}
        for table in declared.declared:
            if relation := there.get(table.name):
                path = plain_path(table.load.endpoint["path"])
                rows = self.con.execute(f"select * from {relation} limit {PARENTS}")
                names = [name for name, *_ in rows.description or ()]
                self._records[path] = [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
                self._names[path] = table.name

    def add(self) -> None:
        """Parents first, then the endpoints whose path has one placeholder."""
        for listing in sorted(self.api.listings, key=lambda listing: len(listing.placeholders)):
            name = self._name(listing)
            if not self._is_wanted(name, listing.path):
                continue
            if len(self._names) >= MOST_ENDPOINTS:
                what = f"more than {MOST_ENDPOINTS} endpoints; look at it with --tables {name}"
                self.source.skipped[f"GET /{listing.path}"] = what
            elif len(listing.placeholders) > 1:
                self.source.skipped[f"GET /{listing.path}"] = (
                    "needs more than one value of another record in its path"
                )
            elif listing.placeholders:
                self._add_child(listing, name)
            else:
                self._add_root(listing, name)

    def _is_wanted(self, name: str, path: str) -> bool:
        """Whether a pattern of the limits matches the table's name, or the path."""
        path = path.strip("/")
        patterns = self.limits.tables
        return not patterns or any(fnmatchcase(name, p) or fnmatchcase(path, p.strip("/")) for p in patterns)

    def _name(self, listing: Listing) -> str:
        """What the table is called: by the parts of the path that say something."""
        parts = [part for part in listing.path.strip("/").split("/") if part]
        words = [part for part in parts if not PLACEHOLDER.search(part)]
        words = [word for word in words if word.lower() not in GENERIC] or words or ["records"]
        name = table_name(" ".join(words[-2:] if listing.placeholders else words[-1:]))
        return distinct_name(name, {table.name for table in self.source.tables})

    def _add_root(self, listing: Listing, name: str) -> None:
        params = {n: p["default"] for n, p in listing.parameters.items() if p.get("required")}
        found = self._paged(listing, listing.path, params)
        if found is None:
            return
        page, paging = found
        endpoint: dict[str, Any] = {"path": listing.path}
        incremental = find_incremental(
            lambda more: self._page(listing.path, {**params, **more}, page),
            page,
            listing.parameters,
            documented=listing.is_documented,
        )
        if incremental:
            params = {**params, **incremental.params}
            endpoint["incremental"] = incremental.keys
        if params:
            endpoint["params"] = params
        self._records[listing.path.strip("/")] = paging.records
        self._add(listing, name, endpoint, page, paging, incremental=incremental)

    def _add_child(self, listing: Listing, name: str) -> None:
        """An endpoint that is read for each record of its parent."""
        (placeholder,) = listing.placeholders
        above = listing.path.partition("{")[0].strip("/")
        parents = self._records.get(above, [])
        fields = [
            key for key in (placeholder, "id", normalized(placeholder)) if any(key in p for p in parents)
        ]
        if not fields:
            self.source.skipped[f"GET /{listing.path}"] = (
                f"no endpoint was found whose records say {placeholder}"
            )
            return
        key, parent = fields[0], self._names[above]
        records: list[Any] = []
        best: tuple[Page, Paging] | None = None
        for record in parents[:PARENTS]:
            found = self._paged(listing, listing.path.replace(f"{{{placeholder}}}", str(record.get(key))), {})
            if found is None:
                return
            if best is None or len(found[0].records) > len(best[0].records):
                best = found
            records += [{f"_{parent}_{key}": record.get(key), **child} for child in found[1].records]
        if best is None:
            return
        page, paging = best
        paging.records, paging.is_whole, paging.total = records, False, None
        endpoint = {
            "path": listing.path,
            "params": {placeholder: {"type": "resolve", "resource": parent, "field": key}},
        }
        self._add(listing, name, endpoint, page, paging, load={"include_from_parent": [key]})

    def _paged(self, listing: Listing, path: str, params: Mapping[str, Any]) -> tuple[Page, Paging] | None:
        """The first page, and how it goes on; None if there are no records, which `skipped` says."""
        what = f"GET /{listing.path}"
        try:
            page = find_page(self.client.get(self._url(path), params))
        except requests.RequestException as error:
            self._failed(listing, what, error)
            return None
        except ValueError:
            self.source.skipped[what] = "does not answer with JSON"
            return None
        if page is None:
            self.source.skipped[what] = "returns one object, not a list of records"
            return None

        def get(more: Mapping[str, Any]) -> requests.Response:
            return self.client.get(self._url(path), {**params, **more})

        paging = PagingTrial(get, page, list(listing.parameters), self._known).found()
        if paging.paginator is not None and paging.paginator not in self._known:
            self._known.append(paging.paginator)
        return page, paging

    def _page(self, path: str, params: Mapping[str, Any], first: Page) -> Page | None:
        """The page with these parameters; None if there is none."""
        try:
            return find_page(self.client.get(self._url(path), params), first.selector)
        except (requests.RequestException, ValueError):
            return None

    def _url(self, path: str) -> str:
        return f"{self.api.base_url.rstrip('/')}/{path.lstrip('/')}"

    def _failed(self, listing: Listing, what: str, error: requests.RequestException) -> None:
        """Keep what the document says of an endpoint that refuses the credentials; leave out others."""
        said = self.client.explain(error)
        is_refused = error.response is not None and error.response.status_code in REFUSED
        if is_refused:
            self.refused = said
        if not (is_refused and listing.columns and not listing.placeholders):
            self.source.skipped[what] = said
            return
        table = DiscoveredTable(
            self._name(listing), list(listing.columns), None, False, comment=listing.comment
        )
        table.load = {"endpoint": {"path": listing.path}}
        table.questions.append(f"no record was seen ({said}): where are the records, and how does it page?")
        self._names[listing.path.strip("/")] = table.name
        self.source.tables.append(table)

    # -- one table -------------------------------------------------------------------------------------

    def _add(
        self,
        listing: Listing,
        name: str,
        endpoint: dict[str, Any],
        page: Page,
        paging: Paging,
        *,
        load: Mapping[str, Any] | None = None,
        incremental: Incremental | None = None,
    ) -> None:
        reasons = []
        if page.selector:
            endpoint["data_selector"] = page.selector
            reasons.append(f"data_selector: a list of {len(page.records)} objects in the first answer")
        if paging.paginator is not None:
            endpoint["paginator"] = paging.paginator
        if paging.reason:
            reasons.append(f"paginator: {paging.reason}")
        if incremental:
            reasons.append(f"incremental: {incremental.reason}")
        table = DiscoveredTable(name, [], None, paging.is_whole, comment=listing.comment)
        table.load = {**(load or {}), "endpoint": endpoint}
        table.reasons["endpoint"] = "; ".join(reasons)
        table.rows = len(paging.records) if paging.is_whole else paging.total
        table.questions += [paging.question] if paging.question else []
        if not self._fill(table, self._trial(table, page, paging)) and not listing.columns:
            self.source.skipped[f"GET /{listing.path}"] = "has no records, so that their fields are not known"
            return
        _complete(table, listing.columns, self._empty(table))
        self._names[listing.path.strip("/")] = name
        self.source.tables.append(table)

    def _trial(self, table: DiscoveredTable, page: Page, paging: Paging) -> Trial | None:
        """The records that were seen, as a load reads them; all of them, if the API says that there are few."""
        declared = self.trials.table(table.name, table.load, {})
        most = len(page.records) * MOST_PAGES
        if paging.paginator and not paging.is_whole and paging.total and paging.total <= most:
            trial = self.trials.read(declared)
            if trial.rows >= paging.total and not trial.problem:
                table.is_whole, table.rows = True, trial.rows
                return trial
        if not paging.records:
            return None
        relation = self.trials.texts(dumps(record).decode() for record in paging.records)
        return self.trials.stage(JsonRecords(table=declared, relation=relation), self.trials.context())

    def _fill(self, table: DiscoveredTable, trial: Trial | None) -> bool:
        """Find the types of the columns; whether there are records."""
        if trial is None:
            return False
        if trial.relation is None or not trial.rows:
            table.questions.append(f"a load refuses the records: {without_values(trial.problem)}")
            return False
        table.columns = columns_of(table, trial, self.trials.con, has_numbers=False)
        set_nullable(table, trial, self.trials.con)
        fill(self.con, self.source.name, table, trial, self.limits)
        return True

    def _empty(self, table: DiscoveredTable) -> set[str]:
        """Columns in which no record has a value."""
        if table.relation is None:
            return set()
        counts = ", ".join(f"count({quoted(column.name)})" for column in table.columns)
        found = one_row(self.con, f"select {counts} from {table.relation}")
        return {c.name for c, count in zip(table.columns, found, strict=True) if not count}


def plain_path(path: str) -> str:
    """The path of an endpoint without parameters, by which endpoints are compared."""
    return PLACEHOLDER.sub("{}", str(path).partition("?")[0].strip("/"))


def _complete(table: DiscoveredTable, documented: Sequence[DiscoveredColumn], empty: Set[str]) -> None:
    """Add what the document says: comments, fields that no record had, and types that a sample may be too small for."""
    seen = {column.name: column for column in table.columns}
    for column in documented:
        if column.name not in seen:
            table.columns.append(column)
            continue
        found = seen[column.name]
        found.comment = column.comment
        found.nullable = found.nullable or column.nullable
        if column.name in empty or (found.data_type, column.data_type) == ("bigint", "double"):
            found.data_type = column.data_type
