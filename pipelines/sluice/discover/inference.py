"""What the rows of a discovered source say about it: keys, classes, deleted rows, cursors, relationships."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from sluice.config.known_keys import WITHOUT_CURSOR
from sluice.discover import cursors, data_classes, keys, soft_deletes
from sluice.discover.contract import DiscoveredSource, Relationship
from sluice.discover.fields import read_fields
from sluice.discover.relationships import ReadSource, find_in


def infer(
    con: duckdb.DuckDBPyConnection, source: DiscoveredSource, others: Sequence[DiscoveredSource] = ()
) -> list[Relationship]:
    """Set the proposals and questions of the source's tables in place; return the relationships it takes part in.

    `others` are the project's loaded sources (`raw_sources`); fields may refer to each other in both directions.
    All tables are read through `con`.
    """
    read = [_read(con, source), *(_read_known(con, other) for other in others)]
    return [r for r in find_in(con, read) if source.name in (r.table[0], r.to_table[0])]


def _read(con: duckdb.DuckDBPyConnection, source: DiscoveredSource) -> ReadSource:
    fields = read_fields(con, source)
    keys.propose(con, source, fields)
    classes = data_classes.propose(con, source, fields)
    soft_deletes.propose(con, source, fields)
    if source.load.get("kind") not in WITHOUT_CURSOR:
        cursors.propose(con, source, fields)
    return ReadSource(source, fields, classes)


def _read_known(con: duckdb.DuckDBPyConnection, source: DiscoveredSource) -> ReadSource:
    """A source that has its file: only what relationships need."""
    fields = read_fields(con, source)
    return ReadSource(source, fields, data_classes.propose(con, source, fields))
