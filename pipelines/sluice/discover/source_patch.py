"""Changes a source file in place: adds tables, columns and keys, widens types; everything else stays as written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from sluice.config.column_names import normalized
from sluice.config.declaration import Source
from sluice.config.sources import read_sources
from sluice.discover.contract import Relationship
from sluice.discover.differences import Difference
from sluice.discover.source_file import ProjectFacts, column_lines, table_lines
from sluice.discover.yaml_text import flow
from sluice.errors import SluiceError

TABLE_INDENT, COLUMN_INDENT = 6, 10
"""Where the writer of source files begins the items of `tables:` and `columns:`."""


@dataclass(frozen=True)
class Edit:
    """A piece of text that takes the place of another, by its offsets in the file."""

    begin: int
    end: int
    text: str


def patched(
    source: Source[Any, Any],
    text: str,
    found: Sequence[Difference],
    relationships: Sequence[Relationship],
    facts: ProjectFacts,
) -> str:
    """The text of the source file with what is new; raises SluiceError where it cannot be changed without harm."""
    file = _File(text, source)
    edits = [edit for difference in found for edit in _edits(file, difference, relationships, facts)]
    result = text
    for edit in sorted(_in_one_place(edits), key=lambda e: e.begin, reverse=True):
        result = result[: edit.begin] + edit.text + result[edit.end :]
    _verify(source.file, result)
    return result


def _in_one_place(edits: Iterable[Edit]) -> Iterator[Edit]:
    """Edits with the insertions at the same offset joined, in their order."""
    by_place: dict[tuple[int, int], list[str]] = defaultdict(list)
    for edit in edits:
        by_place[edit.begin, edit.end].append(edit.text)
    for (begin, end), texts in by_place.items():
        yield Edit(begin, end, "".join(texts))


class _File:
    """A source file's text with the places of its parts."""

    def __init__(self, text: str, source: Source[Any, Any]) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.name = source.file.name
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = _value(root, "sources")
        assert isinstance(entries, yaml.SequenceNode)
        entry = next(e for e in entries.value if _text(e, "name") == source.name)
        self.tables = _value(entry, "tables")

    def table(self, name: str) -> yaml.Node:
        assert isinstance(self.tables, yaml.SequenceNode)
        found: yaml.Node = next(t for t in self.tables.value if _text(t, "name") == name)
        return found

    def append(self, items: yaml.Node | None, lines: Iterable[str], indent: int, what: str) -> Edit:
        """Lines, written for `indent`, behind the last item of a list in block style."""
        if not isinstance(items, yaml.SequenceNode) or items.flow_style or not items.value:
            raise SluiceError(
                f"{self.name}: {what} cannot be added: the list where it belongs is empty or written in [ ]. Write one "
                "entry per line there, each beginning with -, and try again"
            )
        place = self._end_of_line(items.value[-1])
        shift = items.start_mark.column - indent
        shifted = [f"{' ' * shift}{line}" if shift > 0 else line[-shift:] for line in lines]
        text = "".join(f"{self.newline}{line}" if line.strip() else self.newline for line in shifted)
        return Edit(place, place, text)

    def _end_of_line(self, node: yaml.Node) -> int:
        """The offset of the end of the last line that belongs to a node, with the comment on it."""
        last = _last_leaf(node)
        index = last.end_mark.index
        if last.end_mark.column == 0 and index > last.start_mark.index:  # a text in lines of its own
            index = len(self.text[:index].rstrip())
        end = self.text.find("\n", index)
        end = len(self.text) if end < 0 else end
        return end - 1 if self.text[end - 1 : end] == "\r" else end

    def before_line(self, node: yaml.Node, text: str) -> Edit:
        """A line before the one where a node begins, with the same indent."""
        place = node.start_mark.index - node.start_mark.column
        return Edit(place, place, f"{' ' * node.start_mark.column}{text}{self.newline}")


def _edits(
    file: _File, difference: Difference, relationships: Sequence[Relationship], facts: ProjectFacts
) -> Iterator[Edit]:
    found, declared, column = difference.found, difference.declared, difference.column
    if difference.what == "new table" and found:
        near = [r for r in relationships if r.table == tuple(difference.place.split("."))]
        lines = ["", *table_lines(found, near, facts)]
        yield file.append(file.tables, lines, TABLE_INDENT, found.name)
    elif difference.what == "new column" and declared and column:
        near = [
            r
            for r in relationships
            if r.table == (declared.source, declared.name) and r.columns[0] == column.name
        ]
        columns = _value(file.table(declared.name), "columns")
        lines = list(column_lines(column, declared.raw_name(column.name), [], near))
        yield file.append(columns, lines, COLUMN_INDENT, column.name)
    elif difference.what == "new type" and declared and column:
        yield from _type_edit(file, difference.place.rpartition(".")[2], declared.name, str(column.data_type))
    elif difference.what == "new key" and declared and found:
        key = list(found.unique[0])
        yield _key_edit(file, file.table(declared.name), flow(key[0] if len(key) == 1 else key))


def _type_edit(file: _File, raw_name: str, table: str, data_type: str) -> Iterator[Edit]:
    columns = _value(file.table(table), "columns")
    for entry in columns.value if isinstance(columns, yaml.SequenceNode) else ():
        if normalized(_text(entry, "name")) == raw_name or _text(entry, "name") == raw_name:
            node = _value(entry, "data_type")
            if node:
                yield Edit(node.start_mark.index, node.end_mark.index, flow(data_type))


def _key_edit(file: _File, table: yaml.Node, key: str) -> Edit:
    """`primary_key` in the table's load block, which is made if there is none."""
    node: yaml.Node | None = table
    inner = f"primary_key: {key}"
    missing = ["config", "meta", "load"]
    while missing and node is not None and (below := _value(node, missing[0])) is not None:
        if not isinstance(below, yaml.MappingNode):
            break
        node = below
        missing.pop(0)
    assert isinstance(node, yaml.MappingNode)
    for name in reversed(missing):
        inner = f"{name}: {{{inner}}}"
    if node.flow_style:
        place = node.start_mark.index + 1
        return Edit(place, place, f"{inner}, " if node.value else inner)
    if node is table:
        names = [name for name, _ in node.value]
        at = next(
            (name for name in names if name.value in ("data_tests", "columns")), (*names, None, None)[1]
        )
        if at is None:
            end = file._end_of_line(node)
            return Edit(end, end, f"{file.newline}{' ' * node.start_mark.column}{inner}")
        return file.before_line(at, inner)
    return file.before_line(node.value[0][0], inner)


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _text(node: yaml.Node, key: str) -> str:
    value = _value(node, key)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ""


def _last_leaf(node: yaml.Node) -> yaml.Node:
    """The part of a node that ends last: a value, or a list or mapping in brackets."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _verify(file: Path, text: str) -> None:
    """Raise SluiceError unless the changed file is a sound declaration."""
    with TemporaryDirectory(prefix="sluice-discover-") as folder:
        copy = Path(folder, file.name)
        copy.write_text(text, encoding="utf-8", newline="")
        if problems := read_sources(Path(folder))[1]:
            raise SluiceError(
                f"{file.name} cannot be changed by itself ({problems[0].where}: {problems[0].message}); add what is "
                "new by hand"
            )
