"""Which of a table's keys mean something, for the source's kind and protocol and the files' format."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

MOMENT_KEYS = ("date_format", "timestamp_format", "time_format", "formats")
"""Keys that say how texts write dates and times."""
FORMATS: dict[str, list[str]] = {
    "pattern": ["lines"],
    "sheet": ["excel"],
    "range": ["excel"],
    "records": ["json"],
    "delimiter": ["csv"],
    "quote": ["csv"],
    "row_terminator": ["csv"],
    "escape": ["csv"],
    "header": ["csv", "excel"],
    "decimal": ["csv", "excel", "lines"],
    "nulls": ["csv", "excel", "lines"],
    "skip_lines": ["csv", "excel", "lines"],
    "encoding": ["csv", "lines", "json", "jsonl"],
    **{key: ["csv", "excel", "lines", "json", "jsonl"] for key in MOMENT_KEYS},
}
"""Keys of files that not every format has."""
PROTOCOLS = {"stream": "nats", "subject": "nats", "topic": "kafka"}
"""Keys of streams that one protocol has."""
WITHOUT_CURSOR = ("files", "rest", "stream")
"""Kinds that know by themselves where a load begins."""


def meaningful_keys(source: Mapping[str, Any], table: Any, names: Collection[str]) -> list[str]:
    """Those of the `names` that a table's load block may have; `source`: the load block of its source."""
    kind, protocol = source.get("kind"), source.get("protocol")
    formats = table.get("format") if isinstance(table, dict) else None
    return [
        name
        for name in names
        if not (kind in WITHOUT_CURSOR and name in ("cursor", "lookback"))
        and not (kind == "stream" and name == "deletes")
        and not (
            kind == "stream" and protocol in PROTOCOLS.values() and PROTOCOLS.get(name, protocol) != protocol
        )
        and not (kind == "files" and isinstance(formats, str) and formats not in FORMATS.get(name, [formats]))
    ]
