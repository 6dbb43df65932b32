"""Large CSV files without quotes, blank lines or odd line ends: DuckDB reads them by itself, in a third of the time.

In such a file each line is a record, so that the number of a record is its line. DuckDB takes more for CSV, and for
UTF-8, than the strict reader does: where it stops, or finds more or fewer records than there are lines, that one reads
the file.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from itertools import islice

from sluice.config.column_names import FILE, LINE
from sluice.config.declaration import FilesTable, Table
from sluice.extract.files.common import FileBuffer, Found
from sluice.extract.files.header import file_columns
from sluice.extract.files.text import READ_BYTES, codec_of
from sluice.sql import listed, literal

LARGE_BYTES = 16 * 2**20
"""Smaller files are buffered together."""
LONGEST_HEADER = 2**20
"""Bytes in which the first record ends."""


def left_to_duckdb(
    file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]
) -> bool:
    """Whether DuckDB can read the file by itself; then the buffer has the SELECT for it."""
    load = table.load
    if (
        load.format != "csv"
        or file.local.stat().st_size < LARGE_BYTES
        or len(load.delimiter.encode()) > 1
        or load.row_terminator
        or load.escape
        or not load.nulls
        or any(load.delimiter in text for text in load.nulls)
        or codec_of(file.local, load.encoding) != "utf-8"
        or (counted := _lines(file, load)) is None
        or (begun := _first_record(file, load)) is None
    ):
        return False
    (lines, delimiters), (first, skip, delimiters_before) = counted, begun
    # DuckDB passes over blank lines, and over an empty field too many at the end of a line
    if lines == skip or delimiters - delimiters_before != (lines - skip) * (len(first) - 1):
        return False
    names = file_columns(first, file, table, buffer, loaded_before)
    buffer.leave_to_duckdb(file, _select(file, load, names, skip), range(skip + 1, lines + 1))
    return True


def _lines(file: Found, load: FilesTable) -> tuple[int, int] | None:
    """How many lines and delimiters a file has; None where it is unclear what a record is."""
    unclear = [sign for sign in (load.quote.encode(), b"\0") if sign]
    delimiter, newlines, delimiters, last = load.delimiter.encode(), 0, 0, b"\n"
    with file.local.open("rb") as data:
        data.seek(-3, os.SEEK_END)
        if data.read().endswith((b"\n\n", b"\n\r\n")):  # blank lines elsewhere are rare
            return None
        data.seek(0)
        while block := data.read(READ_BYTES):
            if any(sign in block for sign in unclear):
                return None
            if (last == b"\r" or b"\r" in block) and not ends_lines(block, last):
                return None
            newlines += block.count(b"\n")
            delimiters += block.count(delimiter)
            last = block[-1:]
    return (newlines + (last != b"\n"), delimiters) if last != b"\r" else None


def ends_lines(block: bytes, before: bytes) -> bool:
    """Whether every carriage return stands before a line feed; one at the end of the block may.

    `before`: the last byte of the block before.
    """
    if before == b"\r" and not block.startswith(b"\n"):
        return False
    return block.count(b"\r") - block.endswith(b"\r") == block.count(b"\r\n")


def _first_record(file: Found, load: FilesTable) -> tuple[list[str], int, int] | None:
    """The fields of the first record, the lines before the first row, and the delimiters in those.

    None if it is not among the first lines.
    """
    with file.local.open("rb") as data:
        start = data.read(LONGEST_HEADER)
    try:
        lines = start[: start.rfind(b"\n") + 1].decode().split("\n")[:-1]
    except UnicodeDecodeError:
        return None
    for number, line in islice(enumerate(lines, 1), load.skip_lines, None):
        for first in csv.reader([line], delimiter=load.delimiter, quoting=csv.QUOTE_NONE):
            if len(first) > 1 or "".join(first).strip():
                skip = number if load.header else load.skip_lines
                return first, skip, sum(line.count(load.delimiter) for line in lines[:skip])
    return None


def _select(file: Found, load: FilesTable, names: Sequence[str], skip: int) -> str:
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    return (
        f"select {literal(file.name)} as {FILE}, row_number() over () + {skip + (file.left_out or 0)} as {LINE}, *"
        f" from read_csv({literal(file.local)}, auto_detect = false, header = false, skip = {skip},"
        f" delim = {literal(load.delimiter)}, quote = '', escape = '', columns = {{{columns}}},"
        f" nullstr = [{listed(load.nulls)}])"
    )
