"""Conventions of the SQL of models."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

from sluice.config.dbt_project import MACRO
from sluice.conventions.portability import not_portable
from sluice.conventions.project import Finding, Project
from sluice.dbt.manifest import bare
from sluice.lineage.functions import function_name

ROWS_ONLY = ("generate_series", "range", "unnest", "json_each", "json_tree", "generate_subscripts", "repeat")
"""Table functions that yield what their arguments say."""
GRAIN = re.compile(r"\{# one row per .+ #\}")
"""The first line of an intermediate model, a mart or a utility."""
SHARED = re.compile(r"(macros/dbt_overrides[.]sql|tests/generic/.+)$")
"""Files that may have several macros: those that dbt itself calls, and generic tests."""
RECORD_ID = re.compile(r"\b\w+_id\s*(?:=|<>|in)\s*\(?\s*['\d]")


def readable_sql(project: Project) -> Iterator[Finding]:
    """The SQL of models can be parsed."""
    for node in project.models:
        if node["unique_id"] not in project.trees:
            message = "is SQL that sqlglot cannot read, so its lineage is not known. Write it in plainer SQL."
            yield Finding(node["original_file_path"], 1, message)


def staging_model(project: Project) -> Iterator[Finding]:
    """A staging model reads one source table, names and types its columns, and does nothing else."""
    for node in project.layer("staging"):
        file = node["original_file_path"]
        tree = project.trees.get(node["unique_id"])
        names = [cte.alias for cte in tree.find_all(exp.CTE)] if tree else []
        if tree and names != ["source", "renamed"]:
            yield Finding(
                file,
                1,
                f"has the CTEs {names}. A staging model has `source` and `renamed`, nothing more: what a source "
                "means is decided in intermediate models, where it is tested. Move the rest there.",
            )
        if len(node["sources"]) != 1:
            message = f"reads {len(node['sources'])} source tables. A staging model reads exactly one."
            yield Finding(file, 1, message)
        if node["refs"]:
            yield Finding(file, 1, "calls ref(). A staging model calls source() only: join further down.")


def grain_line(project: Project) -> Iterator[Finding]:
    """Models after staging say their grain in the first line."""
    for node in project.layer("intermediate", "marts", "utilities"):
        first = (node["raw_code"].splitlines() or [""])[0]
        if not GRAIN.fullmatch(first):
            yield Finding(
                node["original_file_path"],
                1,
                f"begins with {first!r}. The first line says the grain, since every join depends on it: "
                "{# one row per … #}",
            )


def import_ctes(project: Project) -> Iterator[Finding]:
    """Models import what they read in CTEs of their own."""
    for node in project.models:
        read = re.findall(r"{{ (?:ref|source)\(", node["raw_code"])
        imported = re.findall(r"as \(\s*select \* from {{ (?:ref|source)\([^)]+\) }}\s*\)", node["raw_code"])
        if len(read) != len(imported):
            yield Finding(
                node["original_file_path"],
                1,
                f"reads {len(read)} models and imports {len(imported)}. Import CTEs at the top, "
                '`orders as (select * from {{ ref("…") }})`, show at once what a model reads.',
            )


def referenced_tables(project: Project) -> Iterator[Finding]:
    """Models read tables by ref() and source() alone."""
    for node in project.models:
        if (tree := project.trees.get(node["unique_id"])) is None:
            continue
        keys = [node["unique_id"], *node["depends_on"]["nodes"]]
        allowed: set[str] = set()
        for key in keys:
            if known := project.manifest.tables.get(key):
                allowed.add(bare(known.relation))
                keys += known.parents if known.materialized == "ephemeral" else ()
        allowed |= {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        for name in dict.fromkeys(map(_table_read, tree.find_all(exp.Table))):
            if name and name not in allowed:
                message = (
                    f"reads {name} without ref() or source(). Then dbt does not build it first, and lineage, tests and "
                    "data classes may miss it: personal data would pass unseen. Declare the table as a source, or "
                    "call ref()."
                )
                yield Finding(node["original_file_path"], _line_of(node["raw_code"], name), message)


def _table_read(table: exp.Table) -> str:
    """The name of a table or of a function that reads one; "" for functions that only make rows."""
    if not isinstance(table.this, exp.Func):
        return ".".join(part.name for part in table.parts).lower()
    name = function_name(table.this)
    return "" if name in ROWS_ONLY or isinstance(table.this, exp.GenerateSeries) else f"{name}()"


def _line_of(sql: str, name: str) -> int:
    """The first line with the last part of a table's name."""
    found = sql.lower().find(name.rstrip("()").rsplit(".", 1)[-1])
    return sql.count("\n", 0, found) + 1 if found >= 0 else 1


def described_columns(project: Project) -> Iterator[Finding]:
    """Models describe exactly the columns they select."""
    for node in project.models:
        if node["unique_id"] not in project.trees:
            continue
        tree = qualify(project.trees[node["unique_id"]].copy(), validate_qualify_columns=False)
        assert isinstance(tree, exp.Query)
        selected, described = set(tree.named_selects), set(node["columns"])
        # A union of imports selects *: its columns are those of the models it reads.
        if "*" not in selected and selected != described:
            yield project.at(
                node,
                f"{node['name']}: without a description {sorted(selected - described)}, described but not there "
                f"{sorted(described - selected)}. A catalog that differs from the table misleads: correct the columns.",
            )


def portable_sql(project: Project) -> Iterator[Finding]:
    """Intermediate models and marts transpile to Spark SQL, and mean the same there."""
    for node in project.layer("intermediate", "marts"):
        for found in not_portable(node["compiled_code"]) if node["unique_id"] in project.trees else ():
            yield Finding(node["original_file_path"], 1, str(found))


def record_ids(project: Project) -> Iterator[Finding]:
    """No SQL compares with the id of a record."""
    for file in project.files("models/**/*.sql", "tests/data/**/*.sql"):
        text = file.read_text(encoding="utf-8")
        for match in RECORD_ID.finditer(text):
            yield Finding(
                project.name(file),
                text.count("\n", 0, match.start()) + 1,
                f"compares with the id of a record: {match[0]!r}. Nobody knows later why. Put it into a seed with a "
                "`reason` column and join that.",
            )


def one_macro_per_file(project: Project) -> Iterator[Finding]:
    """A macro stands alone in a file of its name, with an explanation; those of SHARED need the explanation only."""
    for file in project.files("macros/**/*.sql", "tests/generic/*.sql"):
        text = file.read_text(encoding="utf-8")
        macros = [name for _, name in MACRO.findall(text)]
        if macros != [file.stem] and not SHARED.match(project.name(file)):
            message = f"defines {macros}. One macro per file, of the file's name: a search finds it by that."
            yield Finding(project.name(file), 1, message)
        if text.count("{#") < max(1, len(macros)):
            few = "fewer {# … #} than macros" if "{#" in text else "no {# … #}"
            message = f"has {few}. A macro says what goes in and what comes out, with an example."
            yield Finding(project.name(file), 1, message)
