"""Builds the graph of a dbt project from its manifest, as `dbt compile` or `build` leave it.

What has no compiled code is unknown, with all its parents' columns as possible sources.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from sluice.config.column_names import technical_columns
from sluice.dbt.manifest import CONSUMERS, TABLE_KINDS, Manifest, Table, bare, read_manifest
from sluice.dbt.untraced import untraced
from sluice.errors import SluiceError
from sluice.lineage.graph import Edge, EdgeType, Graph, Node, NodeColumn, Ref
from sluice.lineage.queries import column_lineage, without_ephemerals
from sluice.lineage.query_cache import QueryCache, cache_key
from sluice.lineage.query_lineage import ROWS, Influence, Kind, QueryLineage, Unknown, ValueSource, merged
from sluice.lineage.schema import full_names
from sluice.lineage.semantic_layer import semantic_edges

EPHEMERAL = "__dbt__cte__"
UNMADE = "it is not a source, seed, snapshot or model of this project"

Json = Mapping[str, Any]


def load_graph(
    manifest: Manifest,
    catalog: Json | None = None,
    dialect: str = "duckdb",
    macros: tuple[str, ...] = (),
    cache_file: Path | None = None,
    root: Path | None = None,
    earlier: Mapping[str, Collection[str]] | None = None,
) -> Graph:
    """The column lineage of a project.

    manifest: with compiled code. catalog: the parsed `catalog.json` of dbt, for columns that are not declared.
    macros: `create macro` statements the models use.
    cache_file: SQLite file in which parsed queries are kept between runs, by their SQL and their parents' columns.
    root: folder of the project, to read the header of seeds whose columns are not declared.
    earlier: by unique id, other SQL whose rows a table still holds.
    """

    def builder() -> _Builder:
        return _Builder(manifest, catalog or {}, dialect, macros, root, earlier or {})

    if cache_file is None:
        return builder().build(QueryCache(None))
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(cache_file, timeout=30)) as connection:
            cache = QueryCache(connection)
            graph = builder().build(cache)
            cache.close()
            return graph
    except sqlite3.DatabaseError:
        # Not a database (a run was killed, the disk was full): it only saves time, so the next run starts from scratch.
        cache_file.unlink(missing_ok=True)
        return builder().build(QueryCache(None))


def read_project(target: Path, cache_file: Path | None = None, manifest: Manifest | None = None) -> Graph:
    """The graph of a project from dbt's target folder (`manifest`: not from its own). SluiceError if there is none."""
    manifest = manifest or read_manifest(target, command="dbt compile")
    file = target / "catalog.json"
    try:
        catalog = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except json.JSONDecodeError as error:
        raise SluiceError(f"{file} is broken: {error}. Run `dbt docs generate` again.") from error
    return load_graph(manifest, catalog, cache_file=cache_file, root=target.parent)


