"""Builds the graph of a dbt project from its manifest, as `dbt compile` or `build` leave it.

What has no compiled code is unknown, with all its parents' columns as possible sources.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot.errors import SqlglotError

from sluice.config.column_names import technical_columns
from sluice.errors import SluiceError
from sluice.lineage.graph import Edge, EdgeType, Graph, Node, NodeColumn, Ref
from sluice.lineage.queries import column_lineage
from sluice.lineage.query_cache import QueryCache, cache_key
from sluice.lineage.query_lineage import ROWS, Influence, Kind, QueryLineage, Unknown, ValueSource

EPHEMERAL = "__dbt__cte__"

Json = Mapping[str, Any]


def load_graph(
    manifest: Json,
    catalog: Json | None = None,
    dialect: str = "duckdb",
    macros: tuple[str, ...] = (),
    cache_file: Path | None = None,
    root: Path | None = None,
) -> Graph:
    """The column lineage of a project.

    manifest, catalog: the parsed `manifest.json` (with compiled code) and `catalog.json` of dbt.
    macros: `create macro` statements the models use.
    cache_file: SQLite file in which parsed queries are kept between runs, by their SQL and their parents' columns.
    root: folder of the project, to read the header of seeds whose columns are not declared.
    """
    builder = _Builder(manifest, catalog or {}, dialect, macros, root)
    if cache_file is None:
        return builder.build(QueryCache(None))
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(cache_file, timeout=30)) as connection:
            cache = QueryCache(connection)
            graph = builder.build(cache)
            cache.close()
            return graph
    except sqlite3.DatabaseError:
        # Not a database (a run was killed, the disk was full): it only saves time, so the next run starts from scratch.
        cache_file.unlink(missing_ok=True)
        return _Builder(manifest, catalog or {}, dialect, macros, root).build(QueryCache(None))


def read_project(target: Path, cache_file: Path | None = None) -> Graph:
    """The graph of a project from dbt's target folder. Raises SluiceError if there is no manifest."""
    manifest = target / "manifest.json"
    if not manifest.is_file():
        raise SluiceError(
            f"{manifest} does not exist, so nothing is known of the models. Run `dbt compile` first."
        )
    catalog = target / "catalog.json"
    try:
        return load_graph(
            json.loads(manifest.read_text(encoding="utf-8")),
            json.loads(catalog.read_text(encoding="utf-8")) if catalog.is_file() else None,
            cache_file=cache_file,
            root=target.parent,
        )
    except json.JSONDecodeError as error:
        raise SluiceError(
            f"{target} holds a broken manifest or catalog: {error}. Run `dbt compile` again."
        ) from error


