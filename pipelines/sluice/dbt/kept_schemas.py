"""Keeps the JSON Schemas by which dbt checks what it reads: it makes them anew in each process, a fifth of its start.

They follow from dbt's classes alone, so that they are kept by the versions of the packages those are in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dbt_common.dataclass_schema import dbtClassMixin

KEPT = "dbt_schemas.json"
PACKAGES = ("dbt-core", "dbt-common", "dbt-adapters", "dbt-duckdb", "mashumaro")


@contextmanager
def kept_schemas(file: Path) -> Iterator[None]:
    """Let dbt find its schemas in a file, and add those that it made; a file that cannot be read is written anew."""
    versions = [sys.version, *map(version, PACKAGES)]
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(file.read_text(encoding="utf-8"))
        known = dict(found["schemas"]) if found["versions"] == versions else {}
    make = dbtClassMixin.json_schema.__func__  # type: ignore[attr-defined]
    before = len(known)

    def json_schema(cls: type) -> Any:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name not in known:
            known[name] = make(cls)
        return known[name]

    dbtClassMixin.json_schema = classmethod(json_schema)  # type: ignore[method-assign,assignment]
    yield
    if len(known) > before:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_text(json.dumps({"versions": versions, "schemas": known}), encoding="utf-8")
        new.replace(file)
