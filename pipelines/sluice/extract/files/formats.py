"""Readers of file formats: each buffers the rows of one file as text, or as JSON records, with their lines."""

from __future__ import annotations

import csv
import io
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime
from datetime import time as clock
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sluice.config.column_names import RECORD
from sluice.config.declaration import FilesTable, Table
from sluice.errors import LoadError, with_hint
from sluice.extract.exact_json import no_key_twice
from sluice.extract.files.common import FileBuffer, Found
from sluice.extract.files.delimited import read_delimited
from sluice.extract.files.excel import unread_cells
from sluice.extract.files.header import file_columns, refuse_undecodable
from sluice.extract.files.plain_csv import ends_lines
from sluice.extract.files.text import BLOCK_BYTES, SMALL_BYTES, occurs
from sluice.extract.row_buffer import numbers, texts

_NO_DELIMITER = b"\x1f"
"""A control character, which no JSON has outside of an escape."""
BATCH_ROWS = 100_000
"""Rows held in memory at a time."""


def _csv(file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]) -> None:
    load = table.load
    if (
        len(load.delimiter) > 1
        or not (load.delimiter + load.quote).isascii()
        or load.row_terminator
        or (load.escape and occurs(file.local, load.escape.encode()))
    ):
        read_delimited(file, table, buffer, loaded_before)
        return
    quoting: dict[str, Any] = {"quotechar": load.quote} if load.quote else {"quoting": csv.QUOTE_NONE}
    with file.local.open(encoding="utf-8", newline="") as text:
        skipped = sum(1 for _ in islice(text, load.skip_lines))
        reader = csv.reader(text, delimiter=load.delimiter, **quoting)
        first = next((row for row in reader if len(row) > 1 or "".join(row).strip()), None)
        header_lines = reader.line_num
    if load.header:
        refuse_undecodable(file, table, buffer, skipped + 1, skipped + max(header_lines, 1))
    if first is None:
        if skipped < load.skip_lines and file.local.read_bytes().strip():
            raise LoadError(
                f"{table.qualified}: {file.name} has {skipped} line(s), of which skip_lines leaves out "
                f"{load.skip_lines}; nothing was loaded"
            )
        return
    names = file_columns(first, file, table, buffer, loaded_before)
    skip = load.skip_lines + (header_lines if load.header else 0)
    lines: Sequence[int] | None = _plain_lines(file.local, skip, load.quote)
    if lines is not None:
        with suppress(pa.ArrowInvalid):
            if _buffer_csv(file, table, buffer, names, skip, lines):
                return
        buffer.take_back(file)
    # quotes, blank or malformed lines: a slow, strict reader finds where each record begins
    _blank_malformed(file, table, skip, names, quoting, buffer)
    lines = _records(file, table, skip, quoting)
    try:
        is_whole = _buffer_csv(file, table, buffer, names, skip, lines)
    except pa.ArrowInvalid as error:
        raise LoadError(
            f"{table.qualified}: {file.name} cannot be read as CSV: {error}; nothing was loaded"
        ) from None
    if not is_whole:
        raise LoadError(
            f"{table.qualified}: {file.name}: two readers disagree on the number of records; one finds {len(lines)}"
        )


def _buffer_csv(
    file: Found,
    table: Table[FilesTable],
    buffer: FileBuffer,
    names: Sequence[str],
    skip: int,
    lines: Sequence[int],
) -> bool:
    """Buffer the records after the header, the first of which is on the first of `lines`; whether there are as many."""
    from pyarrow import csv as arrow_csv

    load = table.load
    if not lines:
        return True
    done = 0
    for batch in arrow_csv.open_csv(
        file.local,
        arrow_csv.ReadOptions(block_size=BLOCK_BYTES, skip_rows=skip, column_names=names),
        arrow_csv.ParseOptions(
            delimiter=load.delimiter,
            quote_char=load.quote or False,
            newlines_in_values=not isinstance(lines, range),
        ),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=load.nulls,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    ):
        stand_on = lines[done : done + batch.num_rows]
        if len(stand_on) < batch.num_rows:
            return False
        buffer.write(file, dict(zip(names, batch.columns, strict=True)), stand_on)
        done += batch.num_rows
    return done == len(lines)


