"""Marks of keys of a declaration: how much of a key's value changes how rows are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sluice.config.connections import REFERENCE, SECRET_KEYS


@dataclass(frozen=True)
class Reads:
    """Mark of a key of which not the whole value changes how rows are read; a key without one counts whole."""

    part: Callable[[Any], Any]
    """The part of the value that counts, which the state keeps; None: nothing of it."""


NOT_READING = Reads(lambda _: None)
"""Mark of a key that changes nothing about rows that were loaded before."""


def place(url: str) -> str:
    """The part of a URL or path that stays where a server is moved; of a bucket also its name."""
    if url.startswith("s3://"):
        return url.rstrip("/")
    text = REFERENCE.sub("", url, count=1) if url.startswith("${") else url
    parts = urlsplit(text)
    return (parts.path if parts.netloc or parts.scheme else text).rstrip("/")


def own_type(data_type: Any) -> Any:
    """DuckDB's own name of a declared type, of which there may be several spellings."""
    from sluice.config.data_types import duckdb_type  # imports DuckDB, which not every command needs

    try:
        return duckdb_type(data_type) if isinstance(data_type, str) else data_type
    except ValueError:  # the checks say so
        return data_type


def without_access(value: Any) -> Any:
    """A block of dlt's without what says who reads and at which server."""
    if not isinstance(value, Mapping):
        return value
    left = {
        key: without_access(inner)
        for key, inner in value.items()
        if str(key).lower() not in ("auth", "authorization")
        and not SECRET_KEYS.search(str(key).replace("-", "_"))
    }
    if isinstance(left.get("base_url"), str):
        left["base_url"] = place(left["base_url"])
    return left
