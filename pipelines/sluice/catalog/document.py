"""Puts together all the catalog shows, as one JSON document.

Shape: {project, layers, tables, edges, kinds, relations, glossary, problems, changes, details}. `tables` and `edges`
are what the page needs to open, search and draw; `details` holds for each table what only its own page shows.
Tables are referred to by their index, columns by theirs within the table, -1 being the rows as such.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import duckdb

from sluice.catalog.check import Problem, problems_of
from sluice.catalog.glossary import Term, read_glossary
from sluice.catalog.profiles import Profile, profile
from sluice.catalog.queries import sample_queries
from sluice.config.audiences import Audience, read_policy
from sluice.config.column_names import TECHNICAL
from sluice.config.settings import Settings
from sluice.dbt.build_history import CACHE, History, Result, compiled_project, record_build
from sluice.dbt.manifest import LAYERS, Project, TableFacts, TestFacts
from sluice.dbt.warehouse import catalog_of, count_rows, newest, open_warehouse
from sluice.lineage import ROWS, EdgeType, Graph, Node, Ref, load_graph
from sluice.privacy.personal_columns import Personal, names_of, personal_columns, scrub

EDGE_TYPES = {EdgeType.VALUE: 0, EdgeType.INFLUENCE: 1, EdgeType.UNKNOWN: 2}
FAILED = ("fail", "error", "runtime error")
KEPT_RESULTS = 40
"""Builds shown of a test's history."""
KEPT_LOADS = 15
SHOWN_COUNTS = 120