def _plain_lines(path: Path, skip: int, quote: str) -> range | None:
    """The lines after those skipped; None where quotes or odd line ends make it unclear what a record is."""
    newlines, last = 0, b"\n"
    with path.open("rb") as data:
        while block := data.read(BLOCK_BYTES):
            if quote and quote.encode() in block:
                return None
            if (last == b"\r" or b"\r" in block) and not ends_lines(block, last):
                return None
            newlines += block.count(b"\n")
            last = block[-1:]
    return range(skip + 1, newlines + (last != b"\n") + 1) if last != b"\r" else None


def _records(file: Found, table: Table[FilesTable], skip: int, quoting: dict[str, Any]) -> Sequence[int]:
    """The line each record begins on."""
    csv.field_size_limit(BLOCK_BYTES)
    found = array("q")
    with file.local.open(encoding="utf-8", newline="") as text:
        for _ in range(skip):
            next(text)
        reader = csv.reader(text, delimiter=table.load.delimiter, **quoting)
        before = 0
        for row in reader:
            if row:
                found.append(skip + before + 1)
            before = reader.line_num
    return found


def _blank_malformed(
    file: Found,
    table: Table[FilesTable],
    skip: int,
    names: Sequence[str],
    quoting: dict[str, Any],
    buffer: FileBuffer,
) -> bool:
    """Read strictly, and blank the lines that are malformed or open a quote that is not closed; whether there were any.

    Arrow's reader, which is fast, takes whatever follows such a quote into the field.
    """
    csv.field_size_limit(BLOCK_BYTES)
    with file.local.open(encoding="utf-8", newline="") as text:
        lines = text.readlines()
    malformed = False
    start = skip
    while start < len(lines):
        reader = csv.reader(lines[start:], delimiter=table.load.delimiter, strict=True, **quoting)
        before = 0
        bad: tuple[int, str] | None = None
        try:
            for row in reader:
                if row and len(row) != len(names):
                    bad = (reader.line_num, f"{len(row)} fields instead of {len(names)}")
                    break
                before = reader.line_num
        except csv.Error as error:  # only the line on which the record begins: what follows may be good
            bad = (before + 1, str(error))
        if bad is None:
            break
        begin, end = start + before, start + bad[0]
        buffer.reject(file, begin + 1, bad[1], "".join(lines[begin:end]).rstrip("\r\n"))
        lines[begin:end] = ["\n"] * (end - begin)
        start, malformed = end, True
    if malformed:
        blanked = file.local.with_name(file.local.name + ".blanked")
        with blanked.open("w", encoding="utf-8", newline="") as out:
            out.writelines(lines)
        blanked.replace(file.local)  # not in place: its content may still be added up
    return malformed


def _jsonl(file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]) -> None:
    done = 0
    for lines in _split(file.local):
        places: range | pa.Int64Array = range(done + 1, done + 1 + len(lines))
        done += len(lines)
        blank = pc.or_(pc.ascii_is_space(lines), pc.equal(pc.binary_length(lines), 0))
        if pc.any(blank).as_py():
            filled = pc.invert(blank)
            lines, places = lines.filter(filled), numbers(places).filter(filled)
        if len(lines):
            buffer.write(file, {RECORD: lines}, places)


def _split(path: Path) -> Iterator[pa.StringArray]:
    """The lines of a text, without their ends.

    Arrow's reader of CSV splits them six times as fast as Python, given a delimiter that does not occur. It takes a
    carriage return for an end, too, and no line longer than a block; then Python takes over, as for a small file.
    """
    from pyarrow import csv as arrow_csv

    done = 0
    if path.stat().st_size > SMALL_BYTES and not occurs(path, b"\r", _NO_DELIMITER):
        try:
            for batch in arrow_csv.open_csv(
                path,
                arrow_csv.ReadOptions(block_size=BLOCK_BYTES, column_names=["line"]),
                arrow_csv.ParseOptions(
                    delimiter=_NO_DELIMITER.decode(), quote_char=False, ignore_empty_lines=False
                ),
                arrow_csv.ConvertOptions(column_types={"line": pa.string()}, check_utf8=False),
            ):
                done += batch.num_rows
                yield batch.column(0)
            return
        except pa.ArrowInvalid:
            pass
    with path.open("rb") as data:
        lines = islice(data, done, None)
        while batch := [line.rstrip(b"\r\n") for line in islice(lines, BATCH_ROWS)]:
            yield texts(batch)


