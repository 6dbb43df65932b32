"""Everything the catalog knows of a project: what dbt, lineage, the run store and the warehouse say of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sluice.catalog.documentation_checks import Problem, problems_of
from sluice.catalog.profiles import Profile
from sluice.config.audiences import Audience
from sluice.config.glossary import Term
from sluice.dbt.manifest import Manifest, Test
from sluice.dbt.run_results import FAILED
from sluice.lineage import Graph
from sluice.privacy.propagation import declared_classes, personal_columns
from sluice.privacy.redaction import names_of
from sluice.publish.versions import Version
from sluice.runs.history import History


class CatalogFacts:
    """Everything the catalog knows of a project, before it becomes JSON."""

    def __init__(
        self,
        manifest: Manifest,
        graph: Graph,
        history: History,
        glossary: Sequence[Term] = (),
        profiles: Mapping[str, Mapping[str, Profile]] | None = None,
        row_counts: Mapping[str, int] | None = None,
        changes: Mapping[str, Any] | None = None,
        audiences: Sequence[Audience] = (),
        version: Version | None = None,
        published: str = "published",
    ) -> None:
        self.manifest = manifest
        self.graph = graph
        self.history = history
        self.glossary = glossary
        self.profiles = profiles or {}
        self.row_counts = row_counts or {}
        self.changes = changes
        self.newest: Mapping[str, str] = {}
        """When source tables that Sluice does not load were last written."""
        self.audiences = {audience.name: audience for audience in audiences}
        self.version = version
        """The version readers get."""
        self.published = published
        """The folder of published versions, as a reader writes it."""
        self.content: Mapping[str, Mapping[str, Any]] = {}
        """What is published, see published_content."""
        self.personal = personal_columns(graph, declared_classes(manifest))
        self.known_names = names_of(manifest)
        self.ids = [*manifest.tables, *(key for key in graph.nodes if key not in manifest.tables)]
        self.index = {key: number for number, key in enumerate(self.ids)}
        self.columns = {key: self._columns(key) for key in self.ids}
        self.tests: dict[str, list[Test]] = {}
        for test in manifest.tests.values():
            for table in dict.fromkeys([test.table, *(test.also if test.kind == "singular" else ())]):
                self.tests.setdefault(table, []).append(test)

    def _columns(self, key: str) -> list[tuple[str, str]]:
        """(name, type) of every column that exists or is declared."""
        node = self.graph.nodes.get(key)
        table = self.manifest.tables.get(key)
        found = {name: (c.name, c.type) for name, c in (node.columns if node else {}).items()}
        for name, column in (table.columns if table else {}).items():
            if name not in found:
                found[name] = (column.name, column.type)
        return list(found.values())

    @cached_property
    def problems(self) -> list[Problem]:
        return problems_of(self.manifest, self.columns, self.tests, self.profiles)

    def state(self, test: str) -> str:
        """How a test ended last: pass, fail, unknown, or dbt's word for anything else."""
        results = self.history.results.get(test)
        if not results:
            return "unknown"
        status = results[-1].status
        return "fail" if status in FAILED else "pass" if status in ("pass", "success") else status

    def name(self, key: str) -> str:
        """The name people use for a table."""
        table = self.manifest.tables.get(key)
        return table.name if table else self.graph.nodes[key].name
