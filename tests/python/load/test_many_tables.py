"""A source may have more tables than Python has calls within each other."""

from __future__ import annotations

import sys
from itertools import chain
from types import SimpleNamespace
from typing import Any

import dlt

from sluice.load.dlt_pipeline import SourceLoad


def test_more_resources_than_calls_within_each_other_may_end_in_a_row() -> None:
    """For each that ends, dlt goes one call deeper, until one of them has an item or all have waited."""
    reader: Any = SimpleNamespace(settings=None, source=None, context=None, results={})
    load = SourceLoad(reader)
    resources = [
        dlt.resource(chain((), load._ending()), name=f"t{number}")
        for number in range(sys.getrecursionlimit() + 100)
    ]
    assert list(dlt.source(lambda: resources, name="shop")()) == []