def _json(file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]) -> None:
    import orjson

    if not (content := file.local.read_bytes()).strip():
        return
    try:  # numbers stay texts: a double cannot hold all of their digits
        value: Any = json.loads(
            content,
            parse_float=lambda number: orjson.Fragment(number.encode()),
            parse_int=lambda number: orjson.Fragment(number.encode()),
            parse_constant=lambda number: orjson.Fragment(number.encode()),
            object_pairs_hook=no_key_twice,
        )
    except RecursionError:
        raise LoadError(
            f"{table.qualified}: {file.name} cannot be read as JSON: it is nested too deeply; nothing was loaded"
        ) from None
    except ValueError as error:
        hint = ". If each line is a record, declare format: jsonl" if "Extra data" in str(error) else ""
        raise LoadError(
            f"{table.qualified}: {file.name} cannot be read as JSON: {error}; nothing was loaded{hint}"
        ) from None
    keys = f"; it has {', '.join(map(repr, list(value)[:10]))}" if value and isinstance(value, dict) else ""
    for key in filter(None, (table.load.records or "").split(".")):
        value = value.get(key) if isinstance(value, dict) else None
    records = [value] if isinstance(value, dict) else value
    if not isinstance(records, list):
        where = f"at {table.load.records!r}{keys}" if table.load.records else "in it"
        raise LoadError(f"{table.qualified}: {file.name} has no list of records {where}; nothing was loaded")
    try:
        texts = [orjson.dumps(record).decode() for record in records]
    except TypeError as error:  # half of a character, written as an escape
        raise LoadError(
            f"{table.qualified}: {file.name} has a text that is not valid: {error}; nothing was loaded. Fix the file"
        ) from None
    if texts:
        buffer.write(file, {RECORD: pa.array(texts, pa.string())}, range(1, len(texts) + 1))


def _lines(file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]) -> None:
    pattern = re.compile(table.load.pattern or "")
    nulls = set(table.load.nulls)
    for places, lines in _text_batches(file.local, table.load.skip_lines):
        values: dict[str, list[str | None]] = {group: [] for group in pattern.groupindex}
        matched = []
        for number, line in zip(places, lines, strict=True):
            match = pattern.fullmatch(line)
            if match is None:
                buffer.reject(file, number, "does not match the pattern", line)
                continue
            matched.append(number)
            for group, text in match.groupdict().items():
                values[group].append(None if text in nulls else text)
        buffer.write(file, {g: pa.array(v, pa.string()) for g, v in values.items()}, matched)


def _text_batches(path: Path, skip: int) -> Iterator[tuple[list[int], list[str]]]:
    """Lines that are not blank, without their ends, with their numbers, some at a time."""
    with path.open(encoding="utf-8", newline="\n") as text:
        numbered = enumerate(text, 1)
        while batch := list(islice(numbered, BATCH_ROWS)):
            kept = [(n, line.rstrip("\r\n")) for n, line in batch if n > skip and line.strip()]
            if kept:
                yield [n for n, _ in kept], [line for _, line in kept]


