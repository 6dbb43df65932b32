"""What the models of a declaration refuse, in words for the person who wrote the file; none of Python's are used."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sluice.config.blocks import Expected, Open, plain_types
from sluice.config.connections import SECRET_KEYS, URL_PASSWORD
from sluice.config.yaml_file import IDENTIFIER, Lines, Problem
from sluice.errors import with_hint

LITERAL_SECRET = "literal_secret"  # noqa: S105 - the name of an error
"""Type of a validation error about a secret that is written out: the value is not repeated."""
LONGEST_SHOWN = 60
ALMOST = 0.75
"""How much a key has to resemble one of ours where any key is allowed."""
WORDS: dict[Any, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a mapping, key: value",
}
DBT_KEYS = {
    "tests",
    "data_tests",
    "tags",
    "loader",
    "overrides",
    "external",
    "identifier",
    "quote",
    "version",
}
"""dbt's own keys that resemble one of ours."""
SYNONYMS = {
    "type": "data_type", "dtype": "data_type", "sep": "delimiter", "separator": "delimiter", "na_values": "nulls",
    "pk": "primary_key", "key": "primary_key", "unique_key": "primary_key", "null_values": "nulls",
    "sheet_name": "sheet", "skiprows": "skip_lines", "skip_rows": "skip_lines", "line_terminator": "row_terminator",
}  # fmt: skip
"""What other tools call keys of ours."""
MISPLACED = ("load", "data_class")
"""Keys of ours that dbt would pass over if they were elsewhere than in `config.meta`."""

Path_ = tuple[str | int, ...]
KeysOf = Callable[[type[BaseModel], Any], Collection[str]]
"""The keys that mean something in a block of this model with this content."""


def explain(
    error: ValidationError,
    model: type[BaseModel],
    file: Path,
    lines: Lines,
    at: Sequence[str | int] = (),
    keys_of: KeysOf | None = None,
) -> list[Problem]:
    """Pydantic's findings about the value at the path `at`, one for each place."""
    entry: Any = lines.value
    for part in at:
        entry = entry[part]
    found: dict[Path_, Problem] = {}
    details = [(_path(entry, detail), detail) for detail in error.errors()]
    misspelt = dict(_misspelt(entry, model, ()))
    unknown = [*misspelt, *(path for path, detail in details if detail["type"] == "extra_forbidden")]
    for path, detail in details:
        if detail["type"] == "missing" and (
            _is_misspelt(entry, path, unknown) or any(_is_within(path, key) for key in misspelt)
        ):
            continue  # reported at the key that was written instead
        if detail["type"] == "value_error" and isinstance(given := _value(entry, path), dict):
            # about more than one key: the first that the message names
            path = (*path, *[word for word in re.findall(r"\w+", detail["msg"]) if word in given][:1])
        message = _message(
            detail, model, entry, path, lines, at, keys_of or (lambda block, _: field_by_key(block))
        )
        found.setdefault(path, _problem(entry, path, message, file, lines, at))
    return [*misspelt_keys(entry, model, file, lines, at), *found.values()]


def misspelt_keys(
    entry: Any, model: type[BaseModel], file: Path, lines: Lines, at: Sequence[str | int] = ()
) -> list[Problem]:
    """Keys of dbt's blocks, where any key is allowed, that are almost one of those we read there."""
    return [
        _problem(entry, path, f"is not a key here. {meant}", file, lines, at)
        for path, meant in _misspelt(entry, model, ())
    ]


def _problem(
    entry: Any, path: Path_, message: str, file: Path, lines: Lines, at: Sequence[str | int]
) -> Problem:
    where = ".".join(filter(None, [_name(entry), *_spoken(entry, path)])) or "file"
    return Problem(file, lines.line([*at, *path]), where, message)