class Gathered:
    """Everything known of a project, before it becomes JSON."""

    def __init__(
        self,
        project: Project,
        graph: Graph,
        history: History,
        glossary: Sequence[Term] = (),
        profiles: Mapping[str, Mapping[str, Profile]] | None = None,
        row_counts: Mapping[str, int] | None = None,
        changes: Mapping[str, Any] | None = None,
        audiences: Sequence[Audience] = (),
    ) -> None:
        self.project = project
        self.graph = graph
        self.history = history
        self.glossary = glossary
        self.profiles = profiles or {}
        self.row_counts = row_counts or {}
        self.changes = changes
        self.newest: Mapping[str, str] = {}
        """When source tables that our loader does not load were last written."""
        self.audiences = {audience.name: audience for audience in audiences}
        self.personal = personal_columns(project, graph)
        self.known_names = names_of(project)
        self.ids = [*project.tables, *(key for key in graph.nodes if key not in project.tables)]
        self.index = {key: number for number, key in enumerate(self.ids)}
        self.columns = {key: self._columns(key) for key in self.ids}
        self.tests: dict[str, list[TestFacts]] = {}
        for test in project.tests.values():
            for table in dict.fromkeys([test.table, *(test.also if test.kind == "singular" else ())]):
                self.tests.setdefault(table, []).append(test)

    def _columns(self, key: str) -> list[tuple[str, str]]:
        """(name, type) of every column that is there or declared."""
        node = self.graph.nodes.get(key)
        table = self.project.tables.get(key)
        found = {name: (c.name, c.type) for name, c in (node.columns if node else {}).items()}
        for name, column in (table.columns if table else {}).items():
            if name not in found:
                found[name] = (column.name, column.type)
        return list(found.values())

    @property
    def problems(self) -> list[Problem]:
        return problems_of(self.project, self.columns, self.tests, self.profiles)

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        project = self.project
        loaded = {key: self._loaded_at(table) for key, table in project.tables.items()}
        as_of = self._as_of(loaded)
        builds = [b for b in self.history.builds if b["command"] in ("build", "run")]
        return {
            "project": {
                "name": project.name,
                "writtenAt": datetime.now(UTC).isoformat(timespec="seconds"),
                "builtAt": builds[-1]["ended"] if builds else project.generated_at,
            },
            "layers": self._layers(),
            "tables": [self._table(key, loaded, as_of) for key in self.ids],
            "edges": self._edges(),
            "kinds": self._kinds,
            "relations": self._relations(),
            "glossary": [self._term(term) for term in self.glossary],
            "problems": [
                {"table": self.index.get(p.table, -1), "rule": p.rule, "text": p.text, "gate": p.gate}
                for p in self.problems
            ],
            "changes": self.changes,
            "details": [self._details(key) for key in self.ids],
        }

    # -- what the page opens with

    def _layers(self) -> list[str]:
        there = {t.layer for t in self.project.tables.values()}
        if len(self.ids) > len(self.project.tables):
            there.add("source")
        known = [layer for layer in LAYERS if layer in there]
        others = sorted(there - set(known))
        cut = next((i for i, layer in enumerate(known) if layer in ("marts", "exposure")), len(known))
        return [*known[:cut], *others, *known[cut:]]

    def _table(self, key: str, loaded: Mapping[str, str], as_of: Mapping[str, str]) -> dict[str, Any]:
        node = self.graph.nodes.get(key)
        table = self.project.tables.get(key)
        if table is None:
            assert node is not None
            return {
                "id": key,
                "kind": "table",
                "name": node.name,
                "layer": "source",
                "about": "Not part of the project.",
                "columns": [[name, kind, "", ""] for name, kind in self.columns[key]],
                "parents": [],
            }
        states = Counter(self.state(test.id) for test in self.tests.get(key, []) if test.table == key)
        built = self.history.results.get(key, [])
        found: dict[str, Any] = {
            "id": key,
            "kind": table.kind,
            "name": table.name,
            "layer": table.layer,
            "domain": table.domain,
            "about": table.first_sentence or table.grain,
            "text": " ".join(table.description.split()) if table.description != table.first_sentence else "",
            "grain": table.grain,
            "owner": table.owner,
            "tags": list(table.tags),
            "rows": self.row_counts.get(key),
            "access": table.access,
            "made": table.materialized,
            "contract": table.contract,
            "audiences": list(table.audiences),
            "loadedAt": loaded.get(key),
            "limits": {k: _hours(v) for k, v in table.freshness.items()},
            "builtAt": built[-1].at if built else None,
            "builtAs": built[-1].status if built else None,
            "asOf": as_of.get(key),
            "tests": dict(states),
            "parents": [self.index[p] for p in table.parents if p in self.index],
            "origin": node.origin if node else "",
            "columns": [self._column(key, table, name, kind) for name, kind in self.columns[key]],
        }
        if table.kind == "exposure":
            found |= {"url": table.url, "maturity": table.maturity, "type": table.exposure_type}
        return {
            k: v
            for k, v in found.items()
            if v not in (None, "", [], {}, False) or k in ("columns", "parents")
        }

    def _column(self, key: str, table: TableFacts, name: str, kind: str) -> list[Any]:
        """[name, type, description, personal, tags…]; personal is `email`, `~email` if derived, `?email` if maybe."""
        facts = table.columns.get(name.lower())
        why = self.personal.get(Ref(key, name.lower()))
        column: list[Any] = [
            name,
            kind.lower(),
            facts.description if facts else getattr(TECHNICAL.get(name), "description", ""),
            _class_mark(why),
        ]
        if facts and facts.tags:
            column.append(list(facts.tags))
        return column

    def _loaded_at(self, table: TableFacts) -> str:
        if table.source is None:
            return ""
        ended = [r["ended_at"] for r in self.history.loads.get(table.source, []) if r["status"] != "failed"]
        return max(ended, default=self.newest.get(table.id, ""))

    def _as_of(self, loaded: Mapping[str, str]) -> dict[str, str]:
        """For each table the last load of the source table below it that is oldest."""
        found: dict[str, str] = {}

        def visit(key: str, trail: frozenset[str]) -> str:
            if key in found or key in trail:
                return found.get(key, "")
            table = self.project.tables.get(key)
            if table is None:
                return ""
            if table.kind == "source":
                found[key] = loaded[key]
            else:
                below = [visit(parent, trail | {key}) for parent in table.parents]
                found[key] = min((at for at in below if at), default="")
            return found[key]

        for key in self.project.tables:
            visit(key, frozenset())
        return {key: at for key, at in found.items() if at}

    def _edges(self) -> list[int]:
        """Flat: source table, source column, target table, target column, type, kind; six numbers an edge."""
        self._kinds: list[str] = []
        numbers: dict[str, int] = {}
        positions = {
            key: {name.lower(): i for i, (name, _) in enumerate(columns)}
            for key, columns in self.columns.items()
        }
        flat: list[int] = []
        seen = set()
        for node in self.graph.nodes.values():
            for column in [ROWS, *node.columns]:
                for edge in self.graph.edges_into(Ref(node.id, column)):
                    ends = []
                    for ref in (edge.source, edge.target):
                        place = -1 if ref.column == ROWS else positions.get(ref.node, {}).get(ref.column)
                        if place is None or ref.node not in self.index:
                            break
                        ends += [self.index[ref.node], place]
                    else:
                        if edge.kind not in numbers:
                            numbers[edge.kind] = len(self._kinds)
                            self._kinds.append(edge.kind)
                        row = (*ends, EDGE_TYPES[edge.type], numbers[edge.kind])
                        if row not in seen:
                            seen.add(row)
                            flat += row
        return flat

    def _relations(self) -> list[dict[str, Any]]:
        """What refers to what: by tests of relationships, of tables people see (marts and what they refer to)."""
        found = []
        keys = {
            (test.table, test.column)
            for test in self.project.tests.values()
            if test.type in ("primary_key", "unique") and test.column
        }
        for test in self.project.tests.values():
            if test.to is None or test.table not in self.index or test.to[0] not in self.index:
                continue
            found.append(
                {
                    "from": self.index[test.table],
                    "column": test.column,
                    "to": self.index[test.to[0]],
                    "key": test.to[1],
                    "one": (test.table, test.column) in keys,
                    "state": self.state(test.id),
                }
            )
        return found

    def state(self, test: str) -> str:
        results = self.history.results.get(test)
        if not results:
            return "unknown"
        status = results[-1].status
        return "fail" if status in FAILED else "pass" if status in ("pass", "success") else status

    def _term(self, term: Term) -> dict[str, Any]:
        by_name = {self._name(key).lower(): key for key in self.ids}
        places = []
        for text in term.columns:
            if text.lower() in by_name:
                places.append([self.index[by_name[text.lower()]], -1])
                continue
            table, _, column = text.lower().rpartition(".")
            key = by_name.get(table)
            names = [name.lower() for name, _ in self.columns.get(key or "", [])]
            if key and column in names:
                places.append([self.index[key], names.index(column)])
        return {
            "term": term.term,
            "meaning": " ".join(term.meaning.split()),
            "synonyms": term.synonyms,
            "words": term.words,
            "places": places,
        }

    def _name(self, key: str) -> str:
        table = self.project.tables.get(key)
        return table.name if table else self.graph.nodes[key].name

    # -- what the page of one table shows

    def _details(self, key: str) -> dict[str, Any]:
        table = self.project.tables.get(key)
        node: Node | None = self.graph.nodes.get(key)
        if table is None:
            return {}
        types = dict(self.columns[key])
        shown = {
            name: found
            for name, found in self.profiles.get(key, {}).items()
            if Ref(key, name.lower()) not in self.personal  # said twice: nothing personal leaves here
        }
        found: dict[str, Any] = {
            "description": table.description,
            "file": table.file,
            "mail": table.owner_mail,
            "relation": table.relation.replace('"', ""),
            "sql": table.raw_sql,
            "compiled": table.compiled_sql,
            "profile": shown,
            "constraints": {c.name: list(c.constraints) for c in table.columns.values() if c.constraints},
            "tests": [self._test(test) for test in self.tests.get(key, [])],
            "loads": self._loads(table),
            "counts": self._counts(key),
            "queries": [
                list(q) for q in sample_queries(table, types, self.tests.get(key, []), self.project.tables)
            ],
            "treatments": self._treatments(key, table),
            "unknowns": [[u.reason, u.sql[:200]] for u in (node.unknowns if node else ())][:20],
        }
        return {k: v for k, v in found.items() if v}

    def _test(self, test: TestFacts) -> dict[str, Any]:
        results = self.history.results.get(test.id, [])[-KEPT_RESULTS:]
        state = self.state(test.id)
        found: dict[str, Any] = {
            "name": test.name,
            "kind": test.kind,
            "type": test.type,
            "claim": test.claim,
            "column": test.column,
            "severity": test.severity,
            "state": state,
            "history": [[r.at, r.status, r.failures] for r in results],
            "sql": test.sql if state in ("fail", "warn", "error") or test.kind == "singular" else "",
        }
        if test.table in self.index:
            found["table"] = self.index[test.table]
        if results and state != "pass":
            found["message"] = results[-1].message
            found["failures"] = results[-1].failures
            found["since"] = _failing_since(results)
        failing = self.history.failing.get(test.id)
        if failing:
            found["rows"] = {
                "at": failing.at,
                "columns": failing.columns,
                "masked": failing.masked,
                "rows": failing.rows,
            }
        return {k: v for k, v in found.items() if v not in (None, "", [])}

    def _loads(self, table: TableFacts) -> list[dict[str, Any]]:
        if table.source is None:
            return []
        rows = self.history.loads.get(table.source, [])[-KEPT_LOADS:]
        return [
            {
                "at": row["ended_at"],
                "status": row["status"],
                "rows": row["rows_loaded"],
                "deleted": row["rows_deleted"],
                "quarantined": row.get("rows_quarantined") or 0,
                "bytes": row["bytes"],
                "error": scrub(row["error"], self.known_names),
            }
            for row in reversed(rows)
        ]

    def _counts(self, key: str) -> list[list[Any]]:
        """[time, rows] by build."""
        results = self.history.results.get(key, [])[-SHOWN_COUNTS:]
        return [[r.at, r.row_count] for r in results if r.row_count is not None]

    def _treatments(self, key: str, table: TableFacts) -> dict[str, dict[str, str]]:
        """By audience, the mask of each column it does not see in clear."""
        classed = {
            name: table.columns[name.lower()].data_class
            for name, _ in self.columns[key]
            if name.lower() in table.columns and table.columns[name.lower()].data_class
        }
        found: dict[str, dict[str, str]] = {}
        for name in table.audiences:
            audience = self.audiences.get(name)
            masks = {column: audience.treatment(kind) for column, kind in classed.items()} if audience else {}
            found[name] = {column: mask for column, mask in masks.items() if mask != "clear"}
        return found


