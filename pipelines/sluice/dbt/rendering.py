"""Renders a model's file to SQL without dbt, from the last parse: what is not certain to be as dbt's is refused.

Importing dbt takes 1.5 s. Jinja that needs more than refs, sources, variables and the project's own macros is dbt's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from jinja2 import StrictUndefined, meta, nodes
from jinja2.exceptions import TemplateError
from jinja2.sandbox import SandboxedEnvironment

from sluice.config.dbt_project import read_project_file
from sluice.config.settings import Settings
from sluice.dbt.kept_parse import KeptParse
from sluice.dbt.nodes import Json

OF_JINJA = ("range", "dict", "namespace", "cycler", "joiner")
"""Functions of Jinja's that dbt leaves as they are."""
OF_SANDBOX = ("alters_data", "unsafe_callable")
"""What Jinja's sandbox looks up on everything that is called."""
NOT_OF_DBT = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Block)
REFERRED = ("model", "seed", "snapshot")
MATERIALIZED = ("table", "view", "incremental", "ephemeral", "seed", "snapshot", "materialized_view")
PLAIN_SOURCE = ("external_location", "plugin")
"""Keys of a source's meta with which dbt-duckdb reads something else than its relation."""
OWN_VARIABLES = ("DBT_", "SLUICE_")
"""Beginnings of variables that a dbt process has otherwise than this one."""
LEADING_WITH = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*with\b(?:\s+recursive\b)?", re.IGNORECASE | re.DOTALL)

IsTable = Callable[[str, str, str], bool]
FAILURES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TemplateError,
    TypeError,
    ValueError,
)
"""What an expression in Jinja can end with; dbt then says what is wrong."""


class UnsureError(Exception):
    """Only dbt can say what this compiles to; the message is the reason."""


class _Returned(Exception):  # noqa: N818 - not an error: how a macro gives back a value that is not text
    def __init__(self, value: Any) -> None:
        self.value = value


class _Known:
    """Something of dbt's, of which only the attributes that are set here are known."""

    def __init__(self, called: str, text: str | None = None, **known: Any) -> None:
        self.__dict__.update(known, _called=called, _text=text)

    def __str__(self) -> str:
        if self._text is None:
            raise UnsureError(f"it prints {self._called}")
        return str(self._text)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "jinja_")) or name in OF_SANDBOX:
            raise AttributeError(name)
        raise UnsureError(f"it uses {self._called}.{name}")


class _Var(_Known):
    def __init__(self, values: Json) -> None:
        super().__init__("var", has_var=lambda name: name in values)
        self.__dict__["_values"] = values

    def __call__(self, name: str, *default: Any, **named: Any) -> Any:
        if name in self._values:
            json.dumps(self._values[name])  # a date of YAML is another thing in dbt: TypeError
            return self._values[name]
        if not default and set(named) != {"default"}:
            raise UnsureError(f"the variable {name} is not set")
        return default[0] if default else named["default"]


class _Config(_Known):
    def __init__(self) -> None:
        super().__init__("config")
        self.__dict__["_values"] = {}

    def __call__(self, *values: Json, **named: Any) -> str:
        for given in (*values, named):
            self._values.update(given)
        return ""