class _Builder:
    def __init__(
        self, manifest: Json, catalog: Json, dialect: str, macros: tuple[str, ...], root: Path | None
    ) -> None:
        self.manifest = manifest
        self.catalog = {**catalog.get("nodes", {}), **catalog.get("sources", {})}
        self.dialect = dialect
        self.macros = macros
        self.root = root
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.by_table: dict[str, str] = {}
        self.table_of: dict[str, str] = {}

    def build(self, cache: QueryCache) -> Graph:
        for source in self.manifest.get("sources", {}).values():
            self._add(source, _source_node(source))
        entries = {
            key: entry
            for key, entry in self.manifest.get("nodes", {}).items()
            if entry["resource_type"] in ("model", "seed", "snapshot")
        }
        for key in _in_order(entries):
            entry = entries[key]
            self._add(entry, _node(entry))
            if entry["resource_type"] == "seed":
                self._add_seed_columns(entry)
            else:
                self._add_query(entry, cache)
        for exposure in self.manifest.get("exposures", {}).values():
            self._add_exposure(exposure)
        return Graph(self.nodes, self.edges)

    def _add(self, entry: Json, node: Node) -> None:
        self.nodes[node.id] = node
        self.table_of[node.id] = _table_name(entry)
        self.by_table[self.table_of[node.id]] = node.id
        known = self.catalog.get(node.id)
        declared = _declared_columns(entry)
        if known is not None:
            for column in sorted(known["columns"].values(), key=lambda c: c.get("index", 0)):
                name = column["name"]
                extra = declared.get(name.lower())
                node.columns[name.lower()] = NodeColumn(
                    name, column.get("type") or "", extra.field if extra else ""
                )
        elif node.kind == "source":
            node.columns = declared
            node.is_open = True
            kind = node.origin.split(" ")[0]
            load = (entry["config"].get("meta") or {}).get("load") or {}
            finds_deleted = bool(load.get("deletes") or load.get("soft_delete"))
            for name, column in technical_columns(kind, finds_deleted=finds_deleted).items():
                node.columns.setdefault(name, NodeColumn(name, column.data_type))

    # -- seeds and exposures

    def _add_seed_columns(self, entry: Json) -> None:
        node = self.nodes[entry["unique_id"]]
        if node.columns:
            return
        types = {k.lower(): str(v) for k, v in (entry["config"].get("column_types") or {}).items()}
        declared = _declared_columns(entry)
        folder = self.root or Path(str(entry.get("root_path") or "."))
        file = folder / entry["original_file_path"]
        names = [column.name for column in declared.values()]
        if file.is_file():
            with file.open(encoding="utf-8-sig", newline="") as lines:
                delimiter = str(entry["config"].get("delimiter") or ",")
                names = next(csv.reader(lines, delimiter=delimiter), names)
        for name in names:
            stated = declared.get(name.lower())
            sql_type = types.get(name.lower()) or (stated.type if stated else "")
            node.columns[name.lower()] = NodeColumn(name, sql_type)
        node.is_open = not file.is_file()

    def _add_exposure(self, entry: Json) -> None:
        """An exposure uses the columns listed in its `config.meta.columns` (`model.column`), else all it can."""
        owner = entry.get("owner") or {}
        node = Node(
            id=entry["unique_id"],
            kind="exposure",
            name=entry["name"],
            owner=str(owner.get("email") or owner.get("name") or ""),
            parents=tuple(self._through_metrics(entry)),
        )
        self.nodes[node.id] = node
        meta = {**(entry.get("meta") or {}), **((entry.get("config") or {}).get("meta") or {})}
        listed = [str(text).lower() for text in meta.get("columns") or []]
        target = Ref(node.id, ROWS)
        for parent in node.parents:
            known = self.nodes.get(parent)
            if known is None:
                continue
            self.edges.append(Edge(Ref(parent, ROWS), target, EdgeType.INFLUENCE, Kind.ROWS.value))
            prefix = known.name.lower() + "."
            picked = [text[len(prefix) :] for text in listed if text.startswith(prefix)]
            columns = picked if listed else list(known.columns)
            self.edges += [
                Edge(Ref(parent, column), target, EdgeType.VALUE, "identity") for column in columns
            ]

    def _through_metrics(self, entry: Json) -> Iterator[str]:
        pending = list((entry.get("depends_on") or {}).get("nodes") or [])
        seen: set[str] = set()
        while pending:
            key = pending.pop(0)
            if key in seen:
                continue
            seen.add(key)
            if key in self.nodes:
                yield key
                continue
            for section in ("metrics", "semantic_models", "saved_queries"):
                inner = self.manifest.get(section, {}).get(key) or {}
                pending += (inner.get("depends_on") or {}).get("nodes") or []

    # -- models and snapshots

    def _add_query(self, entry: Json, cache: QueryCache) -> None:
        node = self.nodes[entry["unique_id"]]
        sql = str(entry.get("compiled_code") or "")
        if entry.get("language", "sql") != "sql" or not sql.strip():
            reason = "not SQL" if entry.get("language", "sql") != "sql" else "not compiled: run `dbt compile`"
            self._all_unknown(node, entry, Unknown(reason, node.name))
            return
        lineage = self._lineage(node, entry, sql, cache)
        if not lineage.columns and lineage.open is None:
            self._all_unknown(node, entry, *lineage.unknowns)
            return
        self._add_lineage(node, entry, lineage)
        if node.kind == "snapshot":
            self._add_snapshot_columns(node, entry)

    def _lineage(self, node: Node, entry: Json, sql: str, cache: QueryCache) -> QueryLineage:
        schema = self._schema(node, entry, sql)
        sql = _without_ephemerals(sql, self.dialect)
        key = cache_key(sql, schema, self.dialect, self.macros)
        lineage = cache.get(key)
        if lineage is None:
            lineage = column_lineage(sql, schema, self.dialect, self.macros)
            cache.put(key, lineage)
        return lineage

    def _schema(self, node: Node, entry: Json, sql: str) -> dict[str, dict[str, str]]:
        """The columns of the parents, and of the model itself where an incremental model reads it."""
        schema: dict[str, dict[str, str]] = {}
        parents = list(node.parents)
        if EPHEMERAL in sql:
            parents += [key for table, key in self.by_table.items() if table.startswith(EPHEMERAL)]
        for key in parents:
            if key in self.table_of:
                schema[self.table_of[key]] = _columns_of(self.nodes[key])
        own = {column.name: column.type for column in _declared_columns(entry).values()}
        schema.setdefault(
            self.table_of[node.id], own if own and not node.columns else _columns_of(node) or {ROWS: ""}
        )
        return schema

    def _add_lineage(self, node: Node, entry: Json, lineage: QueryLineage) -> None:
        declared = _declared_columns(entry)
        known = dict(node.columns)
        columns = list(lineage.columns)
        names = {column.name.lower() for column in columns}
        if lineage.open is not None:
            for name in {**known, **declared}:
                found = lineage.column(name) if name not in names else None
                columns += [found] if found else []
        node.columns = {}
        rows_unknown = frozenset.intersection(*(c.unknown for c in columns)) if columns else frozenset()
        for column in columns:
            name = _free_name(column.name, node.columns)
            stated = known.get(name.lower()) or declared.get(name.lower())
            node.columns[name.lower()] = NodeColumn(name, stated.type if stated else "")
            target = Ref(node.id, name.lower())
            # sorted, since sets have no order, and files written from a graph must not differ between runs
            for value in sorted(column.values):
                self._add_edges(target, value, column.navigable)
            for own in sorted(column.own):
                self._add_edges(target, own)
            own_unknown = column.unknown - rows_unknown
            if own_unknown:
                node.column_unknowns[name.lower()] = tuple(sorted(own_unknown))
                self._may_depend(target, node)
        rows = Ref(node.id, ROWS)
        for row in sorted(lineage.rows):
            self._add_edges(rows, row)
        if rows_unknown:
            self._may_depend(rows, node)
        node.unknowns = lineage.unknowns
        node.is_open = lineage.open is not None

    def _add_edges(self, target: Ref, used: ValueSource | Influence, navigable: bool = False) -> None:
        is_value = isinstance(used, ValueSource)
        kind = used.how.value if isinstance(used, ValueSource) else used.kind.value
        parent = self.by_table.get(used.table)
        if parent is None:
            parent = self.by_table[used.table] = f"table.{used.table}"
            table = Node(parent, "table", used.table, relation=used.table, is_open=True)
            self.nodes.setdefault(parent, table)
        node = self.nodes[parent]
        if used.column == ROWS and is_value:
            # "Some column of a table whose columns are not all known": any of those that are known may be meant.
            for name in node.columns:
                self.edges.append(Edge(Ref(parent, name), target, EdgeType.UNKNOWN, kind, used.path))
            return
        name = used.column.lower()
        if name != ROWS and name not in node.columns:
            node.columns[name] = NodeColumn(used.column)
        type_ = EdgeType.VALUE if is_value else EdgeType.INFLUENCE
        self.edges.append(Edge(Ref(parent, name), target, type_, kind, used.path, navigable))

    def _may_depend(self, target: Ref, node: Node) -> None:
        """What is unknown may come from any column of any parent."""
        for parent in node.parents:
            known = self.nodes.get(parent)
            for name in (ROWS, *(known.columns if known else ())):
                self.edges.append(Edge(Ref(parent, name), target, EdgeType.UNKNOWN, "unknown"))

    def _all_unknown(self, node: Node, entry: Json, *unknowns: Unknown) -> None:
        if not node.columns:
            node.columns = dict(_declared_columns(entry))
        node.unknowns = unknowns
        node.is_open = True
        self._may_depend(Ref(node.id, ROWS), node)
        for name in node.columns:
            self._may_depend(Ref(node.id, name), node)

    def _add_snapshot_columns(self, node: Node, entry: Json) -> None:
        """A snapshot keeps versions: its key and what it checks decide which rows and times there are."""
        config = entry.get("config") or {}
        names = {**_SNAPSHOT_COLUMNS, **(config.get("snapshot_meta_column_names") or {})}
        key = config.get("unique_key") or []
        keys = [key] if isinstance(key, str) else list(key)
        checked = config.get("check_cols") or []
        if config.get("updated_at"):
            watched = [config["updated_at"]]
        else:
            watched = list(node.columns) if checked in ("all", ["all"]) else list(checked)
        parents = {edge.target.column: edge for edge in self.edges if edge.target.node == node.id}
        deciding = [str(name).lower() for name in [*keys, *watched] if str(name).lower() in parents]
        for meta, name in names.items():
            node.columns[str(name).lower()] = NodeColumn(str(name))
            if meta == "dbt_is_deleted" and config.get("hard_deletes") != "new_record":
                node.columns.pop(str(name).lower())
        for edge in [e for e in self.edges if e.target.node == node.id and e.target.column in deciding]:
            for target in [Ref(node.id, ROWS), *(Ref(node.id, str(name).lower()) for name in names.values())]:
                if target.column == ROWS or target.column in node.columns:
                    self.edges.append(
                        Edge(edge.source, target, EdgeType.INFLUENCE, Kind.SNAPSHOT.value, edge.path)
                    )


