"""What a run writes into tables beside the SQL of models: hooks, queries while compiling, materializations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sluice.dbt.manifest import Json, Manifest, Table, reached

HARMLESS = re.compile(
    r"\s*((force\s+)?checkpoint|vacuum|analyze|create\s+schema)\b([^;{}]|\{\{\s*this\s*\}\})*;?\s*",
    re.IGNORECASE,
)
"""Hooks that write no values."""
JINJA = re.compile(r"\{#.*?#\}|(\{\{.*?\}\}|\{%.*?%\})", re.DOTALL)
QUERIES = re.compile(
    r"\b(run_query|statement|load_result|store_result|store_raw_result|submit_python_job|render|context|builtins)\b"
    r"|\badapter\b(?!\s*\.\s*(dispatch|quote|get_relation|get_columns_in_relation)\b)"
    r"|(?<![\w.])dbt\b(?!\s*\.)"
)
"""Names by which Jinja reaches the database, or other names by their text."""
RUNNERS = {"macro.dbt.statement", "macro.dbt.run_query", "macro.dbt.run_query_as"}
PACKAGES = ("dbt", "dbt_duckdb")
UNIT_TEST = "materialization_unit"
"""It writes nothing that stays."""
NAMING = re.compile(r"generate_(schema|alias|database)_name")
BODY = re.compile(r"\{%-?\s*macro.*?%\}|\{%-?\s*endmacro\s*-?%\}|\{#.*?#\}", re.DOTALL)

Found = tuple[str, str]
"""A reason, and the name or SQL it is about."""


def untraced(manifest: Manifest) -> dict[str, list[Found]]:
    """Tables whose values may come from elsewhere than the SQL of their model tells, with the reasons."""
    macros: Json = manifest.entries.get("macros", {})
    calls = {key: tuple((m.get("depends_on") or {}).get("macros") or ()) for key, m in macros.items()}
    everywhere = [*_operations(manifest), *_overrides(macros, calls)]
    found = {}
    for table in manifest.tables.values():
        if table.kind in ("model", "seed", "snapshot"):
            reasons = [*everywhere, *_hooks(table), *_queries(table, macros, calls), *_materialization(table)]
            if reasons:
                found[table.id] = reasons
    return found


def _operations(manifest: Manifest) -> Iterator[Found]:
    for node in manifest.entries.get("nodes", {}).values():
        if node["resource_type"] == "operation" and not HARMLESS.fullmatch(node.get("raw_code") or ""):
            yield (
                "a hook of the project (on-run-start, on-run-end) may write into any table",
                _short(node["raw_code"]),
            )


def _hooks(table: Table) -> Iterator[Found]:
    for key in ("pre-hook", "post-hook"):
        hooks = table.config.get(key) or []
        for hook in hooks if isinstance(hooks, list) else [hooks]:
            sql = str(hook.get("sql") if isinstance(hook, dict) else hook)
            if not HARMLESS.fullmatch(sql):
                yield f"its {key.replace('-', '_')} may write into it, or into what it reads", _short(sql)
    if header := table.config.get("sql_header"):
        yield "its sql_header runs before its SQL", _short(str(header))


def _materialization(table: Table) -> Iterator[Found]:
    known = ("", "table", "view", "incremental", "ephemeral", "seed", "snapshot")
    if table.materialized not in known:
        yield "only its materialization knows what it writes", table.materialized


def _queries(table: Table, macros: Json, calls: dict[str, tuple[str, ...]]) -> Iterator[Found]:
    """Values that are written into the SQL while it is compiled, and statements that run meanwhile."""
    used = reached((table.entry.get("depends_on") or {}).get("macros") or (), calls)
    text = str(table.entry.get("raw_code") or "") if table.kind != "seed" else ""
    own = [
        str(macros[key]["macro_sql"]) for key in sorted(used) if key in macros and not _is_dbts(macros[key])
    ]
    for sql in (text, *own):
        code = " ".join(match[1] for match in JINJA.finditer(sql) if match[1])
        if match := QUERIES.search(code):
            yield "its Jinja may query the database while it is compiled", match[0]
    if runners := sorted(used & RUNNERS):
        yield "its Jinja queries the database while it is compiled", runners[0].rsplit(".", 1)[-1]


def _overrides(macros: Json, calls: dict[str, tuple[str, ...]]) -> Iterator[Found]:
    """Macros of the project in place of those with which dbt writes tables."""
    starts = [
        key
        for key, macro in macros.items()
        if _is_dbts(macro) and _name(macro).startswith("materialization_") and _name(macro) != UNIT_TEST
    ]
    writing = {_name(macros[key]) for key in reached(starts, calls) if key in macros}
    for macro in macros.values():
        name = _name(macro)
        is_empty = not BODY.sub("", str(macro.get("macro_sql") or "")).strip()
        if not _is_dbts(macro) and name in writing and not NAMING.fullmatch(name) and not is_empty:
            yield "this macro replaces one with which dbt writes tables", str(macro["name"])


def _is_dbts(macro: Json) -> bool:
    return macro.get("package_name") in PACKAGES


def _name(macro: Json) -> str:
    """A macro's name without the adapter it is for: `create_table_as`, `materialization_table`."""
    return re.sub(r"^(default|duckdb)__|_(default|duckdb)$", "", str(macro["name"]))


def _short(sql: Any, length: int = 120) -> str:
    text = " ".join(str(sql).split())
    return text if len(text) <= length else text[: length - 1] + "…"
