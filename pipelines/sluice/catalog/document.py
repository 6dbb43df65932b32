"""The catalog as one JSON document.

Shape: {project, layers, tables, edges, kinds, relations, audiences, glossary, problems, changes, details}. `tables` and
`edges` are what the page needs to open, search and draw; `details` holds for each table what only its own page shows.
Tables are referred to by their index, columns by their index within the table; -1 stands for the rows as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sluice.catalog.facts import CatalogFacts
from sluice.catalog.readers import audiences, treatments
from sluice.catalog.table_details import table_details
from sluice.config.column_names import TECHNICAL
from sluice.config.glossary import Term
from sluice.dbt.manifest import LAYERS, Table
from sluice.lineage import ROWS, EdgeType, Ref
from sluice.privacy.propagation import Personal

EDGE_TYPES = {EdgeType.VALUE: 0, EdgeType.INFLUENCE: 1, EdgeType.UNKNOWN: 2}
KEPT_RESULTS = 40
"""Builds shown of a test's history."""
KEPT_LOADS = 15
SHOWN_COUNTS = 120


def build_document(facts: CatalogFacts) -> dict[str, Any]:
    """The JSON document of a project."""
    manifest = facts.manifest
    loaded = {key: _loaded_at(facts, table) for key, table in manifest.tables.items()}
    as_of = _as_of(facts, loaded)
    edges, kinds = _edges(facts)
    builds = [b for b in facts.history.builds if b["command"] in ("build", "run")]
    return {
        "project": {
            "name": manifest.name,
            "writtenAt": datetime.now(UTC).isoformat(timespec="seconds"),
            "builtAt": builds[-1]["ended"] if builds else manifest.generated_at,
        },
        "layers": _layers(facts),
        "tables": [_table(facts, key, loaded, as_of) for key in facts.ids],
        "edges": edges,
        "kinds": kinds,
        "relations": _relations(facts),
        "audiences": audiences(facts),
        "glossary": [_term(facts, term) for term in facts.glossary],
        "problems": [
            {"table": facts.index.get(p.table, -1), "rule": p.rule, "text": p.text, "gate": p.gate}
            for p in facts.problems
        ],
        "changes": facts.changes,
        "details": [table_details(facts, key) for key in facts.ids],
    }


def _layers(facts: CatalogFacts) -> list[str]:
    there = {t.layer for t in facts.manifest.tables.values()}
    if len(facts.ids) > len(facts.manifest.tables):
        there.add("source")
    known = [layer for layer in LAYERS if layer in there]
    others = sorted(there - set(known))
    cut = next((i for i, layer in enumerate(known) if layer in ("marts", "exposure")), len(known))
    return [*known[:cut], *others, *known[cut:]]


def _table(
    facts: CatalogFacts, key: str, loaded: Mapping[str, str], as_of: Mapping[str, str]
) -> dict[str, Any]:
    node = facts.graph.nodes.get(key)
    table = facts.manifest.tables.get(key)
    if table is None:
        assert node is not None
        return {
            "id": key,
            "kind": "table",
            "name": node.name,
            "layer": "source",
            "about": "Not part of the project.",
            "columns": [[name, kind, "", ""] for name, kind in facts.columns[key]],
            "parents": [],
        }
    states = Counter(facts.state(test.id) for test in facts.tests.get(key, []) if test.table == key)
    built = facts.history.results.get(key, [])
    found: dict[str, Any] = {
        "id": key,
        "kind": "exposure" if table.is_consumer else table.kind,
        "name": table.name,
        "layer": table.layer,
        "domain": table.domain,
        "about": table.first_sentence or table.grain,
        "text": " ".join(table.description.split()) if table.description != table.first_sentence else "",
        "grain": table.grain,
        "owner": table.owner,
        "tags": list(table.tags),
        "rows": facts.row_counts.get(key),
        "access": table.access,
        "made": table.materialized,
        "contract": table.contract,
        "audiences": list(table.audiences),
        "seen": treatments(facts, key, table),
        "loadedAt": loaded.get(key),
        "loadFailed": [r["status"] for r in facts.history.loads.get(table.source or ("", ""), [])][-1:]
        == ["failed"],
        "unwatched": table.kind == "source" and _is_unwatched(table),
        "limits": {k: _hours(v) for k, v in table.freshness.items()},
        "builtAt": built[-1].at if built else None,
        "builtAs": built[-1].status if built else None,
        "asOf": as_of.get(key),
        "tests": dict(states),
        "parents": [facts.index[p] for p in table.parents if p in facts.index],
        "origin": node.origin if node else "",
        "columns": [_column(facts, key, table, name, kind) for name, kind in facts.columns[key]],
    }
    if table.is_consumer:
        found |= {"url": table.url, "maturity": table.maturity, "type": table.exposure_type}
    return {
        k: v for k, v in found.items() if v not in (None, "", [], {}, False) or k in ("columns", "parents")
    }


