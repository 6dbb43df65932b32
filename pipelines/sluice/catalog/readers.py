"""How readers get a table: under which name, in which file, and how each audience sees its personal columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sluice.catalog.facts import CatalogFacts
from sluice.config.audiences import UNCLASSED, Audience
from sluice.dbt.manifest import Table
from sluice.lineage import Ref
from sluice.sql import literal, quoted


def audiences(facts: CatalogFacts) -> list[dict[str, Any]]:
    """Those of audiences.yml, in its order: {name, about, format}."""
    return [{"name": a.name, "about": a.description, "format": a.format} for a in facts.audiences.values()]


def treatments(facts: CatalogFacts, key: str, table: Table) -> dict[str, dict[str, str]]:
    """By audience of a table, how it sees each personal column: clear or a mask.

    `absent` is one that the model does not declare, `undecided` one without a class, with which nothing is published.
    """
    found = {}
    for name in table.audiences:
        if audience := facts.audiences.get(name):
            columns = [c for c, _ in facts.columns[key] if Ref(key, c.lower()) in facts.personal]
            found[name] = {column: _treatment(audience, table, column) for column in columns}
    return found


def _treatment(audience: Audience, table: Table, column: str) -> str:
    declared = table.columns.get(column.lower())
    if declared is None:
        return "absent"
    return audience.treatment(declared.data_class) if declared.data_class else "undecided"


def plain_columns(facts: CatalogFacts, key: str, table: Table) -> dict[str, str]:
    """Type by column, of those that every audience gets as they are."""
    return {
        name: kind
        for name, kind in facts.columns[key]
        if name.lower() in table.columns and table.columns[name.lower()].data_class in ("", UNCLASSED)
    }


def name_for_readers(table: Table, is_published: bool) -> str:
    """The name of a table in the files of its audiences, or in the warehouse."""
    if not is_published:
        return table.relation.replace('"', "")
    return table.name if table.name.isidentifier() and table.name.islower() else quoted(table.name)


def openings(facts: CatalogFacts, table: Table) -> Iterator[tuple[str, str]]:
    """(audience, SQL) with which DuckDB opens what an audience reads of a table."""
    for name in table.audiences:
        if audience := facts.audiences.get(name):
            published = facts.version.audiences.get(name) if facts.version else None
            yield name, _opening(facts.published, audience, table, bool(published and published.is_encrypted))


def _opening(folder: str, audience: Audience, table: Table, is_encrypted: bool) -> str:
    if audience.format == "duckdb":
        options = ", encryption_key '…'" if is_encrypted else ""
        file = literal(f"{folder}/current/{audience.name}.duckdb")
        return f"attach {file} as {audience.name} (read_only{options});\nuse {audience.name};"
    files = literal(f"{folder}/current/{audience.name}/{table.name}/**/*.parquet")
    options = ", encryption_config = {footer_key: 'key'}" if is_encrypted else ""
    key = "pragma add_parquet_key('key', '…');\n" if is_encrypted else ""
    return f"{key}create view {quoted(table.name)} as from read_parquet({files}{options});"


def row_filters(facts: CatalogFacts, table: Table) -> Mapping[str, str]:
    """The condition of the rows an audience sees, for those that do not see all."""
    found = {}
    for name in table.audiences:
        rows = facts.audiences[name].row_filter if name in facts.audiences else None
        if rows and table.name not in rows.unfiltered:
            found[name] = rows.models.get(table.name, rows.condition)
    return found
