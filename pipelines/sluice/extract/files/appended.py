"""A text file that begins as it was when it was last loaded: only what was appended to it is read."""

from __future__ import annotations

import codecs
import csv
import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

from sluice.config.column_names import FILE, LINE
from sluice.config.declaration import FilesTable, Table
from sluice.engine.raw import address
from sluice.extract.contract import ExtractContext
from sluice.extract.files.common import FileBuffer, Found
from sluice.sql import listed

FORMATS = ("csv", "jsonl", "lines")
ENCODINGS = ("ascii", "cp125", "iso8859", "utf-8")
"""Beginnings of the names of encodings in which a line feed is one byte, and this byte is always a line feed."""
ARCHIVES = (".gz", ".zst", ".zip")
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\0\0")
"""Of UTF-16 and UTF-32, by their first two bytes."""
BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Digests:
    """SHA-256 of a file as it came, before it is unpacked."""

    beginning: str
    """Of its first bytes: as many as the file had when it was last loaded."""
    whole: str
    size: int


@dataclass(frozen=True)
class End:
    """Where a file ended when it was last loaded."""

    digest: str
    size: int
    rows: int
    line: int
    """That of the last row."""


def digests_of(content: BufferedReader, beginning: int) -> Digests:
    """Read a file once, and close it; `beginning` is the number of bytes that are added up on their own as well."""
    added, size, of_beginning = hashlib.sha256(), 0, ""
    with content:
        while block := content.read(min(BLOCK_BYTES, beginning - size if size < beginning else BLOCK_BYTES)):
            added.update(block)
            size += len(block)
            if size == beginning:
                of_beginning = added.hexdigest()
    return Digests(of_beginning, added.hexdigest(), size)


def ends(
    found: Iterable[Found],
    known: Mapping[str, Sequence[Any]],
    table: Table[FilesTable],
    context: ExtractContext,
) -> dict[str, End]:
    """Files that may be read from where they ended, by name: raw has all rows they had, from them, and none is bad."""
    kept = {f.name: End(*entry[1:]) for f in found if len(entry := known.get(f.name, ())) > 2}
    if not kept or FILE not in context.raw.columns(table):
        return {}
    held = context.con.execute(
        f"select {FILE}, count(*), max({LINE}) from {address(table)} where {FILE} in"
        f" ({listed(kept)}) group by all"
    ).fetchall()
    bad = context.raw.quarantined_files(table)
    return {
        name: kept[name]
        for name, rows, line in held
        if (rows, line) == (kept[name].rows, kept[name].line) and name not in bad
    }


def entry(
    file: Found, found: Digests, table: Table[FilesTable], buffer: FileBuffer, end: End | None
) -> list[Any]:
    """What the state keeps of a file that was read, from `end` on if it was continued: see `ends`."""
    kept: list[Any] = [file.version, found.whole]
    rows, line = buffer.end(file)
    if end:
        rows, line = rows + end.rows, line or end.line
    return kept + ([found.size, rows, line] if rows and _has_lines(file, table) else [])


def appended_part(file: Found, end: End, found: Digests, table: Table[FilesTable]) -> Found | None:
    """The file with nothing but its header and what was appended; None if it has to be read whole."""
    if found.size <= end.size or found.beginning != end.digest or not _has_lines(file, table):
        return None
    local = file.local.with_name(f"{file.local.name}.appended")
    with file.local.open("rb") as whole:
        lines = _lines(whole, end.size)
        whole.seek(end.size - 1)
        # a last line without an end is complete if one follows now
        has_end = whole.read(1) == b"\n" or whole.readline() in (b"\n", b"\r\n")
        rest = whole.tell()
        if lines is None or not has_end:
            return None
        header = _header_lines(file.local, table)
        with local.open("wb") as out:
            whole.seek(0)
            mark = whole.read(len(codecs.BOM_UTF8))
            out.write(mark if mark == codecs.BOM_UTF8 and not header else b"")
            whole.seek(0)
            out.writelines(islice(whole, header))
            whole.seek(rest)
            shutil.copyfileobj(whole, out)
    return replace(file, local=local, left_out=lines - header)


def _has_lines(file: Found, table: Table[FilesTable]) -> bool:
    """Whether the file consists of lines, so that what is appended to it has a meaning of its own."""
    load = table.load
    return (
        load.format in FORMATS
        and len(load.delimiter) == 1
        and load.row_terminator is None
        and load.escape is None
        and codecs.lookup(load.encoding).name.startswith(ENCODINGS)
        and Path(file.name).suffix.lower() not in ARCHIVES
    )


def _lines(content: BufferedReader, size: int) -> int | None:
    """How many lines the first bytes hold; None if these are of UTF-16 or UTF-32, or have lone carriage returns."""
    feeds, returns, pairs, last, left = 0, 0, 0, b"\n", size
    if content.read(2) in MARKS:
        return None
    content.seek(0)
    while left and (block := content.read(min(BLOCK_BYTES, left))):
        feeds += block.count(b"\n")
        if b"\r" in block or last == b"\r":
            returns += block.count(b"\r")
            pairs += block.count(b"\r\n") + (last == b"\r" and block[:1] == b"\n")
        last, left = block[-1:], left - len(block)
    return feeds + (last != b"\n") if returns == pairs else None


def _header_lines(path: Path, table: Table[FilesTable]) -> int:
    """How many lines there are before the first record."""
    load = table.load
    if load.format == "jsonl":
        return 0
    if load.format == "lines" or not load.header:
        return load.skip_lines
    quoting: Any = {"quotechar": load.quote} if load.quote else {"quoting": csv.QUOTE_NONE}
    encoding = "utf-8-sig" if codecs.lookup(load.encoding).name == "utf-8" else load.encoding
    with path.open(encoding=encoding, errors="replace", newline="") as text:
        skipped = sum(1 for _ in islice(text, load.skip_lines))
        reader = csv.reader(text, delimiter=load.delimiter, **quoting)
        next(row for row in reader if row)
    return skipped + reader.line_num
