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
from sluice.dbt.manifest import TABLE_KINDS, Manifest, Table, bare, read_manifest
from sluice.errors import SluiceError
from sluice.lineage.graph import Edge, EdgeType, Graph, Node, NodeColumn, Ref
from sluice.lineage.queries import column_lineage
from sluice.lineage.query_cache import QueryCache, cache_key
from sluice.lineage.query_lineage import ROWS, Influence, Kind, QueryLineage, Unknown, ValueSource

EPHEMERAL = "__dbt__cte__"

Json = Mapping[str, Any]


def load_graph(
    manifest: Manifest,
    catalog: Json | None = None,
    dialect: str = "duckdb",
    macros: tuple[str, ...] = (),
    cache_file: Path | None = None,
    root: Path | None = None,
) -> Graph:
    """The column lineage of a project.

    manifest: with compiled code. catalog: the parsed `catalog.json` of dbt, for columns that are not declared.
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
    manifest = read_manifest(target, command="dbt compile")
    file = target / "catalog.json"
    try:
        catalog = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except json.JSONDecodeError as error:
        raise SluiceError(f"{file} is broken: {error}. Run `dbt docs generate` again.") from error
    return load_graph(manifest, catalog, cache_file=cache_file, root=target.parent)


class _Builder:
    def __init__(
        self, manifest: Manifest, catalog: Json, dialect: str, macros: tuple[str, ...], root: Path | None
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
        tables = self.manifest.tables
        for table in tables.values():
            if table.kind == "source":
                self._add(table)
        for key in _in_order({key: table for key, table in tables.items() if table.kind in TABLE_KINDS}):
            self._add(tables[key])
            if tables[key].kind == "seed":
                self._add_seed_columns(tables[key])
            else:
                self._add_query(tables[key], cache)
        for table in tables.values():
            if table.kind == "exposure":
                self._add_exposure(table)
        return Graph(self.nodes, self.edges)

    def _add(self, table: Table) -> None:
        node = _node(table)
        self.nodes[node.id] = node
        self.table_of[node.id] = _table_name(table)
        self.by_table[self.table_of[node.id]] = node.id
        known = self.catalog.get(node.id)
        if known is not None:
            for column in sorted(known["columns"].values(), key=lambda c: c.get("index", 0)):
                name = column["name"]
                extra = table.columns.get(name.lower())
                node.columns[name.lower()] = NodeColumn(
                    name, column.get("type") or "", extra.field if extra else ""
                )
        elif node.kind == "source":
            node.columns = _declared_columns(table)
            node.is_open = True
            kind = node.origin.split(" ")[0]
            load = table.meta.get("load") or {}
            finds_deleted = bool(load.get("deletes") or load.get("soft_delete"))
            for name, column in technical_columns(kind, finds_deleted=finds_deleted).items():
                node.columns.setdefault(name, NodeColumn(name, column.data_type))

    # -- seeds and exposures

    def _add_seed_columns(self, table: Table) -> None:
        node = self.nodes[table.id]
        if node.columns:
            return
        types = {k.lower(): str(v) for k, v in (table.config.get("column_types") or {}).items()}
        folder = self.root or Path(str(table.entry.get("root_path") or "."))
        file = folder / table.file
        names = [column.name for column in table.columns.values()]
        if file.is_file():
            with file.open(encoding="utf-8-sig", newline="") as lines:
                delimiter = str(table.config.get("delimiter") or ",")
                names = next(csv.reader(lines, delimiter=delimiter), names)
        for name in names:
            stated = table.columns.get(name.lower())
            sql_type = types.get(name.lower()) or (stated.type if stated else "")
            node.columns[name.lower()] = NodeColumn(name, sql_type)
        node.is_open = not file.is_file()

    def _add_exposure(self, table: Table) -> None:
        """An exposure uses the columns listed in its `config.meta.columns` (`model.column`), else all it can."""
        node = Node(
            id=table.id,
            kind="exposure",
            name=table.entry["name"],
            owner=table.owner_mail or table.owner,
            parents=tuple(self._through_metrics(table)),
        )
        self.nodes[node.id] = node
        listed = [str(text).lower() for text in table.meta.get("columns") or []]
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

    def _through_metrics(self, table: Table) -> Iterator[str]:
        pending = list(table.parents)
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
                inner = self.manifest.entries.get(section, {}).get(key) or {}
                pending += (inner.get("depends_on") or {}).get("nodes") or []

    # -- models and snapshots

    def _add_query(self, table: Table, cache: QueryCache) -> None:
        node = self.nodes[table.id]
        is_sql = table.entry.get("language", "sql") == "sql"
        if not is_sql or not table.compiled_sql:
            reason = "not compiled: run `dbt compile`" if is_sql else "not SQL"
            self._all_unknown(node, table, Unknown(reason, node.name))
            return
        lineage = self._lineage(node, table, cache)
        if not lineage.columns and lineage.open is None:
            self._all_unknown(node, table, *lineage.unknowns)
            return
        self._add_lineage(node, table, lineage)
        if node.kind == "snapshot":
            self._add_snapshot_columns(node, table)

    def _lineage(self, node: Node, table: Table, cache: QueryCache) -> QueryLineage:
        schema = self._schema(node, table)
        sql = _without_ephemerals(table.compiled_sql, self.dialect)
        key = cache_key(sql, schema, self.dialect, self.macros)
        lineage = cache.get(key)
        if lineage is None:
            lineage = column_lineage(sql, schema, self.dialect, self.macros)
            cache.put(key, lineage)
        return lineage

    def _schema(self, node: Node, table: Table) -> dict[str, dict[str, str]]:
        """The columns of the parents, and of the model itself where an incremental model reads it."""
        schema: dict[str, dict[str, str]] = {}
        parents = list(node.parents)
        if EPHEMERAL in table.compiled_sql:
            parents += [key for name, key in self.by_table.items() if name.startswith(EPHEMERAL)]
        for key in parents:
            if key in self.table_of:
                schema[self.table_of[key]] = _columns_of(self.nodes[key])
        own = {column.name: column.type for column in table.columns.values()}
        schema.setdefault(
            self.table_of[node.id], own if own and not node.columns else _columns_of(node) or {ROWS: ""}
        )
        return schema

    def _add_lineage(self, node: Node, table: Table, lineage: QueryLineage) -> None:
        declared = table.columns
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

    def _all_unknown(self, node: Node, table: Table, *unknowns: Unknown) -> None:
        if not node.columns:
            node.columns = _declared_columns(table)
        node.unknowns = unknowns
        node.is_open = True
        self._may_depend(Ref(node.id, ROWS), node)
        for name in node.columns:
            self._may_depend(Ref(node.id, name), node)

    def _add_snapshot_columns(self, node: Node, table: Table) -> None:
        """A snapshot keeps versions: its key and what it checks decide which rows and times there are."""
        config = table.config
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


def _node(table: Table) -> Node:
    is_source = table.kind == "source"
    return Node(
        id=table.id,
        kind=table.kind,
        name=table.name,
        relation=table.relation,
        origin=_origin(table) if is_source else "",
        owner=table.owner if is_source else str(table.meta.get("owner") or table.group),
        parents=table.parents,
    )


def _origin(table: Table) -> str:
    """What the table is in the source system: `database crm: contacts`, `stream web: web.visits`."""
    entry = table.entry
    load = {**((entry.get("source_meta") or {}).get("load") or {}), **(table.meta.get("load") or {})}
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


def _declared_columns(table: Table) -> dict[str, NodeColumn]:
    return {key: NodeColumn(c.name, c.type, c.field) for key, c in table.columns.items()}


def _columns_of(node: Node) -> dict[str, str]:
    columns = {column.name: column.type for column in node.columns.values()}
    return {**columns, ROWS: ""} if node.is_open else columns


def _table_name(table: Table) -> str:
    """The name by which compiled code refers to a node: `warehouse.marts.invoices`, lower case."""
    entry = table.entry
    if table.materialized == "ephemeral":
        return f"{EPHEMERAL}{entry['name']}".lower()
    if table.relation:
        return bare(table.relation)
    return ".".join(
        str(part) for part in (entry.get("database"), entry.get("schema"), table.name) if part
    ).lower()


def _free_name(name: str, taken: Mapping[str, NodeColumn]) -> str:
    """DuckDB renames the second column `a` of a table to `a_1`."""
    candidate, count = name, 0
    while candidate.lower() in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _in_order(tables: Mapping[str, Table]) -> list[str]:
    """Parents before children. A cycle, which dbt does not allow, falls back to the manifest's order."""
    parents = {key: [p for p in table.parents if p in tables and p != key] for key, table in tables.items()}
    try:
        return list(TopologicalSorter(parents).static_order())
    except CycleError:
        return list(tables)


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
