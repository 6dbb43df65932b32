"""A tiny warehouse of this project's own models, to be perturbed: raw rows made up from the declarations.

The models' compiled SQL is run in the order of dbt's graph in one in-memory database, without a dbt process.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb

from sluice.dbt.manifest import Manifest
from sluice.lineage import ROWS, EdgeType, Graph, Ref, load_graph
from tests.python.lineage.corpus.perturb import Change, Result, Schema, changes, run, table_types

ROW_COUNT = 6

POOLS: dict[str, list[str]] = {
    "currency": ["EUR", "USD", "EUR", "SEK", "EUR", "USD"],
    "country": ["DE", "US", "DE", "SE", "AT", "US"],
    "country_code": ["DE", "US", "DE", "SE", "AT", "US"],
    "shipping_country": ["DE", "US", "DE", "SE", "AT", "US"],
    "ship_country": ["DE", "US", "DE", "SE", "AT", "US"],
    "timezone": ["Europe/Berlin"] * ROW_COUNT,
    "seller_sku": [f"ANY-sku{i}" for i in range(ROW_COUNT)],
    "event_type": ["page_view"] * ROW_COUNT,
    "kind": ["billing", "shipping", "billing", "shipping", "shipping", "billing"],
    "status": ["paid", "cancelled", "paid", "void", "open", "paid"],
    "document_type": ["invoice", "invoice", "credit_note", "invoice", "invoice", "credit_note"],
    "type": ["Order", "Refund", "Order", "Cancellation", "Order", "Order"],
    "full_name": ["Ada Berg", "Bo Cruz", "Bo Cruz", "Cy Dahl", "Di Eck", "Ed Fog"],
    "buyer_name": ["Ada Berg", "Bo Cruz", "Zoe Ost", "Cy Dahl", "Di Eck", "Ed Fog"],
    "company_name": ["", "Firm B", "", "Firm D", "", ""],
    "email": ["a@x.example", "b@x.example", "b@x.example", "d@x.example", "e@x.example", "f@x.example"],
    "phone": ["+49 30 1111111", "030 2222222", "+46 8 333333", "", "0043 1 444444", "+1 212 5555555"],
    "vat_id": ["", "DE123456789", "DE 123456789", "SE556677889901", "", "ATU12345678"],
    "_file": ["settlement_2026-03-01.csv", "settlement_2026-03-02.csv"] * (ROW_COUNT // 2),
}
"""Values by column name, where the type alone would make rows that no join or filter lets through."""


@dataclass
class ModelReport:
    """What perturbing the sources showed for the models."""

    missed: list[str] = field(default_factory=list)
    predicted: set[tuple[Ref, Ref]] = field(default_factory=set)
    confirmed: set[tuple[Ref, Ref]] = field(default_factory=set)
    values: set[tuple[Ref, Ref]] = field(default_factory=set)
    runs: int = 0
    failed_runs: int = 0


class Warehouse:
    """All models of a manifest over made-up raw rows."""

    def __init__(self, manifest: Mapping[str, Any], root: Path) -> None:
        self.graph: Graph = load_graph(Manifest(manifest), root=root)
        self.connection = duckdb.connect(config={"threads": "1"})
        self.connection.execute("set timezone = 'UTC'")
        self.models = _models_in_order(manifest)
        self.below = _descendants(manifest)
        self.sources = {f"{s['schema']}__{s['identifier']}": s for s in manifest["sources"].values()}
        self.seeds = [n for n in manifest["nodes"].values() if n["resource_type"] == "seed"]
        self.root = root
        self._fill()
        built = self.build(self.models, must_run=True)
        assert built is not None
        self.baseline = built

    @property
    def raw_types(self) -> Schema:
        """Raw tables as they lie in schema `base`, without the position column."""
        types = table_types(self.connection, "base")
        return {t: {c: k for c, k in columns.items() if c != "_position"} for t, columns in types.items()}

    def _fill(self) -> None:
        execute = self.connection.execute
        execute("create schema if not exists base")
        for database in {s["database"] for s in self.sources.values()}:
            execute(f"attach ':memory:' as \"{database}\"")
        for name, source in self.sources.items():
            node = self.graph.nodes[source["unique_id"]]
            columns = {c.name: c.type or "text" for c in node.columns.values()}
            documents = _document_paths(self.graph, source["unique_id"])
            parts = [
                f'({_values(column, kind, documents.get(column.lower(), []))})::{kind} as "{column}"'
                for column, kind in columns.items()
            ]
            listed = ", ".join(["i + 1 as _position", *parts])
            execute(f'create table base."{name}" as select {listed} from range({ROW_COUNT}) r(i)')
            execute(f'create schema if not exists "{source["database"]}"."{source["schema"]}"')
            self.restore(name)
        for seed in self.seeds:
            relation = str(seed["relation_name"])
            execute(f"create schema if not exists {relation.rpartition('.')[0]}")
            file = self.root / seed["original_file_path"]
            execute(f"create table {relation} as from read_csv('{file}', all_varchar = true)")

    def relation(self, name: str) -> str:
        """The raw relation of a table of schema `base`."""
        return str(self.sources[name]["relation_name"])

    def restore(self, name: str) -> None:
        """Puts the original rows of a raw table back."""
        original = f'select * exclude (_position) from base."{name}" order by _position'
        self.connection.execute(f"create or replace table {self.relation(name)} as {original}")

    def build(self, models: list[Mapping[str, Any]], must_run: bool = False) -> dict[str, Result] | None:
        """Runs the models' SQL; the result of each by unique id, or None if one fails, as it may once perturbed."""
        results = {}
        for model in models:
            relation = model["relation_name"]
            self.connection.execute(f"create schema if not exists {relation.rpartition('.')[0]}")
            try:
                self.connection.execute(f"create or replace table {relation} as {model['compiled_code']}")
            except duckdb.Error as error:
                if must_run:
                    hint = "give its source columns fitting values in POOLS or _text of this file"
                    raise AssertionError(
                        f"{model['name']} does not run on made-up rows ({hint}): {error}"
                    ) from error
                return None
            result = run(self.connection, f"from {relation}")
            assert result is not None
            results[model["unique_id"]] = result
        return results

    def examine(self, limit: int, tables: list[str], rng: random.Random) -> ModelReport:
        """Perturbs raw tables, rebuilds what dbt says lies below, and compares with the graph's prediction."""
        report = ModelReport()
        types = self.raw_types
        for name in tables:
            source_id = self.sources[name]["unique_id"]
            models = [m for m in self.models if m["unique_id"] in self.below[source_id]]
            predicted = {column: self._predicted(source_id, column, report) for column in types[name]}
            predicted[ROWS] = self._predicted(source_id, ROWS, report)
            for change in changes(self.connection, name, types[name], rng, limit):
                self._try(change, source_id, models, predicted[change.column], report)
            self.restore(name)
            self.build(models)
        return report

    def _predicted(self, source_id: str, column: str, report: ModelReport) -> dict[str, set[str]]:
        """Model -> columns that a change of the source column may change; `*` stands for all."""
        found: dict[str, set[str]] = {}
        start = Ref(source_id, column.lower())
        for reached in self.graph.downstream(source_id, column):
            found.setdefault(reached.ref.node, set()).add(reached.ref.column)
            if reached.type is not EdgeType.UNKNOWN and reached.ref.column != ROWS and column != ROWS:
                report.predicted.add((start, reached.ref))
                if reached.type is EdgeType.VALUE:
                    report.values.add((start, reached.ref))
        return found

    def _try(
        self,
        change: Change,
        source_id: str,
        models: list[Mapping[str, Any]],
        predicted: Mapping[str, set[str]],
        report: ModelReport,
    ) -> None:
        report.runs += 1
        try:
            self.connection.execute(f"create or replace table {self.relation(change.table)} as {change.sql}")
        except duckdb.Error:
            report.failed_runs += 1
            return
        after = self.build(models)
        if after is None:
            report.failed_runs += 1
            return
        start = Ref(source_id, change.column.lower())
        for model, result in after.items():
            before = self.baseline[model]
            columns = predicted.get(model, set())
            kept = [
                i
                for i, name in enumerate(before.names)
                if ROWS not in columns and name.lower() not in columns
            ]
            if before.projection(kept) != result.projection(kept):
                changed = [
                    before.names[i] for i in kept if sorted(before.columns[i]) != sorted(result.columns[i])
                ]
                report.missed.append(
                    f"{change.table}.{change.column} changes {model}: {changed} by {change.sql}"
                )
            for i, name in enumerate(before.names):
                if sorted(before.columns[i]) != sorted(result.columns[i]):
                    report.confirmed.add((start, Ref(model, name.lower())))


