"""The granted models of a project: their columns, limits and tests, and what is wrong with grants and data classes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from sluice.config.audiences import UNCLASSED, Policy, RowLimits
from sluice.dbt.manifest import Column, Manifest, Table, meta, reached, read_manifest
from sluice.dbt.run_results import Outcome
from sluice.errors import DeclarationError
from sluice.lineage import Graph, Ref, load_graph
from sluice.privacy.propagation import declared_classes, nearest_class, unresolved_origin
from sluice.sql import quoted


@dataclass(frozen=True)
class Model:
    """A granted model, as it stands in the warehouse."""

    unique_id: str
    name: str
    database: str
    schema: str
    columns: Mapping[str, Column]
    """By name, in lower case; a column that the model does not declare is not published."""
    grants: frozenset[str]
    is_contracted: bool
    limits: RowLimits
    partition_by: tuple[str, ...]
    description: str = ""

    @property
    def relation(self) -> str:
        """The table in the attached warehouse, quoted."""
        return f"{quoted(self.database)}.{quoted(self.schema)}.{quoted(self.name)}"


class GrantedModels:
    """dbt's manifest, as publishing sees it."""

    def __init__(
        self,
        manifest: Manifest,
        limits: RowLimits,
        cache: Path | None = None,
        earlier: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """`cache` keeps parsed queries; `earlier` is other SQL whose rows a table still holds, by unique id."""
        self.manifest = manifest
        self._cache = cache
        self._earlier = {key: sql for key, sql in (earlier or {}).items() if sql}
        self._limits = limits

    @classmethod
    def read(
        cls, target: Path, policy: Policy, outcomes: Mapping[str, Outcome], cache: Path | None = None
    ) -> GrantedModels:
        """The granted models of `target/manifest.json`, with the SQL that ran (`outcomes`).

        `cache` keeps parsed queries. Raises DeclarationError when grants and policy do not fit, SluiceError without a
        manifest.
        """
        manifest = read_manifest(target, {key: outcome.compiled for key, outcome in outcomes.items()})
        earlier = {key: outcome.earlier for key, outcome in outcomes.items()}
        granted = cls(manifest, policy.publishing.rows, cache, earlier)
        if mistakes := list(granted.misdeclared(policy)):
            raise DeclarationError("\n".join(mistakes))
        return granted

    @cached_property
    def models(self) -> dict[str, Model]:
        """Granted models by unique id."""
        for table in self.manifest.tables.values():
            _check_classes(table)
        return {
            key: self._model(table) for key, table in sorted(self.manifest.tables.items()) if table.audiences
        }

    def readers_of(self, source: str) -> set[str]:
        """Everything made from tables of a source."""
        tables = self.manifest.tables.values()
        return self.manifest.descendants(t.id for t in tables if t.source and t.source[0] == source)

    def made_from(self, unique_id: str) -> list[str]:
        """All that a model is made from, also tables that its SQL names without `ref`."""
        parents = {node.id: node.parents for node in self._lineage.nodes.values()}
        return sorted(reached([unique_id], parents) - {unique_id})

    def plain_columns(self, unique_id: str) -> set[str]:
        """Columns a node declares that hold nothing personal, also by lineage."""
        table = self.manifest.tables.get(unique_id)
        classes = {name: column.data_class for name, column in table.columns.items()} if table else {}
        try:
            graph = self._graph([unique_id])
        except DeclarationError:  # their origin is unknown
            return {name for name, data_class in classes.items() if data_class == UNCLASSED}
        return {
            name
            for name, data_class in classes.items()
            if data_class == UNCLASSED
            or (not data_class and not self._why_personal(graph, Ref(unique_id, name)))
        }

    def mistakes(self, policy: Policy) -> Iterable[str]:
        """Every mistake in grants, policy and data classes."""
        yield from self.misdeclared(policy)
        yield from self.unclassed()

    def unclassed(self, held: Collection[str] = ()) -> Iterable[str]:
        """Columns without a class that are, or may be, personal, except those of models that are held back.

        Raises DeclarationError when the SQL of a model is unknown. One skipped after a failure has no SQL, but it
        is held back.
        """
        graph = self._graph([i for i in self.models if i not in held])
        for unique_id, model in self.models.items():
            if unique_id not in held:
                yield from self._unclassed(model, graph)

    def misdeclared(self, policy: Policy) -> Iterable[str]:
        """Grants to unknown audiences, and unknown classes or models in the policy."""
        known = {a.name for a in policy.audiences}
        for model in self.models.values():
            for name in sorted(model.grants - known):
                yield (
                    f"{model.name} is granted to {name!r}, which {policy.file.name} does not declare; "
                    f"it declares {_list(known)}"
                )
            names = list(model.columns)
            for name in [n for n in model.partition_by if n not in names]:
                yield f"{model.name}: config.meta.publish.partition_by names {name!r}; its columns are {_list(names)}"
            for name, column in model.columns.items():
                if name in model.partition_by and column.data_class not in ("", UNCLASSED):
                    yield (
                        f"{model.name}: config.meta.publish.partition_by names {name!r}, whose data class is "
                        f"{column.data_class!r}: names of folders show values and are never encrypted; partition by "
                        "something that is not personal"
                    )
        classes = set(self._classes.values())
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
        """Columns without a class whose values come from a classed column, or from where lineage cannot follow."""
        for name, column in model.columns.items():
            if not column.data_class and (why := self._why_personal(graph, Ref(model.unique_id, name))):
                yield f"{model.name}.{name} has no data class, {why}{self._written_before(model)}"

    def _written_before(self, model: Model) -> str:
        """What to do where it is only rows of earlier SQL that are, or may be, personal."""
        names = [
            key.split(".")[-1]
            for key in (model.unique_id, *self.made_from(model.unique_id))
            if key in self._earlier
        ]
        if not names:
            return ""
        return (
            f". Rows that earlier SQL of {_list(names)} wrote count, too; `sluice build --full-refresh` replaces those "
            "of incremental models"
        )

    def _why_personal(self, graph: Graph, column: Ref) -> str:
        """Why a column without a class may be personal, and what to do; "" if all of its origins are known."""
        if origin := nearest_class(graph, self._classes, column):
            where, data_class, is_certain = origin
            return (
                f"but {'comes' if is_certain else 'may come'} from {_written(where)}, whose class is {data_class!r}: "
                f"set config.meta.data_class to it, or to {UNCLASSED!r} if it is not personal any more"
            )
        if lost := unresolved_origin(graph, self._classes, column):
            where, unknown = lost
            return (
                f"and where its values come from cannot be followed beyond {_written(where)}: {unknown.reason} "
                f"({unknown.sql}). It counts as personal: read tables by ref() or source() and in SQL that `sluice "
                f"lineage` understands, or set config.meta.data_class; {UNCLASSED!r} says that it is not personal, "
                "and the column's description should say why"
            )
        return ""

    def _graph(self, models: Iterable[str]) -> Graph:
        tables = self.manifest.tables
        bare = [
            table.entry["name"]
            for key in self.manifest.ancestors(models)
            if (table := tables.get(key)) and table.kind in ("model", "snapshot") and not table.compiled_sql
        ]
        if bare:
            raise DeclarationError(
                f"the manifest holds no compiled code of {_list(bare)}, so the origin of their columns is unknown; "
                "`sluice build` or `dbt compile` writes it"
            )
        return self._lineage

    @cached_property
    def _classes(self) -> dict[Ref, str]:
        return declared_classes(self.manifest)

    @cached_property
    def _lineage(self) -> Graph:
        return load_graph(self.manifest, cache_file=self._cache, earlier=self._earlier)

    def _model(self, table: Table) -> Model:
        published = table.meta.get("publish") or {}
        try:
            limits = RowLimits(**{**self._limits.model_dump(), **published.get("rows", {})})
        except (ValidationError, TypeError) as error:
            raise DeclarationError(f"{table.entry['name']}: config.meta.publish.rows: {error}") from None
        partition_by = published.get("partition_by", [])
        return Model(
            unique_id=table.id,
            name=table.name,
            database=str(table.entry.get("database") or ""),
            schema=table.entry["schema"],
            columns=table.columns,
            grants=frozenset(table.audiences),
            is_contracted=table.contract,
            limits=limits,
            partition_by=tuple(
                name.lower() for name in ([partition_by] if isinstance(partition_by, str) else partition_by)
            ),
            description=table.description,
        )


def _check_classes(table: Table) -> None:
    for column in (table.entry.get("columns") or {}).values():
        found = meta(column).get("data_class")
        if not isinstance(found, str | None):
            raise DeclarationError(
                f"{table.id.split('.', 2)[-1]}.{column['name']}: config.meta.data_class is {found!r}: it is one name; "
                "a column made of several classes gets the one that fewest may see, or one of its own"
            )


def _written(column: Ref) -> str:
    return f"{column.node.split('.', 2)[-1] if column.node.count('.') > 1 else column.node}.{column.column}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
