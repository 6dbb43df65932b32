"""What dbt's manifest says of the models that are granted to somebody: grants, columns, classes, contracts, tests."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sluice.config.audiences import UNCLASSED, Policy, RowLimits
from sluice.dbt.run_results import Outcome
from sluice.errors import DeclarationError
from sluice.lineage import EdgeType, Graph, Ref, load_graph
from sluice.sql import quoted


@dataclass(frozen=True)
class Column:
    """A column a model declares; one that it does not declare is not published."""

    name: str
    data_type: str | None
    data_class: str | None


@dataclass(frozen=True)
class Model:
    """A granted model, as it stands in the warehouse."""

    unique_id: str
    name: str
    schema: str
    columns: tuple[Column, ...]
    grants: frozenset[str]
    is_contracted: bool
    limits: RowLimits
    partition_by: tuple[str, ...]

    @property
    def relation(self) -> str:
        """The table in the attached warehouse, quoted."""
        return f"warehouse.{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True)
class Test:
    """A data or unit test; `models` are those a failure puts in doubt, `parents` all it reads."""

    unique_id: str
    name: str
    models: tuple[str, ...]
    parents: tuple[str, ...]
    is_error: bool
    kind: str | None
    """Name of a generic test, such as relationships."""
    arguments: Mapping[str, Any]
    compiled: str | None


class Project:
    """dbt's manifest, read for publishing."""

    def __init__(self, manifest: Mapping[str, Any], limits: RowLimits, cache: Path | None = None) -> None:
        self._manifest = manifest
        self._cache = cache
        self._nodes: Mapping[str, Any] = {**manifest["nodes"], **manifest.get("sources", {})}
        self._unit_tests: Mapping[str, Any] = manifest.get("unit_tests", {})
        self._limits = limits

    @classmethod
    def read(
        cls, target: Path, policy: Policy, outcomes: Mapping[str, Outcome], cache: Path | None = None
    ) -> Project:
        """The project of `target/manifest.json`, its nodes with the SQL that ran (`outcomes`).

        `cache` keeps parsed queries. Raises DeclarationError when grants and policy do not fit.
        """
        file = target / "manifest.json"
        if not file.is_file():
            raise DeclarationError(f"{file} does not exist; `sluice build` makes it")
        manifest = json.loads(file.read_text(encoding="utf-8"))
        for unique_id, outcome in outcomes.items():
            if outcome.compiled and unique_id in manifest["nodes"]:
                manifest["nodes"][unique_id]["compiled_code"] = outcome.compiled
        project = cls(manifest, policy.publishing.rows, cache)
        if mistakes := list(project.misdeclared(policy)):
            raise DeclarationError("\n".join(mistakes))
        return project

    @cached_property
    def models(self) -> dict[str, Model]:
        """Granted models by unique id."""
        return {
            unique_id: self._model(unique_id, node)
            for unique_id, node in sorted(self._nodes.items())
            if node["resource_type"] in ("model", "seed", "snapshot") and _grants(node)
        }

    @cached_property
    def tests(self) -> dict[str, Test]:
        """Every test of the project by unique id."""
        found = {}
        for unique_id, node in [*self._nodes.items(), *self._unit_tests.items()]:
            if node["resource_type"] not in ("test", "unit_test"):
                continue
            attached = node.get("attached_node") or node.get("tested_node_unique_id")
            generic = node.get("test_metadata") or {}
            parents = tuple(node["depends_on"]["nodes"])
            found[unique_id] = Test(
                unique_id=unique_id,
                name=node["name"],
                models=(attached,) if attached else parents,
                parents=parents,
                is_error=(node["config"].get("severity") or "error").lower() == "error",
                kind=generic.get("name"),
                arguments=generic.get("kwargs", {}),
                compiled=node.get("compiled_code"),
            )
        return found

    def descendants(self, unique_ids: Iterable[str]) -> set[str]:
        """`unique_ids` and all that is made from them."""
        return _reach(unique_ids, self._children)

    def ancestors(self, unique_ids: Iterable[str]) -> set[str]:
        """`unique_ids` and all they are made from."""
        return _reach(
            unique_ids, {k: n.get("depends_on", {}).get("nodes", []) for k, n in self._nodes.items()}
        )

    def readers_of(self, source: str) -> set[str]:
        """All that is made from tables of a source."""
        tables = [k for k, n in self._nodes.items() if n.get("source_name") == source]
        return self.descendants(tables)

    def column_classes(self, unique_id: str) -> dict[str, str | None]:
        """Every column a node declares, with its data class."""
        columns = self._nodes.get(unique_id, {}).get("columns", {})
        return {name.lower(): _data_class(unique_id, column) for name, column in columns.items()}

    def plain_columns(self, unique_id: str) -> set[str]:
        """Columns a node declares that hold nothing personal, also by lineage."""
        classes = self.column_classes(unique_id)
        try:
            graph = self._graph([unique_id])
        except DeclarationError:  # nobody can tell where they come from
            return {name for name, data_class in classes.items() if data_class == UNCLASSED}
        return {
            name
            for name, data_class in classes.items()
            if data_class == UNCLASSED
            or (data_class is None and self._origin(graph, Ref(unique_id, name)) is None)
        }

    def mistakes(self, policy: Policy) -> Iterable[str]:
        """All that is wrong with grants, policy and classes."""
        yield from self.misdeclared(policy)
        yield from self.unclassed()

    def unclassed(self, held: Collection[str] = ()) -> Iterable[str]:
        """Columns made from personal ones that do not say so; those of models that are held back are not shown.

        Raises DeclarationError when the SQL of a model is not known. What was skipped after a failure has none, and is
        held back for it.
        """
        graph = self._graph([i for i in self.models if i not in held])
        for unique_id, model in self.models.items():
            if unique_id not in held:
                yield from self._unclassed(model, graph)

    def misdeclared(self, policy: Policy) -> Iterable[str]:
        """Grants to nobody, and classes or models that nobody has."""
        known = {a.name for a in policy.audiences}
        for model in self.models.values():
            for name in sorted(model.grants - known):
                yield (
                    f"{model.name} is granted to {name!r}, whom {policy.file.name} does not know; "
                    f"it knows {_list(known)}"
                )
            names = [column.name for column in model.columns]
            for name in [n for n in model.partition_by if n not in names]:
                yield f"{model.name}: config.meta.publish.partition_by names {name!r}; its columns are {_list(names)}"
            for column in model.columns:
                if column.name in model.partition_by and column.data_class not in (None, UNCLASSED):
                    yield (
                        f"{model.name}: config.meta.publish.partition_by names {column.name!r}, whose data class is "
                        f"{column.data_class!r}: names of folders show values and are never encrypted; partition by "
                        "something that is not personal"
                    )
        classes = {c for n in self._nodes for c in self.column_classes(n).values() if c}
        for audience in policy.audiences:
            for name in [*audience.clear, *audience.masks]:
                if name not in classes:
                    yield (
                        f"{policy.file.name}: {audience.name} names the data class {name!r}, which no column has; "
                        f"there are {_list(classes)}"
                    )
        names = [m.name for m in self.models.values()]
        for audience in policy.audiences:
            filtered = (
                [*audience.row_filter.models, *audience.row_filter.unfiltered] if audience.row_filter else []
            )
            for name in filtered:
                if name not in names:
                    yield (
                        f"{policy.file.name}: the row filter of {audience.name} names the model {name!r}, which is "
                        f"granted to nobody; there are {_list(names)}"
                    )
        for name in sorted({n for n in names if names.count(n) > 1}):
            yield f"two granted models are called {name}: a published file has one schema, so give one an alias"

    def _unclassed(self, model: Model, graph: Graph) -> Iterable[str]:
        """Columns without a class whose values come from a classed column, or may do so."""
        for column in model.columns:
            if column.data_class is None and (
                origin := self._origin(graph, Ref(model.unique_id, column.name))
            ):
                where, data_class, is_certain = origin
                yield (
                    f"{model.name}.{column.name} has no data class, but {'comes' if is_certain else 'may come'} from "
                    f"{where.node.split('.', 2)[-1]}.{where.column}, whose class is {data_class!r}: set "
                    f"config.meta.data_class to it, or to {UNCLASSED!r} if it is not personal any more"
                )

    def _origin(self, graph: Graph, start: Ref) -> tuple[Ref, str, bool] | None:
        """The nearest classed column a value comes from; the class `none` ends a way. Influences carry no values."""
        waiting, seen = deque([(start, True)]), {start}
        while waiting:
            ref, is_certain = waiting.popleft()
            for edge in graph.edges_into(ref):
                if edge.type is EdgeType.INFLUENCE or edge.source in seen:
                    continue
                seen.add(edge.source)
                certain = is_certain and edge.type is EdgeType.VALUE
                data_class = self.column_classes(edge.source.node).get(edge.source.column)
                if data_class is None:
                    waiting.append((edge.source, certain))
                elif data_class != UNCLASSED:
                    return edge.source, data_class, certain
        return None

    def _graph(self, models: Iterable[str]) -> Graph:
        bare = [
            node["name"]
            for unique_id in self.ancestors(models)
            if (node := self._nodes.get(unique_id, {})).get("resource_type") in ("model", "snapshot")
            and not node.get("compiled_code")
        ]
        if bare:
            raise DeclarationError(
                f"the manifest holds no compiled code of {_list(bare)}, so it cannot be seen where their columns come "
                "from; `sluice build` or `dbt compile` writes it"
            )
        return self._lineage

    @cached_property
    def _lineage(self) -> Graph:
        return load_graph(self._manifest, cache_file=self._cache)

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        children = defaultdict(list)
        for unique_id, node in self._nodes.items():
            for parent in node.get("depends_on", {}).get("nodes", []):
                if node["resource_type"] not in ("test", "unit_test"):
                    children[parent].append(unique_id)
        return children

    def _model(self, unique_id: str, node: Any) -> Model:
        published = _meta(node).get("publish") or {}
        try:
            limits = RowLimits(**{**self._limits.model_dump(), **published.get("rows", {})})
        except (ValidationError, TypeError) as error:
            raise DeclarationError(f"{node['name']}: config.meta.publish.rows: {error}") from None
        partition_by = published.get("partition_by", [])
        return Model(
            unique_id=unique_id,
            name=node.get("alias") or node["name"],
            schema=node["schema"],
            columns=tuple(
                Column(c["name"].lower(), c.get("data_type"), _data_class(unique_id, c))
                for c in node["columns"].values()
            ),
            grants=frozenset(_grants(node)),
            is_contracted=bool((node["config"].get("contract") or {}).get("enforced")),
            limits=limits,
            partition_by=tuple(
                name.lower() for name in ([partition_by] if isinstance(partition_by, str) else partition_by)
            ),
        )


def _grants(node: Any) -> list[str]:
    select = (node["config"].get("grants") or {}).get("select") or []
    return [select] if isinstance(select, str) else list(select)


def _meta(entry: Any) -> Any:
    return (entry.get("config") or {}).get("meta") or entry.get("meta") or {}


def _data_class(unique_id: str, column: Any) -> str | None:
    found = _meta(column).get("data_class")
    if found is None or isinstance(found, str):
        return found or None
    raise DeclarationError(
        f"{unique_id.split('.', 2)[-1]}.{column['name']}: config.meta.data_class is {found!r}: it is one name; a "
        "column made of several classes gets the one that fewest may see, or one of its own"
    )


def _reach(start: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += edges.get(node, [])
    return found


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