def _models_in_order(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    models = {
        key: node
        for key, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] != "ephemeral"
    }
    parents = {key: [p for p in node["depends_on"]["nodes"] if p in models] for key, node in models.items()}
    return [models[key] for key in TopologicalSorter(parents).static_order()]


def _descendants(manifest: Mapping[str, Any]) -> dict[str, set[str]]:
    """dbt's own word on what lies below a source; the lineage under test is not asked."""
    children: Mapping[str, list[str]] = manifest["child_map"]
    found = {}
    for source in manifest["sources"]:
        below: set[str] = set()
        pending = list(children.get(source, []))
        while pending:
            node = pending.pop()
            if node not in below:
                below.add(node)
                pending += children.get(node, [])
        found[source] = below
    return found


def _document_paths(graph: Graph, source_id: str) -> dict[str, list[tuple[str, ...]]]:
    """The fields the models read from each JSON column, so that the made-up documents have them."""
    paths: dict[str, list[tuple[str, ...]]] = {}
    for column in graph.nodes[source_id].columns:
        for edge in graph.edges_out_of(Ref(source_id, column)):
            if edge.path:
                paths.setdefault(column, []).append(edge.path)
    return paths


def _values(column: str, kind: str, paths: list[tuple[str, ...]]) -> str:
    """A SQL expression of row number i that yields the column's value."""
    name, sql_type = column.lower(), kind.lower()
    if sql_type == "json":
        documents = [_document(paths, row) for row in range(ROW_COUNT)]
        return _picked([json.dumps(document) for document in documents])
    if name in POOLS:
        return f"nullif({_picked(POOLS[name])}, '')"
    if sql_type.startswith("timestamp") or sql_type in ("date", "datetime"):
        missing = "case when i % 3 = 1 then {} end" if name in _SOMETIMES else "{}"
        return missing.format("timestamp '2026-03-01 10:00:00' + to_days(i::integer)")
    if sql_type.startswith(("bool",)):
        return "(i % 2 = 0)"
    if sql_type == "text" or sql_type.startswith("varchar"):
        return _text(name)
    return "(i + 1)" if name.endswith("_id") or name == "id" else "(i * 7 + 3)"