def shown(value: Any) -> str:
    """A value as it may stand in a message: as YAML writes it, without a password inside."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date):
        return f"the {'time' if isinstance(value, dt.datetime) else 'date'} {value}"
    if isinstance(value, bytes):
        return "binary"
    text = URL_PASSWORD.sub("***", repr(value))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _message(
    detail: Any,
    model: type[BaseModel],
    entry: Any,
    path: Path_,
    lines: Lines,
    at: Sequence[str | int],
    keys_of: KeysOf,
) -> str:
    kind, value = detail["type"], _value(entry, path)
    if kind == "extra_forbidden":
        block = _block(_annotation(model, path[:-1])) or model
        keys = keys_of(block, _value(entry, path[:-1]))
        message, meant = (
            f"is not a key here; allowed are {', '.join(sorted(keys))}",
            SYNONYMS.get(str(path[-1])),
        )
        return (
            f"{message}. Did you mean {meant}?" if meant in keys else with_hint(message, str(path[-1]), keys)
        )
    if kind == "missing":
        literals = _literals(wanted := _annotation(model, path))
        only = f"; write {path[-1]}: {literals[0]}" if len(literals) == 1 else f"; {_wanted(wanted)}"
        return "is missing" + (only if literals else "")
    said = str(detail["msg"]).removeprefix("Value error, ")
    if kind == LITERAL_SECRET or (kind == "value_error" and isinstance(detail["input"], dict)):
        return said
    wanted = _annotation(model, path)
    if "[key]" in detail["loc"]:
        value, wanted = path[-1], str
        said = "write lower-case letters, digits and _, beginning with a letter"
    elif kind != "value_error":
        said = _wanted(wanted)
        said = said if said.startswith("allowed is") else f"write {said}"
    said += _in_quotes(value, wanted, lines.text_of.get((*at, *path), ""))
    secret = any(SECRET_KEYS.search(str(part)) for part in path)
    return with_hint(f"is {'a secret' if secret else shown(value)}: {said}", str(value), _literals(wanted))


def _in_quotes(value: Any, wanted: Any, text: str) -> str:
    """How a text is written that YAML takes for a number, a date, or yes and no; and the other way round."""
    plain = plain_types(wanted) - {type(None)}
    if plain == {str} and isinstance(value, bool | int | float | dt.date) and text:
        return f', in quotes: "{text}"'
    is_number = isinstance(value, str) and plain and plain <= {int, float, bool}
    return ", without quotes" if is_number else ""


def _path(entry: Any, detail: Any) -> Path_:
    """Where in the YAML an error is: pydantic adds the parts of a type that it tried."""
    if detail["type"] == "missing":
        return tuple(detail["loc"])
    path: list[str | int] = []
    for part in detail["loc"]:
        value = _value(entry, path)
        is_key = isinstance(value, dict) and part in value
        if not is_key and not (isinstance(value, list) and isinstance(part, int)):
            break
        path.append(part)
    return tuple(path)


def _is_misspelt(entry: Any, missing: Path_, unknown: Sequence[Path_]) -> bool:
    """Whether a key that is not there stands beside one that is not known, which resembles it."""
    for n, part in enumerate(missing):
        given = _value(entry, missing[:n])
        if isinstance(given, dict) and part not in given:
            beside = [str(path[-1]) for path in unknown if path[:-1] == missing[:n]]
            return bool(get_close_matches(str(part), [key.lower() for key in beside]))
    return False


def _is_within(missing: Path_, written: Path_) -> bool:
    """Whether a key that is not there belongs into one that is written in another block."""
    n = len(written) - 1
    return missing[:n] == written[:n] and written[-1] in missing[n:]


def _misspelt(value: Any, model: Any, path: Path_) -> Iterator[tuple[Path_, str]]:
    """The paths of keys that mean nothing where they are, and what may be meant."""
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _misspelt(inner, _item(model), (*path, index))
    block = _block(model)
    if not isinstance(value, dict) or block is None or not issubclass(block, Open):
        return
    fields = field_by_key(block)
    for key, inner in value.items():
        if key in fields:
            yield from _misspelt(inner, fields[key].annotation, (*path, key))
        elif key in MISPLACED or (
            key == "meta" and isinstance(inner, dict) and any(name in inner for name in MISPLACED)
        ):
            if place := _place(block, key):
                yield (*path, key), f"It belongs into {'.'.join(place)}"
        elif key not in DBT_KEYS:
            near = get_close_matches(key, [name for name in fields if name not in value], 1, ALMOST)
            near = [SYNONYMS[key]] if SYNONYMS.get(key) in fields else near
            if near and isinstance(inner, dict) == (_block(fields[near[0]].annotation) is not None):
                yield (*path, key), f"Did you mean {near[0]}?"


def _place(block: type[BaseModel], key: str) -> tuple[str, ...]:
    """The blocks inside of this one that lead to the one with the key; none without such a one."""
    for name, field in field_by_key(block).items():
        inner = None if get_origin(field.annotation) is list else _block(field.annotation)
        if inner is None or not issubclass(inner, Open):
            continue
        if key in field_by_key(inner):
            return (name,)
        if further := _place(inner, key):
            return (name, *further)
    return ()


def field_by_key(block: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a block by the keys that YAML has for them."""
    return {field.alias or name: field for name, field in block.model_fields.items()}