def _class_mark(why: Personal | None) -> str:
    if why is None:
        return ""
    mark = "" if why.declared else "?" if why.maybe else "~"
    return mark + ", ".join(sorted(why.classes))


def _hours(after: Mapping[str, Any]) -> float:
    unit = {"minute": 1 / 60, "hour": 1, "day": 24}[str(after["period"])]
    return float(after["count"]) * unit


def _failing_since(results: Sequence[Result]) -> str:
    """When it failed first since it last passed; builds that skipped it do not count."""
    since = ""
    for result in reversed(results):
        if result.status in ("pass", "success"):
            break
        if result.status != "skipped":
            since = result.at
    return since


def gather(settings: Settings, *, with_profiles: bool = True) -> Gathered:
    """All that is known of the project of `settings`.

    Raises SluiceError without a manifest, LockedError while a process writes to the warehouse.
    """
    from sluice.catalog.compare import changes_since_published

    record_build(settings)
    policy, _ = read_policy(settings.root / "audiences.yml")  # whether it is sound, `sluice publish` says
    project = compiled_project(settings)
    with open_warehouse(settings, settings.lock_seconds) as connection:
        graph = load_graph(
            project.manifest,
            catalog_of(connection, project),
            cache_file=settings.home / CACHE,
            root=settings.root,
        )
        gathered = Gathered(
            project,
            graph,
            History(settings.ledger),
            read_glossary(settings.root / "docs" / "glossary.yml"),
            audiences=policy.audiences if policy else (),
        )
        if connection is not None:
            gathered.row_counts = _row_counts(connection, project.tables.values())
            gathered.newest = {
                t.id: newest(connection, t.relation, t.loaded_at_field)
                for t in project.tables.values()
                if t.loaded_at_field and t.source not in gathered.history.loads
            }
            if with_profiles:
                gathered.profiles = _profiles(settings, connection, gathered)
    gathered.changes = changes_since_published(settings, gathered)
    return gathered


