"""What decides whether a node is built: taken from dbt's compiled node, its macros and the profile."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dbt.contracts.graph.nodes import UnitTestDefinition, UnitTestNode
from dbt.flags import get_flags

from sluice.build.decisions import Node
from sluice.build.project_files import PACKAGES
from sluice.dbt.build_state import digest, with_ids
from sluice.dbt.manifest import Manifest, bare, meta
from sluice.dbt.untraced import JINJA, QUERIES, untraced
from sluice.dbt.untraced import PACKAGES as OF_DBT
from sluice.engine.differing import Queries
from sluice.sql import quoted

Types = Callable[[str], str]

OPTIONS = ("settings", "extensions", "config_options")
"""Of the profile, those that change what SQL gives."""
NOT_BUILT = ("meta", "tags", "docs", "group", "access", "freshness", "grants")
"""Parts of a node's configuration that do not change what is built."""
VARIABLE = re.compile(r"\benv_var\s*\(\s*(['\"])(.+?)\1")
MOMENTS = re.compile(r"\b(run_started_at|invocation_id|modules\W+(datetime|pytz))\b")
"""What Jinja writes another value for at each build."""
TARGET = re.compile(r"\b(target|schema|database)\b")
"""What Jinja writes another value for on each target."""
UNSTEADY = re.compile(
    r"\b(adapter(?!\s*\.\s*(dispatch|quote)\b)|builtins|context|env_var(?!\s*\(\s*['\"])|flags(?!\s*\.\s*STORE_FAILURES\b)|graph"
    r"|invocation_args_dict|load_\w+|model|modules|node|run_query|selected_resources|statement|store_(raw_)?result"
    r"|thread_id)\b"
)
"""Names by which Jinja may write something else although neither it nor what the node reads has changed."""
ARGUMENTS = re.compile(r"\{%-?\s*(?:macro|test)\s+\w+\s*\((.*?)\)\s*-?%\}", re.DOTALL)
"""Of a macro, whose own names hide others."""


