"""Finds out whether records moved between numbered pages while these were read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

from dlt.common import jsonpath

from sluice.extract.exact_json import dumps
from sluice.extract.rest.endings import is_round

ENVELOPE_DEPTH = 3
ENVELOPE_WIDTH = 50
"""How deep, and in objects of up to how many keys, the count of records is looked for beside them."""


class PageWatch:
    """Detects records that moved between numbered pages while these were read.

    A record that is removed moves those behind it forward by one, one that changes its place in the order moves to a
    later page, and a new one moves those behind it back. The first shows in the count that the API states, the others
    in a record that comes twice.
    """

    def __init__(self, primary_key: Sequence[str]) -> None:
        self._key = itemgetter(*primary_key) if primary_key else None
        self._pages = 0
        self._rows = 0
        self.sizes: list[int] = []
        """Records of each page, in order."""
        self._totals: list[Any] = []
        """The declared total as each page states it."""
        self._counts: dict[tuple[str, ...], list[int]] = {}
        """Numbers beside the records, by their path; one that in the end equals the records read is their count."""
        self._seen = array("q")
        """Hashes of the records' keys, each once per page."""

    def see(self, page: Any) -> None:
        """Record a page, before anything changes its records."""
        self._pages += 1
        self._rows += len(page)
        self.sizes.append(len(page))
        if page.paginator.total_path:
            self._totals += jsonpath.find_values(page.paginator.total_path, page.response.json())[:1]
        numbers = dict(_numbers(page.response.json()))
        if self._pages == 1:
            self._counts = {path: [] for path, number in numbers.items() if number > len(page)}
        self._counts = {
            path: [*seen, numbers[path]] for path, seen in self._counts.items() if path in numbers
        }
        self._seen.extend({hash(self.identity(record)) for record in page})

    def identity(self, record: Any) -> str | bytes:
        """What identifies the record: its key, or all of it."""
        if self._key is not None:
            try:
                return str(self._key(record))
            except (KeyError, TypeError):
                pass
        return dumps(record)

    def skips_records(self, limit: int) -> bool:
        """Whether offsets that rise by `limit` skip records, because the API gives fewer per page.

        Pages short of some records only, such as those one may not see, have no size in common.
        """
        full = [size for size in self.sizes if size][:-1]
        capped = bool(full) and full[0] < limit and len(set(full)) == 1
        short = bool(self._totals) and str(self._totals[-1]).isdigit() and self._rows < int(self._totals[-1])
        return capped and (short or len(full) > 1)

    def may_be_cut(self, limit: int) -> bool:
        """Whether the only page with records has fewer than were asked for, yet as many as pages usually have."""
        full = [size for size in self.sizes if size]
        return len(full) == 1 and full[0] < limit and is_round(full[0])

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
