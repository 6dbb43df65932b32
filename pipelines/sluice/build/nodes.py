"""What decides whether a node is built: taken from dbt's compiled node, its macros and the profile."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dbt.contracts.graph.nodes import UnitTestDefinition, UnitTestNode
from dbt.task.run import MicrobatchModelRunner

from sluice.build.decisions import Node
from sluice.build.differing import Queries
from sluice.build.project_files import PACKAGES
from sluice.dbt.build_state import digest, with_ids
from sluice.dbt.manifest import Manifest, bare, meta
from sluice.dbt.untraced import JINJA, QUERIES, untraced
from sluice.dbt.untraced import PACKAGES as OF_DBT

NOT_BUILT = ("meta", "tags", "docs", "group", "access", "freshness", "grants")
"""Parts of a node's configuration that do not change what is built."""
VARIABLE = re.compile(r"\benv_var\s*\(\s*(['\"])(.+?)\1")
MOMENTS = re.compile(r"\b(run_started_at|invocation_id|modules\W+(datetime|pytz))\b")
"""What Jinja writes another value for at each build."""
TARGET = re.compile(r"\btarget\b")
"""What Jinja writes another value for on each target."""


class Nodes:
    """The nodes of a project that dbt has parsed: `manifest` is dbt's own, `queries` looks at SQL."""

    def __init__(self, manifest: Any, queries: Queries) -> None:
        self._manifest, self._queries = manifest, queries
        whole = Manifest(manifest.writable_manifest().to_dict(omit_none=False))
        self._untraced = untraced(whole)

    @property
    def is_any_untraced(self) -> bool:
        """Whether some of them are built every time."""
        return bool(self._untraced)

    def node(self, runner: Any, compiled: Any, types: Any) -> Node:
        """The node that dbt's `runner` has compiled; types: see `_unit_test`."""
        if isinstance(compiled, UnitTestDefinition | UnitTestNode):
            return self._unit_test(runner, compiled, types)
        kind = str(compiled.resource_type)
        config = {k: v for k, v in compiled.config.to_dict().items() if k not in NOT_BUILT}
        columns = [
            [
                c.name,
                c.data_type,
                [x.to_dict() for x in c.constraints],
                c.description if config.get("persist_docs") else "",
                c.quote,
            ]
            for c in getattr(compiled, "columns", {}).values()
        ]
        of_table = [x.to_dict() for x in getattr(compiled, "constraints", ())]
        described = compiled.description if config.get("persist_docs") else ""
        query = compiled.compiled_code or "" if kind != "seed" else ""
        parents = (
            tuple(dict.fromkeys(compiled.depends_on.nodes))
            if hasattr(compiled, "depends_on") and kind != "seed"
            else ()
        )
        keeps_rows = config.get("materialized") in ("incremental", "snapshot")
        if kind == "seed":
            sql = _seed(runner, compiled)
        elif config.get("materialized") == "incremental":  # whose SQL is another one when its table is there
            sql = self._template(runner, compiled)
        else:
            sql = self._with_ids(query, (compiled.unique_id, *self._reached(parents)))
        always = "; ".join(reason for reason, _ in self._untraced.get(compiled.unique_id, ())[:1])
        if getattr(compiled, "language", "sql") != "sql":
            always = "it is written in Python"
        if isinstance(runner, MicrobatchModelRunner):
            always = "which batches are built depends on the time"
        after = meta(compiled.to_dict()).get("build_after")
        return Node(
            compiled.unique_id,
            kind,
            sql,
            query,
            digest([config, columns, of_table, described, _engine(runner)]),
            parents,
            tuple(self._relations((compiled.unique_id, *self._reached(parents)))),
            is_view=config.get("materialized") == "view",
            keeps_rows=keeps_rows,
            is_always=always,
            build_after=timedelta(**{f"{after['period']}s": int(after["count"])}) if after else None,
        )

    def reads(self, node: Node) -> list[str]:
        """The relations that dbt knows a node to read, as `database.schema.name` in lower case, and its own."""
        return [bare(name) for name in node.relations]

    def differs(self, node: Node) -> str:
        """Why two builds of a node may differ; empty if they cannot."""
        if found := self._of_jinja(node):
            return found
        return self._queries.differing(node.query, self.reads(node)) if node.query else ""

    def _unit_test(self, runner: Any, test: Any, types: Any) -> Node:
        """It is what is given and expected, and all that the model is compiled from.

        types: gives the columns of a relation with their types.
        """
        model = self._manifest.nodes[test.depends_on.nodes[0]]
        parents = [*self._relations(model.depends_on.nodes)]
        given = test.to_dict() if hasattr(test, "to_dict") else {}
        text = digest(
            [
                {k: given.get(k) for k in ("given", "expect", "overrides", "model", "config")},
                self._template(runner, model),
                [types(parent) for parent in parents],
            ]
        )
        return Node(test.unique_id, "unit_test", text, "", digest(_engine(runner)), ())

    def _template(self, runner: Any, model: Any) -> str:
        """Digest of all that a model's SQL is compiled from; any macro of the project may take the place of dbt's."""
        used = self._macros(model.depends_on.macros)
        macros = {
            key: macro.macro_sql
            for key, macro in sorted(self._manifest.macros.items())
            if key in used or macro.package_name == runner.config.project_name
        }
        own = [model.config.meta, model.config.tags, model.name]
        texts = [model.raw_code, *macros.values()]
        named = {match[2] for text in texts for match in VARIABLE.finditer(text)}
        variables = {name: os.environ.get(name) for name in named if name}
        written = [model.raw_code, *(text for key, text in macros.items() if key in used)]
        target = runner.config.target_name if any(map(TARGET.search, written)) else ""
        return digest([texts, own, runner.config.vars.to_dict(), variables, target])

    def _macros(self, start: Sequence[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(start)
        while waiting:
            key = waiting.pop()
            if key not in found and key in self._manifest.macros:
                found.add(key)
                waiting += self._manifest.macros[key].depends_on.macros
        return found

    def _of_jinja(self, node: Node) -> str:
        """What Jinja writes into the SQL from elsewhere; tables whose Jinja queries the database are built always."""
        test = self._manifest.unit_tests.get(node.id)
        found = self._manifest.nodes.get(test.depends_on.nodes[0] if test else node.id)
        if found is None or node.kind == "seed":
            return ""
        used = (self._manifest.macros[key] for key in sorted(self._macros(found.depends_on.macros)))
        own = [macro.macro_sql for macro in used if macro.package_name not in OF_DBT]
        for text in (found.raw_code, str(found.config.get("where")), *own):
            for code in JINJA.finditer(text):
                if code[1] and (match := MOMENTS.search(code[1])):
                    return f"its Jinja writes {match[0]} into it, which is another at each build"
                if node.is_test and code[1] and QUERIES.search(code[1]):
                    return "its Jinja may query the database while it is compiled"
        return ""

    def _reached(self, parents: Sequence[str]) -> Iterator[str]:
        """The parents, and what the ephemeral ones among them read."""
        for parent in parents:
            yield parent
            found = self._manifest.nodes.get(parent)
            if found is not None and found.config.materialized == "ephemeral":
                yield from self._reached(found.depends_on.nodes)

    def _relations(self, unique_ids: Iterable[str]) -> Iterator[str]:
        """Names in SQL, of what has one."""
        for key in dict.fromkeys(unique_ids):
            node = self._manifest.nodes.get(key) or self._manifest.sources.get(key)
            if name := getattr(node, "relation_name", None):
                yield str(name)

    def _with_ids(self, sql: str, unique_ids: Iterable[str]) -> str:
        """SQL with unique ids in place of relations, also of those in production."""
        nodes = [(key, self._manifest.nodes.get(key)) for key in dict.fromkeys(unique_ids)]
        named = [(key, one) for key, node in nodes for one in (node, getattr(node, "defer_relation", None))]
        return with_ids(sql, {str(one.relation_name): key for key, one in named if one and one.relation_name})


def _seed(runner: Any, seed: Any) -> str:
    """Digest of the file: dbt's own is that of the path, for files of a megabyte and more."""
    file = Path(runner.config.project_root if not seed.root_path else seed.root_path, seed.original_file_path)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _engine(runner: Any) -> list[Any]:
    """Versions and options of all that turns SQL into rows."""
    options = [
        getattr(runner.config.credentials, name, None)
        for name in ("settings", "extensions", "config_options")
    ]
    return [*map(version, PACKAGES), json.dumps(options, default=str, sort_keys=True)]
