"""JSON Schemas of source files and of audiences.yml for editors, made from the models that also check them."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from sluice.config.audiences import AudiencesFile
from sluice.config.blocks import Open, Strict
from sluice.config.declaration import KINDS, table_model

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema of a source file."""
    definitions: dict[str, Any] = {}
    variants: dict[str, Any] = {}
    for kind, model in KINDS.items():
        schema = model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        variants[_title(model)] = schema
        table = table_model(kind)
        if not any(field.is_required() for field in table.model_fields.values()):
            for entry in ("TableEntry", "TableConfig", "TableMeta"):  # a table may do without a load block
                required = definitions[f"{entry}_{table.__name__}_"]["required"]
                required[:] = [key for key in required if key == "name"]
    _describe(definitions | variants)
    kinds = [
        {"if": _at_load({"required": ["kind"], "properties": {"kind": {"const": kind}}}), "then": schema}
        for kind, schema in zip(KINDS, variants.values(), strict=True)
    ]  # by the kind that is written, so that an editor reports its mistakes and not those of every kind
    named = _at_load({"required": ["kind"], "properties": {"kind": {"enum": list(KINDS)}}})
    return {
        "$schema": DRAFT,
        "title": "Sluice source file",
        "type": "object",
        "required": ["sources"],
        "properties": {
            "version": {"const": 2},
            "sources": {"type": "array", "items": {"if": _at_load({}), "then": {"allOf": [named, *kinds]}}},
        },
        "$defs": definitions,
    }


def audiences_schema() -> dict[str, Any]:
    """JSON Schema of audiences.yml."""
    schema = AudiencesFile.model_json_schema(by_alias=True)
    _describe({**schema["$defs"], AudiencesFile.__name__: schema})
    return {"$schema": DRAFT, **schema, "title": "Sluice audiences"}


def _at_load(load: dict[str, Any]) -> dict[str, Any]:
    """A schema of a dbt source whose `config.meta.load` has the schema `load`."""
    schema = load
    for key in ("load", "meta", "config"):
        schema = {"required": [key], "properties": {key: schema}}
    return schema


def _describe(schemas: dict[str, Any]) -> None:
    """Give the keys of each block the text that is below its field."""
    for block in (*_blocks(Strict), *_blocks(Open)):
        properties = schemas.get(_title(block), {}).get("properties", {})
        for name, text in _attribute_docs(block).items() if properties else ():
            if name in properties:
                properties[name]["description"] = text


def _title(model: type[BaseModel]) -> str:
    return re.sub(r"\W", "_", model.__name__)


def _blocks(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for block in model.__subclasses__():
        yield block
        yield from _blocks(block)


def _attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """What the source says below each field; read here only, for pydantic would read it whenever anything starts."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, (Strict, Open)) or "[" in base.__name__:
            continue  # parametrised: made by pydantic from a class that is in the order, too
        for field, text in pairwise(_bodies(base.__module__)[base.__name__]):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    docs[name] = inspect.cleandoc(said)
    return docs


@cache
def _bodies(module: str) -> dict[str, list[ast.stmt]]:
    """The statements of each class of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
