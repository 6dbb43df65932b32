"""Which columns of a source raw has, how it spells them, and those it adds itself."""

from __future__ import annotations

from functools import cache
from typing import Any

from dlt.common.normalizers.naming.snake_case import NamingConvention

from pipelines.declaration import Table

LOADED_AT = "_loaded_at"
LOAD_ID = "_load_id"
DELETED_AT = "_deleted_at"
STAMPS = (LOADED_AT, LOAD_ID)
"""Written by every load, so they say nothing about whether a row changed."""


@cache
def normalized(name: str) -> str:
    """A source column name as raw spells it: snake_case, as dlt does."""
    return NamingConvention().normalize_identifier(name)


def is_chosen(table: Table[Any], source: str, name: str) -> bool:
    """Whether the declaration wants the column `source`, in raw called `name`; metadata always."""
    wanted = table.load.columns
    if source.startswith("_") and name == source:
        return True
    if wanted.include is not None:
        return name in map(normalized, wanted.include)
    return name not in map(normalized, wanted.exclude or [])