class _Builder:
    def __init__(
        self,
        manifest: Manifest,
        catalog: Json,
        dialect: str,
        macros: tuple[str, ...],
        root: Path | None,
        earlier: Mapping[str, Collection[str]],
    ) -> None:
        self.manifest = manifest
        self.catalog = {**catalog.get("nodes", {}), **catalog.get("sources", {})}
        self.dialect = dialect
        self.macros = macros
        self.root = root
        self.earlier = earlier
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.by_table: dict[str, str] = {}
        self.table_of: dict[str, str] = {}
        self.twins: list[tuple[str, str]] = []
        self.unreferenced: dict[str, dict[str, str]] = {}
        """By node: the nodes that its SQL names without `ref` or `source`, and how."""
        self.supposed: set[Ref] = set()
        """Columns that are known only because SQL may mean them: `c`, or the row of `crm.contacts as c`."""

    def build(self, cache: QueryCache) -> Graph:
        """The graph; built again in another order where models read others without `ref`."""
        known = -1
        while known != (known := sum(map(len, self.unreferenced.values()))):
            self.nodes, self.edges, self.by_table, self.twins, self.supposed = {}, [], {}, [], set()
            self._build(cache)
        return Graph(self.nodes, self.edges)

    def _build(self, cache: QueryCache) -> None:
        tables = self.manifest.tables
        for table in tables.values():
            if table.kind == "source":
                self._add(table)
        made = {key: table for key, table in tables.items() if table.kind in TABLE_KINDS}
        parents = {key: {*t.parents, *self.unreferenced.get(key, ())} for key, t in made.items()}
        for key, table in made.items():
            self.by_table.setdefault(_table_name(table), key)
        for key in _in_order(parents):
            self._add(tables[key])
            if tables[key].kind == "seed":
                self._add_seed_columns(tables[key])
            else:
                self._add_query(tables[key], cache)
        self._add_consumers([table for table in tables.values() if table.is_consumer])
        self._add_twins()
        self._distrust_unmade({table.entry.get("database") for table in made.values()})
        for key, unknowns in untraced(self.manifest).items():
            for unknown in unknowns:
                self._distrust(self.nodes[key], Unknown(*unknown))

    def _add(self, table: Table) -> None:
        node = _node(table)
        self.nodes[node.id] = node
        self.table_of[node.id] = _table_name(table)
        known_as = self.by_table.setdefault(self.table_of[node.id], node.id)
        if known_as != node.id:
            self.twins.append((known_as, node.id))
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
            finds_deleted = bool(
                load.get("deletes") or load.get("soft_delete") or load.get("missing_files") == "delete"
            )
            for name, column in technical_columns(kind, finds_deleted=finds_deleted).items():
                node.columns.setdefault(name, NodeColumn(name, column.data_type))

    def _add_twins(self) -> None:
        """Two names of one table: what is known of a column under one name holds under the other."""
        for first, second in self.twins:
            for name in {**self.nodes[first].columns, **self.nodes[second].columns}:
                for a, b in ((first, second), (second, first)):
                    self.edges.append(Edge(Ref(a, name), Ref(b, name), EdgeType.VALUE, "identity", (), True))

    def _distrust_unmade(self, databases: set[str | None]) -> None:
        """Sources in a database that dbt writes, which no node makes: who knows what they hold."""
        twins = {key for pair in self.twins for key in pair}
        for key, node in self.nodes.items():
            database = self.manifest.tables[key].entry.get("database") if node.kind == "source" else None
            if database in databases and database and key not in twins:
                reason = "it lies in the database that dbt writes, but no model, seed or snapshot makes it"
                self._distrust(node, Unknown(reason, node.relation or node.name))

    def _distrust(self, node: Node, unknown: Unknown) -> None:
        """Values of the table may come from elsewhere than its SQL tells."""
        node.unknowns = (*node.unknowns, unknown)
        for name in node.columns:
            node.column_unknowns[name] = (*node.column_unknowns.get(name, ()), unknown)

    # -- seeds and consumers

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

    def _add_consumers(self, tables: list[Table]) -> None:
        """Metrics, saved queries and exposures, which use columns and have none."""
        for table in tables:
            owner = table.owner_mail or table.owner
            name = table.entry["name"]
            self.nodes[table.id] = Node(table.id, table.kind, name, owner=owner, parents=table.parents)
        for table in tables:
            if table.kind == "exposure":
                self._add_exposure(table)
            else:
                self.edges += semantic_edges(table, self.manifest.entries, self.nodes)

    def _add_exposure(self, table: Table) -> None:
        """An exposure uses the columns listed in its `config.meta.columns` (`model.column`), else all it can."""
        listed = [str(text).lower() for text in table.meta.get("columns") or []]
        target = Ref(table.id, ROWS)
        for parent in table.parents:
            known = self.nodes.get(parent)
            if known is None:
                continue
            if known.kind in CONSUMERS:
                self.edges.append(Edge(Ref(parent, ROWS), target, EdgeType.VALUE, "identity"))
                continue
            self.edges.append(Edge(Ref(parent, ROWS), target, EdgeType.INFLUENCE, Kind.ROWS.value))
            prefix = known.name.lower() + "."
            picked = [text[len(prefix) :] for text in listed if text.startswith(prefix)]
            columns = picked if listed else list(known.columns)
            self.edges += [
                Edge(Ref(parent, column), target, EdgeType.VALUE, "identity") for column in columns
            ]

    # -- models and snapshots

    def _add_query(self, table: Table, cache: QueryCache) -> None:
        node = self.nodes[table.id]
        is_sql = table.entry.get("language", "sql") == "sql"
        if not is_sql or not table.compiled_sql:
            reason = "not compiled: run `dbt compile`" if is_sql else "not SQL"
            self._all_unknown(node, table, Unknown(reason, node.name))
            return
        written = (table.compiled_sql, *self.earlier.get(table.id, ()))
        lineage = merged([self._lineage(node, table, sql, cache) for sql in written])
        if not lineage.columns and lineage.open is None:
            self._all_unknown(node, table, *lineage.unknowns)
            return
        self._add_lineage(node, table, lineage)
        if node.kind == "snapshot":
            self._add_snapshot_columns(node, table)

    def _lineage(self, node: Node, table: Table, sql: str, cache: QueryCache) -> QueryLineage:
        schema = self._schema(node, table)
        sql = without_ephemerals(sql, self.dialect, self._ephemerals(table))
        database = str(table.entry.get("database") or "").lower()
        key = cache_key(sql, schema, self.dialect, self.macros, database)
        lineage = cache.get(key)
        if lineage is None:
            lineage = column_lineage(sql, schema, self.dialect, self.macros, database)
            cache.put(key, lineage)
        return lineage

    def _ephemerals(self, table: Table) -> dict[str, str]:
        """The ephemeral models that dbt writes into the SQL of a table, by their names there."""
        if EPHEMERAL not in table.compiled_sql:
            return {}
        above = self.manifest.ancestors([table.id]) - {table.id}
        names = {_table_name(t): key for key in sorted(above) if (t := self.manifest.tables.get(key))}
        return {name: key for name, key in names.items() if name.startswith(EPHEMERAL)}

    def _schema(self, node: Node, table: Table) -> dict[str, dict[str, str]]:
        """The columns of the parents, and of the model itself where an incremental model reads it."""
        schema: dict[str, dict[str, str]] = {}
        parents = [*node.parents, *self.unreferenced.get(node.id, ())]
        parents += self._ephemerals(table).values()
        for key in parents:
            if key in self.nodes and key in self.table_of:
                schema[self.table_of[key]] = self._columns_of(self.nodes[key])
        own = {column.name: column.type for column in table.columns.values()}
        own = own if own and not node.columns else self._columns_of(node) or {ROWS: ""}
        schema.setdefault(self.table_of[node.id], own)
        return schema

    def _columns_of(self, node: Node) -> dict[str, str]:
        known = {c.name: c.type for key, c in node.columns.items() if Ref(node.id, key) not in self.supposed}
        return {**known, ROWS: ""} if node.is_open else known

    def _add_lineage(self, node: Node, table: Table, lineage: QueryLineage) -> None:
        self._find_unreferenced(node, table, lineage)
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
            if column.unknown - rows_unknown or column.unresolved:
                self._may_depend(target, node)
            if column.unresolved:
                self._hide(target, *sorted(column.unresolved))
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
        node = self.nodes.get(parent)  # None: it reads this table without `ref`, and is read by it
        is_made = node is None or node.kind not in ("source", "seed")
        if used.column == ROWS and is_value:
            # "Some column of a table whose columns are not all known": any of those that are known may be meant.
            for name in node.columns if node else ():
                self.edges.append(Edge(Ref(parent, name), target, EdgeType.UNKNOWN, kind, used.path))
            if node is None or (is_made and node.is_open):
                self._hide(target, Unknown("the columns of this table are not all known", used.table))
            return
        name = used.column.lower()
        if node and name != ROWS and name not in node.columns and parent != target.node:
            node.columns[name] = NodeColumn(used.column)
            self.supposed.add(Ref(parent, name))
            if node.kind == "table":
                self._hide(Ref(parent, name), Unknown(UNMADE, used.table))
            elif is_made:
                self._hide(Ref(parent, name), Unknown("its SQL does not show such a column", used.column))
        type_ = EdgeType.VALUE if is_value else EdgeType.INFLUENCE
        self.edges.append(Edge(Ref(parent, name), target, type_, kind, used.path, navigable))

    def _hide(self, column: Ref, *unknowns: Unknown) -> None:
        """Where the value of a column may come from is not known."""
        hidden = self.nodes[column.node].column_unknowns
        hidden[column.column] = (*hidden.get(column.column, ()), *unknowns)

    def _find_unreferenced(self, node: Node, table: Table, lineage: QueryLineage) -> None:
        """Notes the tables that the SQL names without `ref` or `source`; nodes among them are built before this one."""
        columns = [*lineage.columns, *([lineage.open] if lineage.open else [])]
        used = {part.table for c in columns for part in c.values}
        used |= {part.table for part in lineage.rows.union(*(c.own for c in columns))}
        own = {self.table_of[key] for key in (*node.parents, node.id) if key in self.table_of}
        found = self.unreferenced.setdefault(node.id, {})
        for name in sorted(used - own - set(self._ephemerals(table))):
            database = str(table.entry.get("database") or "").lower()
            names = [name, *map(".".join, full_names(tuple(name.split(".")), database))]
            meant = {self.by_table[n] for n in names if n in self.by_table}
            found.setdefault(meant.pop() if len(meant) == 1 else f"table.{name}", name)
        node.unreferenced = tuple(found.values())
        node.parents = (*node.parents, *(key for key in found if key in self.nodes))

    def _may_depend(self, target: Ref, node: Node) -> None:
        """What is unknown may come from any column of any parent."""
        for parent in node.parents:
            known = self.nodes.get(parent)
            for name in (ROWS, *(known.columns if known else ())):
                self.edges.append(Edge(Ref(parent, name), target, EdgeType.UNKNOWN, "unknown"))

    def _all_unknown(self, node: Node, table: Table, *unknowns: Unknown) -> None:
        if not node.columns:
            node.columns = _declared_columns(table)
        node.is_open = True
        for unknown in unknowns:
            self._distrust(node, unknown)
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


def _in_order(parents: Mapping[str, set[str]]) -> list[str]:
    """Parents before children. A cycle, which takes a table named without `ref`, keeps the given order."""
    known = {key: sorted(p for p in of if p in parents and p != key) for key, of in parents.items()}
    try:
        return list(TopologicalSorter(known).static_order())
    except CycleError:
        return list(parents)