_SNAPSHOT_COLUMNS = {
    name: name
    for name in ("dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to", "dbt_is_deleted")
}


def _node(entry: Json) -> Node:
    config = entry.get("config") or {}
    return Node(
        id=entry["unique_id"],
        kind=entry["resource_type"],
        name=entry.get("alias") or entry["name"],
        relation=entry.get("relation_name") or "",
        owner=str((config.get("meta") or {}).get("owner") or config.get("group") or ""),
        parents=tuple((entry.get("depends_on") or {}).get("nodes") or ()),
    )


def _source_node(entry: Json) -> Node:
    meta = (entry.get("config") or {}).get("meta") or entry.get("meta") or {}
    return Node(
        id=entry["unique_id"],
        kind="source",
        name=f"{entry['source_name']}.{entry['name']}",
        relation=entry.get("relation_name") or "",
        origin=_origin(entry, meta),
        owner=str(meta.get("owner") or (entry.get("source_meta") or {}).get("owner") or ""),
    )


def _origin(entry: Json, meta: Json) -> str:
    """What the table is in the source system: `database crm: contacts`, `stream web: web.visits`."""
    whole = (entry.get("source_meta") or {}).get("load") or {}
    table = meta.get("load") or {}
    load = {**whole, **table}
    kind = str(load.get("kind") or "table")
    endpoint = load.get("endpoint")
    thing = (
        load.get("subject")
        or load.get("topic")
        or load.get("path")
        or (endpoint.get("path") if isinstance(endpoint, dict) else endpoint)
        or load.get("resource")
        or load.get("table")
        or entry["identifier"]
    )
    return f"{kind} {load.get('connection') or entry['source_name']}: {thing}"


