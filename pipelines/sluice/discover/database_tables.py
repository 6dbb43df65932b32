"""Tables of a catalog as discovery proposes them: names, places, declared keys, and which cannot be loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from sluice.config.checks import RESERVED
from sluice.config.column_names import normalized
from sluice.config.yaml_file import IDENTIFIER
from sluice.discover.contract import DiscoveredColumn, DiscoveredTable, Proposal, distinct_name
from sluice.discover.database_catalog import CatalogTable, Place


def default_schema(url: str, dialect: str) -> str:
    """The schema whose tables need no schema before their name."""
    if dialect == "mysql":
        return urlsplit(url).path.strip("/")
    return {"postgres": "public", "sqlite": ""}[dialect]


def not_loadable(entry: CatalogTable, catalog: Sequence[CatalogTable]) -> str:
    """Why a load could not read a table; empty if it could."""
    twins = [
        other.name
        for other in catalog
        if other.schema == entry.schema
        and other.name != entry.name
        and other.name.lower() == entry.name.lower()
    ]
    if not entry.is_readable:
        return "the user may not read it; grant select on it"
    if not entry.columns:
        return "it has no columns, or cannot be read"
    if twins:
        return f"its name differs from {twins[0]!r} in case only; a view with another name can be loaded"
    if "." in entry.name or "." in entry.schema or "`" in entry.name:
        return "its name has a dot or a backtick; a view with another name can be loaded"
    return ""


def table_names(catalog: Sequence[CatalogTable], default: str) -> dict[Place, str]:
    """Names of the dbt source tables, each once: with the schema where one of the default schema has the name."""
    plain = {(entry.schema, entry.name): _identifier(entry.name) for entry in catalog}
    times = Counter(plain.values())
    names: dict[Place, str] = {}
    for (schema, own), name in plain.items():
        keeps = times[name] == 1 or schema in ("", default)
        wanted = name if keeps else _identifier(f"{schema}_{own}")
        taken = {*names.values(), *(other for other in plain.values() if other != name)}
        names[schema, own] = distinct_name(wanted, taken)
    return names


def _identifier(name: str) -> str:
    plain = normalized(name)
    if not IDENTIFIER.match(plain):
        plain = f"table_{plain.strip('_')}"
    return f"{plain.strip('_')}_table" if RESERVED.match(plain) else plain


def describe(entry: CatalogTable, names: Mapping[Place, str], default: str) -> DiscoveredTable:
    """A table as its catalog declares it, still without types and rows."""
    name = names[entry.schema, entry.name]
    place = entry.name if entry.schema in ("", default) else f"{entry.schema}.{entry.name}"
    foreign = [
        (columns, names[other], there) for columns, other, there in entry.foreign_keys if other in names
    ]
    references = {columns[0]: (other, there) for columns, other, there in foreign if len(columns) == 1}
    return DiscoveredTable(
        name=name,
        columns=[
            DiscoveredColumn(c.name, None, c.nullable, c.comment, references.get(c.name))
            for c in entry.columns
        ],
        relation=None,
        rows=entry.rows,
        size_bytes=entry.size_bytes,
        comment=entry.comment,
        load={} if place == name else {"table": place},
        unique=entry.unique,
        has_primary_key=entry.has_primary_key,
        primary_key=Proposal(entry.unique[0], "the primary key") if entry.has_primary_key else None,
        indexed=entry.indexed,
        foreign_keys=foreign,
    )