def _row_counts(connection: duckdb.DuckDBPyConnection, tables: Iterable[TableFacts]) -> dict[str, int]:
    counts = {t.id: count_rows(connection, t.relation) for t in tables if t.relation}
    return {key: count for key, count in counts.items() if count is not None}


def _profiles(
    settings: Settings, connection: duckdb.DuckDBPyConnection, gathered: Gathered
) -> dict[str, dict[str, Profile]]:
    """Profiles of all tables; those of tables that did not change since the last time come from a file."""
    found = {}
    settings.home.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(settings.home / CACHE, timeout=30)) as store, store:
        store.execute(
            "create table if not exists profiles (key text primary key, table_id text, profile text)"
        )
        for key, rows in gathered.row_counts.items():
            table = gathered.project.tables[key]
            columns = [
                name
                for name, _ in gathered.columns[key]
                if Ref(key, name.lower()) not in gathered.personal and not name.startswith("_load")
            ]
            signature = _signature(connection, gathered, key, rows, columns)
            kept = store.execute("select profile from profiles where key = ?", [signature]).fetchone()
            if kept:
                found[key] = json.loads(kept[0])
                continue
            try:
                found[key] = profile(connection, table.relation, columns, rows)
            except duckdb.Error:
                continue
            store.execute("delete from profiles where table_id = ?", [key])
            store.execute("insert into profiles values (?, ?, ?)", [signature, key, json.dumps(found[key])])
    return found


def _signature(
    connection: duckdb.DuckDBPyConnection, gathered: Gathered, key: str, rows: int, columns: Sequence[str]
) -> str:
    """Changes whenever the content of a table may have: a newer build, a newer load below it, other columns."""
    built = gathered.history.results.get(key, [])
    loads = gathered.history.loads
    newest = max((r["ended_at"] for group in loads.values() for r in group), default="")
    table = gathered.project.tables[key]
    own = max((r["ended_at"] for r in loads.get(table.source, [])), default="") if table.source else newest
    relations = [
        gathered.columns[key],
        list(columns),
        rows,
        built[-1].at if built else "",
        own,
        table.checksum,
    ]
    return hashlib.sha256(json.dumps([key, *relations]).encode()).hexdigest()
