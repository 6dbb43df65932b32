"""Runs an extractor as the loader does, with dlt's state at hand, and hands back what it extracted.

    result = run(extract, declaration, tmp_path, connections={"shop": {"url": …}})
    result.rows["orders"], result.errors["orders"], result.state["orders"]

State is kept in `tmp_path` from one run to the next; raw is a DuckDB in memory that the test may fill.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dlt
import duckdb
import yaml
from dlt.common import json
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.pipeline import StateInjectableContext

from sluice.config.connections import Connections
from sluice.config.declaration import Source
from sluice.config.settings import quiet_tools
from sluice.config.sources import read_sources
from sluice.extract.contract import ExtractContext, Failed, JsonRecords, LoadOptions, TypedRows


@dataclass
class Result:
    """What one run delivered, by table."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    types: dict[str, dict[str, str]] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    extracted: dict[str, TypedRows | JsonRecords] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)


def declare(declaration: str | dict[str, Any], folder: Path) -> Source[Any, Any]:
    """The one source of a declaration, checked."""
    file = folder / "sources" / "declared.yml"
    file.parent.mkdir(exist_ok=True)
    text = declaration if isinstance(declaration, str) else yaml.safe_dump(declaration, sort_keys=False)
    file.write_text(text)
    sources, problems = read_sources(file.parent)
    assert not problems, problems
    return sources[0]


def connections(folder: Path, values: dict[str, dict[str, str]]) -> Connections:
    """Connections that hold these values."""
    file = folder / "connections.toml"
    lines = []
    for name, keys in values.items():
        lines.append(f"[connections.{name}]")
        lines += [f"{key} = {value!r}" for key, value in keys.items()]
    file.write_text("\n".join(lines))
    return Connections(folder, file)


def into_raw(con: duckdb.DuckDBPyConnection, table: str, extracted: TypedRows | JsonRecords) -> None:
    """Merge what was extracted into `schema.table`, by its identity, in one transaction."""
    assert extracted.origin is not None
    key = " and ".join(f"r.{name} = n.{name}" for name in extracted.origin.columns)
    con.execute(f"create schema if not exists {table.split('.')[0]}")
    con.execute(f"create table if not exists {table} as select * from ({extracted.relation}) limit 0")
    con.execute(f"insert into {table} select n.* from ({extracted.relation}) n anti join {table} r on {key}")


def run(
    extract: Callable[..., Any],
    declaration: str | dict[str, Any],
    folder: Path,
    *,
    values: dict[str, dict[str, str]] | None = None,
    only: Sequence[str] = (),
    raw: duckdb.DuckDBPyConnection | None = None,
    window: tuple[str | None, str | None] | None = None,
    full_refresh: bool = False,
    failing_later: Sequence[str] = (),
) -> Result:
    """One extraction; what the tables in `failing_later` deliver is thrown away, as after a failed check."""
    quiet_tools()
    source = declare(declaration, folder)
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    con = raw or duckdb.connect()
    result = Result()

    def progress(table: str, rows: int) -> None:
        result.read[table] = result.read.get(table, 0) + rows

    def state(table: str) -> dict[str, Any]:
        resources = dlt.current.source_state().setdefault("resources", {})
        kept: dict[str, Any] = resources.setdefault(table, {})
        return kept

    secrets = connections(folder, values or {})
    options = LoadOptions(full_refresh=full_refresh, window=window)
    context = ExtractContext(
        con,
        scratch,
        secrets,
        state,
        progress,
        folder,
        options,
        warned=lambda _, what: result.warnings.append(what),
    )
    tables = [t for t in source.tables if not only or t.name in only]

    # what dlt's pipeline puts around a resource while it is read; a real one takes four times as long
    kept = folder / "state.json"
    dlt_state: Any = json.typed_loads(kept.read_text()) if kept.exists() else {}
    dlt_context = StateInjectableContext(state=dlt_state)
    section = ConfigSectionContext(sections=("sources", source.name), source_state_key=source.name)
    container = Container()
    with container.injectable_context(dlt_context), container.injectable_context(section):
        for extracted in extract(source, tables, context):
            table = extracted.table
            if isinstance(extracted, Failed):
                result.errors[table.name] = extracted.error
                continue
            described = con.execute(f"describe {extracted.relation}").fetchall()
            result.types[table.name] = {name: kind for name, kind, *_ in described}
            names = list(result.types[table.name])
            try:
                rows = con.execute(extracted.relation).fetchall()
            except duckdb.Error as error:
                result.errors[table.name] = extracted.explain(error)
                continue
            result.rows[table.name] = [dict(zip(names, row, strict=True)) for row in rows]
            result.extracted[table.name] = extracted
            if table.name not in failing_later:
                state(table.name).update(extracted.state)
        result.state = {table.name: dict(state(table.name)) for table in tables}
    kept.write_text(json.typed_dumps(dlt_state))
    return result