class Nodes:
    """The nodes of a project that dbt has parsed; manifest, config: dbt's own; queries: looks at their SQL."""

    def __init__(self, manifest: Any, config: Any, queries: Queries) -> None:
        self._manifest, self._config, self._queries = manifest, config, queries
        self._untraced = untraced(Manifest(manifest.writable_manifest().to_dict(omit_none=False)))
        options = [getattr(config.credentials, name, None) for name in OPTIONS]
        self._engine = [*map(version, PACKAGES), json.dumps(options, default=str, sort_keys=True)]
        own = (m.macro_sql for m in manifest.macros.values() if m.package_name == config.project_name)
        given = [config.vars.to_dict(), config.cli_vars, get_flags().STORE_FAILURES]
        self._of_project = digest([sorted(own), *given])
        self._templates: dict[str, str] = {}
        self._texts: dict[str, tuple[str, tuple[str, ...], bool]] = {}

    @property
    def is_any_untraced(self) -> bool:
        """Whether some of them are built every time."""
        return bool(self._untraced)

    @property
    def is_any_unseen(self) -> bool:
        """Whether something may write into any table: a hook, a query of Jinja, Python."""
        nodes = self._manifest.nodes.values()
        return self.is_any_untraced or any(getattr(node, "language", "sql") != "sql" for node in nodes)

    def node(self, compiled: Any, types: Types, *, is_microbatch: bool = False) -> Node:
        """A node that dbt has compiled; types: gives the columns of a relation with their types."""
        if isinstance(compiled, UnitTestDefinition | UnitTestNode):
            return self._unit_test(compiled, types)
        about = self._about(compiled)
        if compiled.resource_type == "seed":
            return about
        query = compiled.compiled_code or ""
        if compiled.config.materialized == "incremental":  # whose SQL is another one when its table is there
            sql = about.template
        else:
            sql = self._with_ids(query, (about.id, *self._reached(about.parents)))
        always = "which batches are built depends on the time" if is_microbatch else about.is_always
        return replace(about, sql=sql, query=query, is_always=always)

    def uncompiled(self, unique_id: str, types: Types) -> Node | None:
        """A node without its SQL, which is that of its last build if its template is; None if that is not certain."""
        if test := self._manifest.unit_tests.get(unique_id):
            return self._unit_test(test, types)
        node = self._manifest.nodes.get(unique_id)
        if node is None or getattr(node, "language", "sql") != "sql":
            return None
        is_seed = node.resource_type == "seed"
        is_rewritten = node.config.materialized in ("incremental", "ephemeral")
        return self._about(node) if is_seed or (not is_rewritten and self._is_steady(node)) else None

    def with_sql(self, unique_id: str, sql: str) -> None:
        """Let dbt's manifest have the SQL that a node was compiled to, given as that of `Node`."""
        node = self._manifest.nodes[unique_id]
        if node.resource_type != "seed":
            for key, relation in self._named((unique_id, *self._reached(node.depends_on.nodes))):
                sql = sql.replace(quoted(key), relation)
            node.compiled_code, node.compiled, node.extra_ctes_injected = sql, True, True

    def _about(self, node: Any) -> Node:
        """All but the SQL, which only a seed has already."""
        kind = str(node.resource_type)
        config = {k: v for k, v in node.config.to_dict().items() if k not in NOT_BUILT}
        is_described = bool(config.get("persist_docs"))
        columns = [
            [
                c.name,
                c.data_type,
                [x.to_dict() for x in c.constraints],
                c.description if is_described else "",
                c.quote,
            ]
            for c in getattr(node, "columns", {}).values()
        ]
        of_table = [x.to_dict() for x in getattr(node, "constraints", ())]
        described = node.description if is_described else ""
        is_seed = kind == "seed"
        parents = () if is_seed else tuple(dict.fromkeys(node.depends_on.nodes))
        named = self._named((node.unique_id, *self._reached(parents)), with_sources=True)
        always = "; ".join(reason for reason, _ in self._untraced.get(node.unique_id, ())[:1])
        if getattr(node, "language", "sql") != "sql":
            always = "it is written in Python"
        after = meta(node.to_dict()).get("build_after")
        materialized = config.get("materialized")
        return Node(
            node.unique_id,
            kind,
            _seed(self._config, node) if is_seed else "",
            "",
            digest([config, columns, of_table, described, self._engine]),
            parents,
            tuple(relation for _, relation in named),
            template="" if is_seed else self._template(node),
            is_view=materialized == "view",
            keeps_rows=materialized in ("incremental", "snapshot"),
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

    def _unit_test(self, test: Any, types: Types) -> Node:
        """It is what is given and expected, and all that the model is compiled from."""
        model = self._manifest.nodes[test.depends_on.nodes[0]]
        parents = [relation for _, relation in self._named(model.depends_on.nodes, with_sources=True)]
        given = test.to_dict() if hasattr(test, "to_dict") else {}
        text = digest(
            [
                {k: given.get(k) for k in ("given", "expect", "overrides", "model", "config")},
                self._template(model),
                [types(parent) for parent in parents],
            ]
        )
        return Node(test.unique_id, "unit_test", text, "", digest(self._engine), ())

    def read_templates(self, unique_ids: Iterable[str]) -> None:
        """To be called before dbt compiles, which adds macros to what nodes depend on."""
        for key in unique_ids:
            node = self._manifest.nodes.get(key)
            if node is not None and node.resource_type != "seed":
                self._template(node)

    def _template(self, node: Any) -> str:
        """Digest of all that a node's SQL is compiled from; any macro of the project may take the place of dbt's."""
        if node.unique_id not in self._templates:
            self._templates[node.unique_id] = self._digest_of(node)
        return self._templates[node.unique_id]

    def _digest_of(self, node: Any) -> str:
        used = sorted(self._macros(node.depends_on.macros))
        texts = [self._text(key)[0] for key in used]
        test = getattr(node, "test_metadata", None)
        own = [node.name, node.config.to_dict(), test.to_dict() if test else None]
        named = {match[2] for match in VARIABLE.finditer(node.raw_code)}
        named = {name for name in (*named, *(one for key in used for one in self._text(key)[1])) if name}
        variables = {name: os.environ.get(name) for name in sorted(named)}
        is_of_target = TARGET.search(node.raw_code) or any(self._text(key)[2] for key in used)
        target = self._config.target_name if is_of_target else ""
        inlined = [
            self._template(parent)
            for key in dict.fromkeys(node.depends_on.nodes)
            if (parent := self._manifest.nodes.get(key)) and parent.config.materialized == "ephemeral"
        ]
        return digest([node.raw_code, texts, own, self._of_project, variables, target, inlined])

    def _text(self, macro: str) -> tuple[str, tuple[str, ...], bool]:
        """Digest of a macro, the variables of the environment that it names, and whether it names the target."""
        if macro not in self._texts:
            sql = self._manifest.macros[macro].macro_sql
            variables = tuple(match[2] for match in VARIABLE.finditer(sql))
            self._texts[macro] = digest(sql), variables, bool(TARGET.search(sql))
        return self._texts[macro]

    def _is_steady(self, node: Any) -> bool:
        """Whether the same template gives the same SQL, as long as what the node reads is the same."""
        for reached in (
            node,
            *(self._manifest.nodes.get(key) for key in self._reached(node.depends_on.nodes)),
        ):
            if reached is None or (reached is not node and reached.config.materialized != "ephemeral"):
                continue
            used = (self._manifest.macros[key].macro_sql for key in self._macros(reached.depends_on.macros))
            if _is_unsteady(reached.raw_code) or any(map(_is_unsteady, used)):
                return False
        return True

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

    def _named(self, unique_ids: Iterable[str], *, with_sources: bool = False) -> list[tuple[str, str]]:
        """Names in SQL of what has one, with the unique id."""
        found = []
        for key in dict.fromkeys(unique_ids):
            node = self._manifest.nodes.get(key) or (with_sources and self._manifest.sources.get(key))
            if node and getattr(node, "relation_name", None):
                found.append((key, str(node.relation_name)))
        return found

    def _with_ids(self, sql: str, unique_ids: Iterable[str]) -> str:
        """SQL with unique ids in place of relations, also of those in production."""
        keys = list(dict.fromkeys(unique_ids))
        there = [(key, getattr(self._manifest.nodes.get(key), "defer_relation", None)) for key in keys]
        elsewhere = {str(one.relation_name): key for key, one in there if one and one.relation_name}
        return with_ids(sql, {**elsewhere, **{relation: key for key, relation in self._named(keys)}})


def _seed(config: Any, seed: Any) -> str:
    """Digest of the file: dbt's own is that of the path, for files of a megabyte and more."""
    file = Path(seed.root_path or config.project_root, seed.original_file_path)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@cache
def _is_unsteady(text: str) -> bool:
    arguments = {name for match in ARGUMENTS.finditer(text) for name in re.findall(r"\w+", match[1])}
    found = (match[0] for code in JINJA.finditer(text) if code[1] for match in UNSTEADY.finditer(code[1]))
    return any(name not in arguments for name in found)