def _annotation(model: Any, path: Sequence[str | int]) -> Any:
    """The type that the value at a path should have; Any where that is not known."""
    wanted = model
    for part in path:
        if isinstance(part, int):
            wanted = _item(wanted)
        elif block := _block(wanted):
            field = field_by_key(block).get(part)
            if field is None:
                return Any
            wanted = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        else:
            inside = [a for a in _parts(wanted) if get_origin(a) is dict]
            wanted = get_args(inside[0])[1] if inside else Any
    return wanted


def _item(wanted: Any) -> Any:
    inside = [get_args(part)[0] for part in _parts(wanted) if get_origin(part) is list]
    return inside[0] if inside else Any


def _block(wanted: Any) -> type[BaseModel] | None:
    for part in _parts(wanted):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _parts(wanted: Any) -> list[Any]:
    """The members of a union, without annotations."""
    if get_origin(wanted) is Annotated:
        return _parts(get_args(wanted)[0])
    origin = get_origin(wanted)
    if (
        origin is None
        or origin in (list, dict, Literal)
        or (isinstance(origin, type) and issubclass(origin, BaseModel))
    ):
        return [wanted]
    return [part for member in get_args(wanted) for part in _parts(member)]


def _literals(wanted: Any) -> list[str]:
    return [str(v) for part in _parts(wanted) if get_origin(part) is Literal for v in get_args(part)]


def _wanted(wanted: Any) -> str:
    """A type in words."""
    if literals := _literals(wanted):
        quoted = [f"'{literal}'" for literal in literals]
        return f"allowed is {' or '.join(filter(None, [', '.join(quoted[:-1]), quoted[-1]]))}"
    metadata = get_args(wanted)[1:] if get_origin(wanted) is Annotated else ()
    for said in metadata:
        if isinstance(said, Expected):
            return said.words
        if getattr(said, "pattern", None) == IDENTIFIER.pattern:
            return "lower-case letters, digits and _, beginning with a letter"
    inside = get_args(wanted)[0] if metadata else wanted
    if metadata and get_origin(inside) is Annotated:
        return _wanted(inside)
    words = [_word(part) for part in _parts(wanted) if part is not type(None)]
    return " or ".join(dict.fromkeys(words)) + _bounds(metadata)


def _word(part: Any) -> str:
    if get_origin(part) is list:
        item = _parts(get_args(part)[0])
        return "a list of texts" if item == [str] else "a list"
    block = _block(part)
    return WORDS[dict] if block else WORDS.get(get_origin(part) or part, "another value")


def _bounds(metadata: Sequence[Any]) -> str:
    low = [f" of at least {m.ge}" for m in metadata if hasattr(m, "ge")]
    low += [f" above {m.gt}" for m in metadata if hasattr(m, "gt")]
    high = [f" of at most {m.le}" for m in metadata if hasattr(m, "le")]
    return " and".join([*low, *high])


def _name(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else ""


def _value(entry: Any, path: Sequence[str | int]) -> Any:
    """The value at a path; None from the first step that leads nowhere."""
    return [entry, *_along(entry, path)][-1]


def _along(value: Any, path: Sequence[str | int]) -> Iterator[Any]:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
        yield value


def _spoken(entry: Any, path: Path_) -> Iterator[str]:
    """`("tables", 3, "config", …)` as `orders.config…`: tables and columns by their names."""
    for n, (part, value) in enumerate(zip(path, _along(entry, path), strict=True)):
        holds_blocks = isinstance(value, list) and any(isinstance(inner, dict) for inner in value)
        if isinstance(part, int):
            yield _name(value) or str(part)
        elif n == len(path) - 1 or part not in ("tables", "columns") or not holds_blocks:
            yield part