def _declared_columns(entry: Json) -> dict[str, NodeColumn]:
    found: dict[str, NodeColumn] = {}
    for column in (entry.get("columns") or {}).values():
        meta = {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}
        field = str(meta.get("field") or "")
        found[column["name"].lower()] = NodeColumn(column["name"], column.get("data_type") or "", field)
    return found


def _columns_of(node: Node) -> dict[str, str]:
    columns = {column.name: column.type for column in node.columns.values()}
    return {**columns, ROWS: ""} if node.is_open else columns


def _table_name(entry: Json) -> str:
    """The name by which compiled code refers to a node: `warehouse.marts.invoices`, lower case."""
    if (entry.get("config") or {}).get("materialized") == "ephemeral":
        return f"{EPHEMERAL}{entry['name']}".lower()
    relation = entry.get("relation_name")
    if not relation:
        parts = [entry.get("database"), entry.get("schema"), entry.get("alias") or entry["name"]]
        return ".".join(str(part) for part in parts if part).lower()
    return str(relation).replace('"', "").replace("`", "").lower()


def _free_name(name: str, taken: Mapping[str, NodeColumn]) -> str:
    """DuckDB renames the second column `a` of a table to `a_1`."""
    candidate, count = name, 0
    while candidate.lower() in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _in_order(entries: Mapping[str, Json]) -> list[str]:
    """Parents before children. A cycle, which dbt does not allow, falls back to the manifest's order."""
    parents = {
        key: [p for p in (entry.get("depends_on") or {}).get("nodes") or [] if p in entries and p != key]
        for key, entry in entries.items()
    }
    try:
        return list(TopologicalSorter(parents).static_order())
    except CycleError:
        return list(entries)


def _without_ephemerals(sql: str, dialect: str) -> str:
    """dbt writes ephemeral models into the WITH clause; taken out, they stay nodes of the graph."""
    if EPHEMERAL not in sql:
        return sql
    try:
        statement = sqlglot.parse_one(sql, dialect=dialect)
    except SqlglotError:
        return sql
    with_ = statement.args.get("with_")
    if with_ is None:
        return sql
    kept = [cte for cte in with_.expressions if not cte.alias.lower().startswith(EPHEMERAL)]
    if kept:
        with_.set("expressions", kept)
    else:
        statement.set("with_", None)
    return statement.sql(dialect=dialect)
