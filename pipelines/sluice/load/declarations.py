"""Tables whose declaration changed since their rows were read, by the state that is kept beside the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sluice.config.connections import Connections
from sluice.config.declaration import Source, Table
from sluice.config.reading import Changes, changes, reading
from sluice.config.settings import Settings
from sluice.errors import ConnectionError
from sluice.extract.contract import READ_WITH


def state_in_file(folder: Path, source: str) -> dict[str, Any]:
    """What dlt's working folder of a source keeps, by table; raises OSError or ValueError for a damaged file."""
    file = folder / "state.json"
    state = json.loads(file.read_bytes()) if file.exists() else {}
    for key in ("sources", source, "resources"):
        state = state.get(key, {})
    return dict(state)


def changes_since_loaded(
    source: Source[Any, Any], table: Table[Any], state: Mapping[str, Any], now: Mapping[str, Any]
) -> Changes:
    """How the declaration differs from what the table's state has; a table without it is taken as read with `now`."""
    before = state.get(READ_WITH)
    return changes(source, table, json.loads(before) if before else now, now)


def changed_tables(
    settings: Settings, sources: Sequence[Source[Any, Any]]
) -> Iterator[tuple[Table[Any], Changes]]:
    """Loaded tables that the next load reads whole again; looks at the state only, not at raw."""
    try:
        connections = Connections(settings.root, settings.connections)
    except ConnectionError:  # a load says so
        connections = None
    for source in sources:
        with suppress(OSError, ValueError):  # a load says so
            kept = state_in_file(settings.pipelines / source.name, source.name)
            for table in source.tables:
                now = reading(source, table, connections)
                if changed := changes_since_loaded(source, table, kept.get(table.name, {}), now):
                    yield table, changed