def _excel(file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]) -> None:
    load = table.load
    sheet = _sheet(file, table, buffer)
    rows = list(enumerate(sheet.to_python(skip_empty_area=False), 1))
    unread: dict[int, dict[int, str]] = {}
    for reference, what in unread_cells(file.local, sheet.name).items():
        line, column = _cell(reference) if reference else (0, 0)
        unread.setdefault(line + 1, {})[column] = f"{reference} {what}"
    offset = 0
    if load.range:
        first, last = (_cell(corner) for corner in load.range.split(":"))
        offset = first[1]
        rows = [(n, row[first[1] : last[1] + 1]) for n, row in rows if first[0] <= n - 1 <= last[0]]
    rows = [(n, row) for n, row in rows[load.skip_lines :] if any(cell != "" for cell in row)]
    if not rows:
        return
    header = [_cell_text(cell, ".") or "" for cell in rows[0][1]]
    if load.header:
        while header and header[-1] == "":
            header.pop()
        rows = rows[1:]
    names = file_columns(header, file, table, buffer, loaded_before)
    nulls = set(load.nulls)
    for number, cells in rows:
        if bad := [
            what for column, what in unread.get(number, {}).items() if 0 <= column - offset < len(names)
        ]:
            kept = dict(zip(names, (_cell_text(cell, load.decimal) for cell in cells), strict=False))
            buffer.reject(file, number, "; ".join(bad), json.dumps(kept, ensure_ascii=False))
            unread[number] = {-1: ""}
    rows = [(number, cells) for number, cells in rows if -1 not in unread.get(number, {})]
    texts = [[_cell_text(cell, load.decimal) for cell in row] for _, row in rows]
    for (number, _), row in zip(rows, texts, strict=True):
        if any(row[len(names) :]):
            raise LoadError(
                f"{table.qualified}: {file.name} row {number} has a value beyond the last named column"
            )
    columns = {
        name: pa.array([None if row[i] in nulls else row[i] for row in texts], pa.string())
        for i, name in enumerate(names)
    }
    if rows:
        buffer.write(file, columns, [number for number, _ in rows])


def _sheet(file: Found, table: Table[FilesTable], buffer: FileBuffer) -> Any:
    """The declared sheet of an Excel file, or its first; raises LoadError where that is not the one to read."""
    import python_calamine

    visible, chart = python_calamine.SheetVisibleEnum.Visible, python_calamine.SheetTypeEnum.ChartSheet

    where, wanted = f"{table.qualified}: {file.name}", table.load.sheet
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(file.local.read_bytes()))
    except python_calamine.CalamineError as error:
        raise LoadError(f"{where} cannot be read as Excel: {error}; nothing was loaded") from None
    if wanted and wanted not in book.sheet_names:
        message = f"{where} has no sheet {wanted!r}; it has {', '.join(map(repr, book.sheet_names))}"
        raise LoadError(with_hint(message, wanted, book.sheet_names))
    names = [meta.name for meta in book.sheets_metadata if meta.typ != chart]
    sheet = book.get_sheet_by_name(wanted or names[0])
    others = [name for name in names if name != sheet.name]
    hidden = [meta.name for meta in book.sheets_metadata if meta.visible != visible]
    if hidden:
        unread = ", ".join(repr(name) for name in hidden if name != sheet.name)
        buffer.note(
            f"{where}: the sheet {sheet.name!r} was read{', which is hidden' if sheet.name in hidden else ''}"
            + (f"; not read, and hidden: {unread}" if unread else "")
        )
    if not wanted and not sheet.height and (full := [n for n in others if book.get_sheet_by_name(n).height]):
        raise LoadError(
            f"{where}: the sheet {sheet.name!r} has no rows, but {', '.join(map(repr, full))} has; nothing was loaded. "
            "Name the one to read with `sheet`"
        )
    return sheet


def _cell(reference: str) -> tuple[int, int]:
    """`C7` as (row, column), both from 0."""
    letters = "".join(c for c in reference.upper() if c.isalpha())
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - ord("A") + 1
    return int(reference[len(letters) :]) - 1, column - 1


def _cell_text(cell: Any, decimal_mark: str) -> str | None:
    """A typed cell as text: numbers without a needless fraction, dates in ISO form, empty as no value."""
    if cell == "" or cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        text = format(Decimal(repr(cell)), "f")
        text = str(int(Decimal(text))) if cell.is_integer() else text
        return text.replace(".", decimal_mark)
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    if isinstance(cell, date | clock):
        return cell.isoformat()
    return str(cell)


READERS = {"csv": _csv, "jsonl": _jsonl, "json": _json, "lines": _lines, "excel": _excel}
