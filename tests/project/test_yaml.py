"""YAML that people read and change: short lines, and one attribute per line where there are many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LONGEST_LINE = 120
ATTRIBUTES_ON_A_LINE = 3
FOLDERS = (
    ".github/**/",
    "models/**/",
    "sources/",
    "seeds/",
    "macros/",
    "docs/",
    "pipelines/**/",
    "tests/**/",
    "",
)
FILES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}*.y*ml"))
PROPERTIES = [path for path in FILES if path.relative_to(ROOT).parts[0] in ("models", "sources", "seeds")]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_lines_are_short(path: Path) -> None:
    long = [
        number
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST_LINE
    ]
    assert not long, (
        f"{_name(path)}: lines {long} have more than {LONGEST_LINE} characters, which neither an editor nor a diff "
        "shows as a whole. Write one attribute per line, fold a text with `>-`, or go on on the next line inside "
        "of braces."
    )


@pytest.mark.parametrize("path", PROPERTIES, ids=_name)
def test_a_column_with_many_attributes_has_one_per_line(path: Path) -> None:
    crowded = [
        f"line {column.start_mark.line + 1}"
        for column in _columns(yaml.compose(path.read_text(encoding="utf-8")))
        if column.flow_style and len(column.value) > ATTRIBUTES_ON_A_LINE
    ]
    assert not crowded, (
        f"{_name(path)}: {', '.join(crowded)}: a column with more than {ATTRIBUTES_ON_A_LINE} attributes has one per "
        "line, so that each can be found, changed and reviewed by itself."
    )


def _columns(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """The mappings in every list called `columns`, of any depth."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "columns" and isinstance(value, yaml.SequenceNode):
                yield from (item for item in value.value if isinstance(item, yaml.MappingNode))
            yield from _columns(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _columns(item)
