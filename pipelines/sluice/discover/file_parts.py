"""Tells files apart that are called alike and have other columns: each kind of header is a table of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sluice.discover.dialects import csv_dialect
from sluice.discover.file_groups import FileGroup, glob_of, table_name


@dataclass
class _Part:
    """Files whose headers have the same delimiter, and columns that are those of the largest or some of them."""

    delimiter: str
    columns: frozenset[str]
    files: list[str]


def apart(headers: Mapping[str, bytes]) -> list[list[str]]:
    """The files by their first lines: in one part as long as one header has all columns of the other."""
    parts: list[_Part] = []
    by_line: dict[bytes, list[str]] = {}
    for path, line in headers.items():
        by_line.setdefault(line.strip(), []).append(path)
    if len(by_line) == 1 or b"" in by_line:
        return [list(headers)]
    for line, files in by_line.items():
        found = csv_dialect([line.decode("latin-1") + "\n"])
        if found.keys.get("header") is False:  # these are rows, which differ anyway
            return [list(headers)]
        delimiter, columns = str(found.keys.get("delimiter", "")), frozenset(found.header)
        near = next((p for p in parts if p.delimiter == delimiter and _is_part(p.columns, columns)), None)
        if near is None:
            parts.append(_Part(delimiter, columns, list(files)))
        else:
            near.files += files
            near.columns |= columns
    return [part.files for part in parts]


def _is_part(one: frozenset[str], other: frozenset[str]) -> bool:
    return one <= other or other <= one


def parted(group: FileGroup, parts: Sequence[Sequence[str]], every: Sequence[str]) -> list[FileGroup]:
    """One group per part, if a glob matches the files of each and no others; else the group, with a question."""
    found = []
    for files in parts:
        path = glob_of(sorted(files), every)
        if path is None:
            question = (
                "the files differ in their columns, but not in their names: which of them belong together?"
            )
            return [replace(group, question=question)]
        words = path.rpartition("/")[2].replace("[0-9]", " ").partition(".")[0]
        reason = (
            f"{len(files)} file(s) with columns of their own; others that are called alike have other columns"
        )
        found.append(
            replace(group, name=table_name(words), path=path, files=tuple(sorted(files)), reason=reason)
        )
    return found
