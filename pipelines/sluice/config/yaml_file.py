"""YAML read with line numbers, and mistakes in it as people need them: file, line, place, message."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from sluice.config.yaml_syntax import Mistake, explain_syntax

GLUED = re.compile(r"([A-Za-z_]\w*):(?!//)(\S+)")
"""A key and a value without a space between, which YAML takes for a key inside of { }."""
IDENTIFIER = re.compile(r"^[a-z_][a-z0-9_]*$")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_ALIASED = 100_000
"""Values that a file may come to by its aliases (*), where its own text is shorter than that."""
OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


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
        self.text_of: dict[tuple[str | int, ...], str] = {}
        """Scalars as they are written, without quotes."""
        self._above: list[yaml.Node] = []
        # without aliases, each value has a character at least
        self._most = max(MOST_ALIASED, node.end_mark.index if node else 0)
        self.value = None if node is None else self._convert(node, ())

    def _convert(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:
        self.line_of[path] = node.start_mark.line + 1
        if len(self.line_of) > self._most:
            message = f"its aliases (*) make more than {self._most:,} values of it; write fewer"
            raise Mistake(message, node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            self.text_of[path] = node.value
            return _scalar(node)
        if any(node is other for other in self._above):
            raise Mistake("an anchor that contains itself", node.start_mark)
        self._above.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            items: list[yaml.Node] = node.value
            _refuse_commas(node, [(item, item) for item in items])
            return [self._convert(item, (*path, i)) for i, item in enumerate(items)]
        finally:
            self._above.pop()

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        _refuse_commas(node, node.value)
        first: dict[str, int] = {}
        for key, value in node.value:
            if _is_plain(key) and key.value != (name := key.value.strip("\u00a0\u200b\ufeff")):
                raise Mistake(
                    f"the key {name!r} has an invisible character beside it; delete that", key.start_mark
                )
            if (
                node.flow_style
                and _is_plain(key)
                and value.value == ""
                and (split := GLUED.fullmatch(key.value))
            ):
                message = f"a space is missing after the colon: {split[1]}: {split[2]}"
                raise Mistake(message, key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                raise Mistake(
                    "a list or mapping as a key; a text that begins with { or [ needs quotes", key.start_mark
                )
            if key.value in first and key.value != "<<":
                earlier = f"first in line {first[key.value]}"
                raise Mistake(f"the key {key.value!r} occurs twice, {earlier}", key.start_mark)
            first[key.value] = key.start_mark.line + 1
        SafeConstructor().flatten_mapping(node)
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            mapping[name] = self._convert(value, (*path, name))
            self.line_of[(*path, name)] = key.start_mark.line + 1
        return mapping

    def line(self, path: Sequence[str | int]) -> int:
        """Line of the deepest part of `path` that is in the file."""
        for length in range(len(path), -1, -1):
            if found := self.line_of.get(tuple(path[:length])):
                return found
        return 1


def _scalar(node: yaml.ScalarNode) -> Any:
    """The value, by YAML's own rules."""
    try:
        return SafeConstructor().construct_object(node)
    except ValueError:
        kind = "date or time" if node.tag.endswith("timestamp") else "number"
        raise Mistake(f"{node.value} is not a {kind}; as a text it needs quotes", node.start_mark) from None


def _refuse_commas(node: yaml.Node, entries: Sequence[tuple[yaml.Node, yaml.Node]]) -> None:
    """Refuse `{type: decimal(9, 2)}`: inside of { } and [ ] the comma ends the value, and `2)` is a key of its own."""
    if not getattr(node, "flow_style", False):
        return
    for n, (key, value) in enumerate(entries):
        if not _is_plain(value) or value.value.count("(") <= value.value.count(")"):
            continue
        whole = str(value.value)
        for following, _ in entries[n + 1 :]:
            if not _is_plain(following):
                break
            whole = f"{whole}, {following.value}"
            if whole.count("(") == whole.count(")"):
                name = f"{key.value}: " if key is not value else ""
                advice = f'put it in quotes: {name}"{whole}"'
                raise Mistake(f"the comma ends the text {value.value!r}; {advice}", value.start_mark)


def _is_plain(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style


def read_yaml(file: Path) -> Lines | Problem:
    """The file's values with their lines, or why it cannot be read."""
    try:
        data = file.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        return Problem(file, 1, "file", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        other = OTHER_ENCODINGS.get(data[:2])
        found = f"it is {other}" if other else f"column {column} has the byte 0x{data[error.start]:02x}"
        return Problem(file, line, "file", f"is not UTF-8 ({found}); save it as UTF-8")
    try:
        return Lines(yaml.compose(text, Loader=LOADER))
    except RecursionError:
        return Problem(file, 1, "file", "is nested too deeply")
    except yaml.YAMLError as error:
        line, message = explain_syntax(error, text)
        return Problem(file, line, "file", message)


def dig(value: Any, *keys: str) -> Any:
    """The value below nested mappings; None where one of them has no such key."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