def _is_unwatched(table: Table) -> bool:
    """Whether a source is neither loaded by Sluice nor says in which column its age is."""
    declared = {**(table.entry.get("source_meta") or {}), **table.meta}
    return "load" not in declared and not table.loaded_at_field


def _column(facts: CatalogFacts, key: str, table: Table, name: str, kind: str) -> list[Any]:
    """[name, type, description, personal, tags…]; personal is `email`, `~email` if derived, `?email` if maybe."""
    declared = table.columns.get(name.lower())
    why = facts.personal.get(Ref(key, name.lower()))
    column: list[Any] = [
        name,
        kind.lower(),
        declared.description if declared else getattr(TECHNICAL.get(name), "description", ""),
        _class_mark(why),
    ]
    if declared and declared.tags:
        column.append(list(declared.tags))
    return column


def _loaded_at(facts: CatalogFacts, table: Table) -> str:
    if table.source is None:
        return ""
    ended = [r["ended_at"] for r in facts.history.loads.get(table.source, []) if r["status"] != "failed"]
    return max(ended, default=facts.newest.get(table.id, ""))


def _as_of(facts: CatalogFacts, loaded: Mapping[str, str]) -> dict[str, str]:
    """For each table the last load of the source table below it that is oldest."""
    found: dict[str, str] = {}

    def visit(key: str, trail: frozenset[str]) -> str:
        if key in found or key in trail:
            return found.get(key, "")
        table = facts.manifest.tables.get(key)
        if table is None:
            return ""
        if table.kind == "source":
            found[key] = loaded[key]
        else:
            below = [visit(parent, trail | {key}) for parent in table.parents]
            found[key] = min((at for at in below if at), default="")
        return found[key]

    for key in facts.manifest.tables:
        visit(key, frozenset())
    return {key: at for key, at in found.items() if at}


def _edges(facts: CatalogFacts) -> tuple[list[int], list[str]]:
    """Per edge six numbers (source table, column, target table, column, type, kind), and the names of the kinds."""
    kinds: dict[str, int] = {}
    positions = {
        key: {name.lower(): i for i, (name, _) in enumerate(columns)}
        for key, columns in facts.columns.items()
    }
    flat: list[int] = []
    seen = set()
    for node in facts.graph.nodes.values():
        for column in [ROWS, *node.columns]:
            for edge in facts.graph.edges_into(Ref(node.id, column)):
                ends = []
                for ref in (edge.source, edge.target):
                    place = -1 if ref.column == ROWS else positions.get(ref.node, {}).get(ref.column)
                    if place is None or ref.node not in facts.index:
                        break
                    ends += [facts.index[ref.node], place]
                else:
                    kind = kinds.setdefault(edge.kind, len(kinds))
                    row = (*ends, EDGE_TYPES[edge.type], kind)
                    if row not in seen:
                        seen.add(row)
                        flat += row
    return flat, list(kinds)


def _relations(facts: CatalogFacts) -> list[dict[str, Any]]:
    """What refers to what: by tests of relationships, of tables people see (marts and what they refer to)."""
    found = []
    keys = {
        (test.table, test.column)
        for test in facts.manifest.tests.values()
        if test.type in ("primary_key", "unique") and test.column
    }
    for test in facts.manifest.tests.values():
        if test.to is None or test.table not in facts.index or test.to[0] not in facts.index:
            continue
        found.append(
            {
                "from": facts.index[test.table],
                "column": test.column,
                "to": facts.index[test.to[0]],
                "key": test.to[1],
                "one": (test.table, test.column) in keys,
                "state": facts.state(test.id),
            }
        )
    return found


def _term(facts: CatalogFacts, term: Term) -> dict[str, Any]:
    by_name = {facts.name(key).lower(): key for key in facts.ids}
    places = []
    for text in term.columns:
        if text.lower() in by_name:
            places.append([facts.index[by_name[text.lower()]], -1])
            continue
        table, _, column = text.lower().rpartition(".")
        key = by_name.get(table)
        names = [name.lower() for name, _ in facts.columns.get(key or "", [])]
        if key and column in names:
            places.append([facts.index[key], names.index(column)])
    return {
        "term": term.term,
        "meaning": " ".join(term.meaning.split()),
        "synonyms": term.synonyms,
        "words": term.words,
        "places": places,
    }


def _class_mark(why: Personal | None) -> str:
    if why is None:
        return ""
    mark = "" if why.declared else "?" if why.maybe else "~"
    return mark + ", ".join(sorted(why.classes))


def _hours(after: Mapping[str, Any]) -> float:
    unit = {"minute": 1 / 60, "hour": 1, "day": 24}[str(after["period"])]
    return float(after["count"]) * unit
