"""Web APIs, declared in the keys of dlt's rest_api source.

dlt's parts do the work: its client, paginators, authentication, incremental cursors and the resolving of
children. Only the loop around them is ours, because dlt's pipes stop every table when one fails.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import requests

from sluice.config.declaration import RestSource, RestTable, Source, Table
from sluice.errors import LoadError, SluiceError
from sluice.extract.contract import ExtractContext, Extraction, Failed
from sluice.extract.rest.declaration import check, problems
from sluice.extract.rest.endpoint import Endpoint
from sluice.extract.rest.http import renew
from sluice.extract.rest.plan import Plan

__all__ = ["check", "extract", "problems"]

PASSES = 3
"""How many times pages are read whose records move meanwhile."""
MOVED = (
    f"records moved between pages while they were read, {PASSES} times over, so some may have been skipped. Let the "
    "API sort by what never changes, such as the id or the time of creation; or is the primary_key not unique?"
)


def extract(
    source: Source[RestSource, RestTable], tables: Sequence[Table[RestTable]], context: ExtractContext
) -> Generator[Extraction, None, None]:
    """Records of every table; a parent that children need is fetched once, also when it is not loaded itself.

    A family (a parent with its children) is yielded once all of it was read. Errors are LoadError, or
    ConnectionError when the API cannot be reached or refuses the credentials.
    """
    wanted = {table.name: table for table in tables}
    if found := check(source):
        for index, table in enumerate(source.declared):
            wrong = [message for path, message in found if path[0] != "tables" or path[1] == index]
            if table.name in wanted and wrong:
                error = LoadError(f"{table.qualified}: {wrong[0]}. See `sluice check`")
                yield Failed(wanted.pop(table.name), error)
    if not wanted:
        return
    try:
        plan = Plan(source, wanted, context)
    except Exception as error:
        failure = error if isinstance(error, SluiceError) else LoadError(f"{source.name}: {error}")
        yield from (Failed(table, failure) for table in wanted.values())
        return
    try:
        for root in plan.roots:
            yield from _family(root, plan)
    finally:
        plan.close()


def _family(name: str, plan: Plan) -> Iterator[Extraction]:
    """Read a root endpoint and, page by page, the children of its records; then yield all of them."""
    for attempt in range(1, PASSES + 1):
        root = plan.family(name)
        for endpoint in root.family():
            endpoint.begin()
        _read(root, None)
        if not (again := _reason_to_reread(root, attempt)):
            break
        if attempt < PASSES:
            plan.context.retried(name, f"{again}; reading {attempt + 1} of {PASSES}")
            for endpoint in root.family():
                if endpoint.file:
                    plan.context.progress(endpoint.name, -endpoint.file.rows)
                    endpoint.file.close()
                    endpoint.file.release()
            continue
        root.fail(LoadError(MOVED))
    for endpoint in root.family():
        if endpoint.table is None or endpoint.file is None:
            continue
        endpoint.file.close()
        if endpoint.error:
            endpoint.file.release()
            yield Failed(endpoint.table, endpoint.error)
        else:
            if doubt := endpoint.warning():
                plan.context.warned(endpoint.name, doubt)
            yield endpoint.file.extracted(
                endpoint.table, state=endpoint.state(), is_whole=endpoint.reads_whole()
            )


def _reason_to_reread(root: Endpoint, attempt: int) -> str | None:
    """Why what was read must be read again, if so; the second time with a token that is known to be valid."""
    read = [endpoint for endpoint in root.family() if endpoint.error is None]
    if root.error:
        return None
    if any(endpoint.moved for endpoint in read):
        if root.last_page is not None:
            renew(root.last_page.auth, root.last_page.response.request.copy())
        return "records moved between pages while they were read"
    if attempt == 1:
        try:
            if any(endpoint.was_refused_silently() for endpoint in read):
                return "the server gave no records for a token that had expired"
        except requests.RequestException as error:
            root.fail(error)
    return None


def _read(endpoint: Endpoint, parent_record: Any) -> None:
    """Read an endpoint, or its part that belongs to one record of its parent."""
    try:
        for rows in endpoint.pages(parent_record):
            endpoint.append(rows)
            for child in endpoint.children:
                for row in rows:
                    if child.error is None:
                        _read(child, row)
    except Exception as error:
        endpoint.fail(error)
