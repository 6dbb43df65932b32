"""YAML read with line numbers, and mistakes in it as people need them: file, line, place, message."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sluice.config.connections import SECRET_KEYS, URL_PASSWORD

IDENTIFIER = re.compile(r"^[a-z_][a-z0-9_]*$")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LITERAL_SECRET = "literal_secret"  # noqa: S105 - the name of an error
"""Type of a validation error about a secret that is written out: the value is not repeated."""
EXPECTED = {
    "list_type": "write a list",
    "dict_type": "write a mapping, key: value",
    "model_type": "write a mapping, key: value",
    "string_type": "write a text",
}
"""Types of pydantic's errors whose own words are a programmer's."""


@dataclass(frozen=True)
class Problem:
    """A mistake in a declaration, with all that is needed to fix it."""

    file: Path
    line: int
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.where}: {self.message}"


class Lines:
    """A YAML file as plain values, and the line of each."""

    def __init__(self, node: yaml.Node | None) -> None:
        self.line_of: dict[tuple[str | int, ...], int] = {}
        self.value = None if node is None else self._convert(node, ())

    def _convert(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:
        self.line_of[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            own = [str(key.value) for key, _ in node.value]
            for key, _ in node.value:
                if own.count(str(key.value)) > 1 and key.value != "<<":
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} occurs twice", problem_mark=key.start_mark
                    )
            yaml.SafeLoader("").flatten_mapping(node)
            for key, value in node.value:
                name = str(key.value)
                mapping[name] = self._convert(value, (*path, name))
                self.line_of[(*path, name)] = key.start_mark.line + 1
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._convert(item, (*path, i)) for i, item in enumerate(node.value)]
        return yaml.SafeLoader("").construct_object(node)  # a scalar, by YAML's own rules

    def line(self, path: Sequence[str | int]) -> int:
        """Line of the deepest part of `path` that is in the file."""
        for length in range(len(path), -1, -1):
            if found := self.line_of.get(tuple(path[:length])):
                return found
        return 1


def read_yaml(file: Path) -> Lines | Problem:
    """The file's values with their lines, or why it cannot be read."""
    try:
        return Lines(yaml.compose(file.read_text(encoding="utf-8"), Loader=LOADER))
    except yaml.MarkedYAMLError as error:
        line = (error.problem_mark.line + 1) if error.problem_mark else 1
        return Problem(file, line, "file", f"is not YAML: {error.problem}")
    except UnicodeDecodeError as error:
        return Problem(file, error.object[: error.start].count(b"\n") + 1, "file", "is not UTF-8")


def explain(
    error: ValidationError,
    model: type[BaseModel],
    file: Path,
    lines: Lines,
    at: Sequence[str | int] = (),
) -> list[Problem]:
    """Pydantic's findings about the value at the path `at`, in words for the person who wrote the file."""
    value: Any = lines.value
    for part in at:
        value = value[part]
    return [_problem(detail, model, value, file, lines, at) for detail in error.errors()]


def _problem(
    detail: Any, model: type[BaseModel], entry: Any, file: Path, lines: Lines, at: Sequence[str | int]
) -> Problem:
    location = [part for part in detail["loc"] if part != "[key]"]
    *_, value = [entry, *_along(entry, location)]
    name = str(entry.get("name", "")) if isinstance(entry, dict) else ""
    where = ".".join(filter(None, [name, *_spoken(entry, location)])) or "file"
    message = str(detail["msg"]).removeprefix("Value error, ")
    kind = detail["type"]
    if kind == "extra_forbidden":
        message = f"is not a key here; allowed are {', '.join(_allowed(model, location))}"
    elif kind == "missing":
        message = "is missing"
    elif kind != LITERAL_SECRET and not (kind == "value_error" and isinstance(value, dict)):
        message = EXPECTED.get(kind, message[0].lower() + message[1:]).replace(
            "input should be", "allowed is"
        )
        if kind == "string_pattern_mismatch" and detail["ctx"]["pattern"] == IDENTIFIER.pattern:
            message = "write lower-case letters, digits and _, beginning with a letter"
        secret = any(SECRET_KEYS.search(str(part)) for part in location)
        message = f"is {'a secret' if secret else shown(value)}: {message}"
    return Problem(file, lines.line([*at, *location]), where, message)


def shown(value: Any) -> str:
    """A value as it may stand in a message: without a password inside."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "empty" if value is None else URL_PASSWORD.sub("***", repr(value))


def _along(value: Any, location: Sequence[str | int]) -> Iterator[Any]:
    """The value at each step of a path; None from the first step that leads nowhere."""
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
        yield value


def _spoken(entry: Any, location: Sequence[str | int]) -> Iterator[str]:
    """`("tables", 3, "config", …)` as `orders.config…`: tables and columns by their names."""
    for part, value in zip(location, _along(entry, location), strict=True):
        if isinstance(part, int):
            yield str(value.get("name", part)) if isinstance(value, dict) else str(part)
        elif location[-1] == part or part not in ("tables", "columns") or not isinstance(value, list):
            yield part


def _allowed(model: Any, location: Sequence[str | int]) -> list[str]:
    """Keys that may stand where `location` found one that may not."""
    for part in location[:-1]:
        if isinstance(part, str):
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            model = _model_in(fields[part].annotation)
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> Any:
    """The block that an annotation such as `list[Block]` or `Block | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inside = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return next(filter(None, map(_model_in, inside)), None)


def dig(value: Any, *keys: str) -> Any:
    """The value below nested mappings; None where one of them has no such key."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