class Renderer:
    """Compiles models of one project. `is_table` says of a database, schema and name whether a table is there."""

    def __init__(self, settings: Settings, parse: KeptParse, is_table: IsTable) -> None:
        self._settings, self._parse, self._is_table = settings, parse, is_table
        self._jinja = SandboxedEnvironment(
            extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], undefined=StrictUndefined
        )
        self._jinja.globals = {name: self._jinja.globals[name] for name in OF_JINJA}
        self._macros = {m["name"]: m for m in parse.macros.values() if m["package_name"] == parse.project}
        self._checked: list[Json] = []
        variables = read_project_file(settings.root).get("vars") or {}
        self._variables = {**variables, **(variables.get(parse.project) or {})}

    def sql(self, model: Json) -> str:
        """The SELECT that dbt compiles the model's file to; raises UnsureError."""
        try:
            text, ephemeral = self._rendered(model)
            return _with_ctes(text, self._ctes(ephemeral))
        except UnsureError:
            raise
        except FAILURES as error:
            raise UnsureError(f"its Jinja ends with {type(error).__name__}: {error}") from None

    def _rendered(self, model: Json) -> tuple[str, list[Json]]:
        """The SQL of a model's file, and the ephemeral models it names, in their order."""
        if model["language"] != "sql":
            raise UnsureError(f"{model['name']} is not SQL")
        if model["config"].get("incremental_strategy") == "microbatch":
            raise UnsureError("microbatch models read a part of their sources")
        config, ephemeral = _Config(), list[Json]()
        context = self._context(model, config, ephemeral)
        rendered = str(self._template(self._text(model), context, is_macro=False).render(context))
        if _as_json(config._values) != _as_json(model.get("config_call_dict") or {}):
            raise UnsureError(
                f"the configuration in {model['original_file_path']} is another than at the last parse"
            )
        return rendered, ephemeral

    def _text(self, model: Json) -> str:
        """What is in the model's file now."""
        return (self._settings.root / str(model["original_file_path"])).read_text(encoding="utf-8").strip()

    def _ctes(self, ephemeral: Iterable[Json]) -> dict[str, str]:
        """The SQL of ephemeral models by their names, each after those that it reads."""
        found: dict[str, str] = {}
        for model in ephemeral:
            sql, parents = self._rendered(model)
            found = {**found, **{k: v for k, v in self._ctes(parents).items() if k not in found}}
            found.setdefault(_cte(model), sql)
        return found

    def _context(self, model: Json, config: _Config, ephemeral: list[Json]) -> dict[str, Any]:
        profile = self._settings.profile
        assert profile
        known = {"name": profile.target, "schema": profile.schema, "database": profile.database}
        known |= {"target_name": profile.target, "profile_name": profile.name, "type": "duckdb"}

        def ref(*names: str, version: Any = None, v: Any = None) -> _Known:
            parent = self._parent(model, names, v if version is None else version)
            if parent["config"].get("materialized") == "ephemeral":
                if parent not in ephemeral:
                    ephemeral.append(parent)
                return _Known("ref", _cte(parent))
            return _relation(parent)

        context: dict[str, Any] = {
            "ref": ref,
            "source": self._source,
            "config": config,
            "var": _Var(self._variables),
            "env_var": _env_var,
            "this": _relation(model) if model.get("relation_name") else _Known("this"),
            "target": _Known("target", **known),
            "execute": True,
            "is_incremental": lambda: self._is_incremental(model),
            "return": _return,
        }
        for name in self._macros:
            context[name] = self._macro(name, context)
        return context

    def _template(self, text: str, context: Json, *, is_macro: bool) -> Any:
        """The compiled Jinja, if it uses nothing but the context."""
        parsed = self._jinja.parse(text)
        if len(list(parsed.find_all(nodes.Macro))) != is_macro or any(map(parsed.find, NOT_OF_DBT)):
            raise UnsureError("it defines or imports a macro within its file")
        for name in sorted(meta.find_undeclared_variables(parsed) - set(context) - set(OF_JINJA)):
            used = next((n.attr for n in parsed.find_all(nodes.Getattr) if _is_name(n.node, name)), "")
            raise UnsureError(f"it uses {name}.{used}" if used else f"it uses {name}")
        return self._jinja.from_string(parsed)

    def _macro(self, name: str, context: Json) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            template = self._template(self._macros[name]["macro_sql"], context, is_macro=True)
            try:
                return getattr(template.make_module(context), name)(*values, **named)
            except _Returned as returned:
                return returned.value

        return call

    def _parent(self, model: Json, names: tuple[str, ...], version: Any) -> Json:
        *package, name = names
        found = [
            node
            for node in self._parse.nodes.values()
            if node["resource_type"] in REFERRED
            and node["name"] == name
            and package in ([], [node["package_name"]])
            and str(node.get("version")) == str(node.get("latest_version") if version is None else version)
        ]
        if len(found) != 1 or found[0] is model:
            raise UnsureError(f"the last parse has not one model {name}")
        parent = found[0]
        if parent["package_name"] != self._parse.project:
            raise UnsureError(f"{name} is of another package")
        if parent.get("access") == "private" and parent.get("group") != model.get("group"):
            raise UnsureError(f"{name} is private")
        if parent["config"].get("materialized") not in MATERIALIZED:
            raise UnsureError(f"{name} is materialized by {parent['config'].get('materialized')}")
        is_model = parent["resource_type"] == "model"
        if is_model and self._text(parent) != parent["raw_code"] and parent not in self._checked:
            self._checked.append(parent)
            self._rendered(parent)  # its configuration, which says what it is called, is still the same
        return parent

    def _source(self, source: str, table: str) -> _Known:
        found = [s for s in self._parse.sources.values() if (s["source_name"], s["name"]) == (source, table)]
        if len(found) != 1:
            raise UnsureError(f"the last parse has not one source {source}.{table}")
        (entry,) = found
        metas = (entry.get("meta"), entry.get("source_meta"), (entry.get("config") or {}).get("meta"))
        if any(key in (declared or {}) for declared in metas for key in PLAIN_SOURCE):
            raise UnsureError(f"{source}.{table} is not a table of a database")
        return _relation(entry)

    def _is_incremental(self, model: Json) -> bool:
        config = model["config"]
        if config.get("materialized") != "incremental" or config.get("full_refresh"):
            return False
        return self._is_table(model["database"], model["schema"], model["alias"])


def _with_ctes(sql: str, ctes: dict[str, str]) -> str:
    """The SQL with ephemeral models in front, as dbt puts them there."""
    if not ctes:
        return sql
    listed = ", ".join(f"{name} as (\n{text}\n)" for name, text in ctes.items())
    if found := LEADING_WITH.match(sql):
        return f"{found[0]} {listed}, {sql[found.end() :]}"
    return f"with {listed} {sql}"


def _relation(node: Json) -> _Known:
    name = node.get("alias") or node.get("identifier") or node["name"]
    parts = {"database": node["database"], "schema": node["schema"], "identifier": name}
    return _Known("a relation", node["relation_name"], name=name, table=name, **parts)


def _cte(model: Json) -> str:
    return f"__dbt__cte__{model['alias']}"


def _env_var(name: str, default: str | None = None) -> str:
    if name.startswith(OWN_VARIABLES):
        raise UnsureError(f"it reads {name}")
    found = os.environ.get(name, default)
    if found is None:
        raise UnsureError(f"{name} is not set in the environment")
    return found


def _return(value: Any = None) -> NoReturn:
    raise _Returned(value)


def _is_name(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name


def _as_json(values: Json) -> str:
    return json.dumps(values, sort_keys=True, default=str)
