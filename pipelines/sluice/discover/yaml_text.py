"""Values and comments as YAML text, in the layout in which people write source files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any

import yaml

WIDTH = 120
"""Columns of a line of a source file."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]+")
JINJA = re.compile(r"\{(?=[{%#])")
"""The beginnings of what dbt would evaluate in a description."""


def flow(value: Any) -> str:
    """A value on one line: `{count: 2, period: day}`; texts are quoted where YAML would read something else."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    text: str = yaml.safe_dump([value], default_flow_style=True, width=float("inf"), allow_unicode=True)
    text = text.strip()[1:-1]
    if not isinstance(value, str) or (text == value and "#" not in text):
        return text
    return str(yaml.safe_dump(value, default_style='"', width=float("inf"), allow_unicode=True)).strip()


def plain(value: Any) -> str:
    """A value alone on a line, where commas and brackets inside of a text need no quotes."""
    if (
        isinstance(value, str)
        and re.fullmatch(r"[A-Za-z][\w .,;()/`'-]*[\w.)`]", value)
        and not value.endswith(" ")
    ):
        return flow(value) if yaml.safe_load(value) != value else value
    return flow(value)


def block(key: str, value: Any, indent: int) -> Iterator[str]:
    """The lines of a key and its value: on one line where it fits, else one line per part."""
    margin = " " * indent
    written = plain(value) if isinstance(value, str) else flow(value)
    if len(line := f"{margin}{flow(key)}: {written}") <= WIDTH or not isinstance(
        value, (Mapping, list, tuple)
    ):
        if isinstance(value, str) and len(line) > WIDTH and written == value:
            yield f"{margin}{key}: >"
            yield from wrap(
                value, WIDTH, initial_indent=margin + "  ", subsequent_indent=margin + "  ", **WHOLE
            )
        else:
            yield line
    elif isinstance(value, Mapping):
        yield f"{margin}{flow(key)}:"
        for name, inner in value.items():
            yield from block(str(name), inner, indent + 2)
    else:
        yield f"{margin}{flow(key)}:"
        for inner in value:
            yield f"{margin}  - {flow(inner)}"


WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def comment(text: str, indent: int) -> Iterator[str]:
    """The lines of a comment."""
    margin = " " * indent + "# "
    yield from wrap(one_line(text), WIDTH, initial_indent=margin, subsequent_indent=margin + "  ", **WHOLE)


def one_line(text: str) -> str:
    """A text of somebody else's without line breaks, characters that YAML refuses, and what dbt would evaluate."""
    return JINJA.sub("{ ", " ".join(UNPRINTABLE.sub(" ", text).split()))


def joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