_SOMETIMES = ("cancelled_at", "deleted_at", "_deleted_at", "voided_at", "voided_on")


def _text(name: str) -> str:
    if name in _SOMETIMES:
        time = "timestamp '2026-03-05 10:00:00' + to_days(i::integer)"
        return f"case when i % 3 = 1 then strftime({time}, '%Y-%m-%d %H:%M:%S') end"
    if name == "posted_date":
        return "strftime(date '2026-03-01' + i::integer, '%d.%m.%Y')"
    if name.endswith("_at") or name in ("created", "updated"):
        return "strftime(timestamp '2026-03-01 10:00:00' + to_days(i::integer), '%Y-%m-%d %H:%M:%S')"
    if name.endswith(("_on", "_date")):
        return "strftime(date '2026-03-01' + i::integer, '%Y-%m-%d')"
    if name == "sku":
        return "'SKU' || i"
    if name in ("id", "account"):
        return "'k' || i"
    return f"'{name}' || i" if not name.endswith("_id") else "'k' || i"


def _picked(values: list[str]) -> str:
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"([{quoted}])[i + 1]"


def _document(paths: list[tuple[str, ...]], row: int) -> Any:
    """A document that has a value at each path."""
    if not paths or any(not path for path in paths):
        return (
            _leaf("", row)
            if not paths or all(not path for path in paths)
            else _document([p for p in paths if p], row)
        )
    if any(path[0] == "[]" for path in paths):
        inner = [path[1:] for path in paths if path[0] == "[]"]
        return [_document(inner, row), _document(inner, (row + 1) % ROW_COUNT)]
    keys = dict.fromkeys(path[0] for path in paths)
    made = {}
    for key in keys:
        below = [path[1:] for path in paths if path[0] == key]
        made[key] = _document(below, row) if any(below) else _leaf(key, row)
    return made


def _leaf(key: str, row: int) -> Any:
    if key in POOLS:
        return POOLS[key][row] or None
    if key in ("country", "country_code"):
        return POOLS["country"][row]
    if key == "sku":
        return f"SKU{row}"
    if key in (
        "group",
        "path",
        "title",
        "referrer",
        "os",
        "browser",
        "city",
        "postal_code",
        "street",
        "name",
    ):
        return f"{key}{row % 4}"
    return row + 1
