"""CSV whose delimiter or line end is of several characters, or that escapes: what no reader at hand tells line by line.

A record is split at the delimiter at once, unless a quote or an escape is in it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from sluice.config.declaration import FilesTable, Table
from sluice.errors import LoadError
from sluice.extract.files.common import FileBuffer, Found
from sluice.extract.files.header import file_columns, refuse_undecodable
from sluice.extract.files.text import occurs
from sluice.extract.row_buffer import numbers

BATCH_ROWS = 100_000
"""Rows held in memory at a time."""
BLOCK_CHARACTERS = 16 * 2**20
"""Characters read at a time; a longer record is an error."""
_LINE_END = re.compile(r"\r\n|\n|\r")


class _Verbatim(str):
    """A field that was quoted or escaped: it stands for no null, whatever it says."""

    __slots__ = ()


class _MoreError(Exception):
    """The record may continue beyond the text at hand."""


class _MalformedError(Exception):
    """The record cannot be read; the message says why."""


def read_delimited(
    file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]
) -> None:
    """Buffer the rows of a file; malformed records are rejected. Raises LoadError for a header that does not fit.

    Lines are counted by the line end that is declared.
    """
    load = table.load
    names: list[str] = []
    rows: list[tuple[int, list[str | None]]] = []
    records = _Records(table)
    for line, text, fields in records.read(file, load.skip_lines):
        if not names:
            if load.header:
                refuse_undecodable(file, table, buffer, load.skip_lines + 1, line)
            if not text.strip():
                continue
            if isinstance(fields, str):
                raise LoadError(f"{table.qualified}: {file.name} line {line}: {fields}; nothing was loaded")
            names = file_columns([field or "" for field in fields], file, table, buffer, loaded_before)
            if records.is_plain(file):
                _read_plain(
                    records.plain(file, line if load.header else line - 1), names, file, table, buffer
                )
                return
            if load.header:
                continue
        if isinstance(fields, str):
            buffer.reject(file, line, fields, text)
        elif len(fields) != len(names):
            buffer.reject(file, line, f"{len(fields)} fields instead of {len(names)}", text)
        else:
            rows.append((line, fields))
        if len(rows) == BATCH_ROWS:
            _write(rows, names, file, table, buffer)
            rows = []
    if rows:
        _write(rows, names, file, table, buffer)
    if not names and load.header:
        refuse_undecodable(file, table, buffer, load.skip_lines + 1, sys.maxsize)


def _read_plain(
    batches: Iterable[tuple[int, pa.StringArray]],
    names: Sequence[str],
    file: Found,
    table: Table[FilesTable],
    buffer: FileBuffer,
) -> None:
    """As `read_delimited`, of records in which nothing is quoted or escaped: Arrow splits them."""
    nulls = pa.array(table.load.nulls, pa.string())
    for line, records in batches:
        lines = numbers(range(line, line + len(records)))
        fields = pc.split_pattern(records, table.load.delimiter)
        counts = pc.list_value_length(fields)
        is_filled, fits = pc.not_equal(records, ""), pc.equal(counts, len(names))
        if not pc.all(fits).as_py():
            bad = [
                array.filter(pc.and_not(is_filled, fits)).to_pylist() for array in (lines, counts, records)
            ]
            for number, count, text in zip(*bad, strict=True):
                buffer.reject(file, number, f"{count} fields instead of {len(names)}", text)
        is_good = pc.and_(is_filled, fits)
        fields, lines = fields.filter(is_good), lines.filter(is_good)
        if not len(fields):
            continue
        columns = {name: pc.list_element(fields, place) for place, name in enumerate(names)}
        buffer.write(
            file,
            {name: pc.if_else(pc.is_in(c, nulls), None, c) for name, c in columns.items()},
            lines,
        )


def _write(
    rows: Sequence[tuple[int, Sequence[str | None]]],
    names: Sequence[str],
    file: Found,
    table: Table[FilesTable],
    buffer: FileBuffer,
) -> None:
    nulls = set(table.load.nulls)
    columns = {
        name: pa.array([None if type(v) is str and v in nulls else v for v in values], pa.string())
        for name, values in zip(names, zip(*(fields for _, fields in rows), strict=True), strict=True)
    }
    buffer.write(file, columns, [line for line, _ in rows])


class _Records:
    """Splits a text into records and fields."""

    def __init__(self, table: Table[FilesTable]) -> None:
        load, self._table = table.load, table.qualified
        self._delimiter, self._terminator, self._quote = load.delimiter, load.row_terminator, load.quote
        self._escape = "" if load.escape == load.quote else load.escape or ""
        self._nulls = set(load.nulls)
        self._longest = len(self._delimiter) + 2 * len(self._terminator or "") + 4
        """More characters than any sign between fields has: what is that near to the end may be a part of one."""
        quote, escape = re.escape(self._quote), re.escape(self._escape)
        self._quoted = re.compile(
            f"{quote}((?:[^{quote}{escape}]++{f'|{escape}.' if escape else ''}|{quote}{quote})*+){quote}"
            if quote
            else "",
            re.DOTALL,
        )
        self._doubled = re.compile(f"{quote}({quote})" + (f"|{escape}(.)" if escape else ""), re.DOTALL)
        self._escaped = re.compile(f"{escape}(.)", re.DOTALL)
        self._end_with(_pattern(self._terminator))

    def _end_with(self, end: str) -> None:
        self._end = re.compile(end)
        self._separator = re.compile(f"(?P<end>{end})|{re.escape(self._delimiter)}")
        escaped = f"(?P<escaped>{re.escape(self._escape)}.)|" if self._escape else ""
        self._next = re.compile(escaped + self._separator.pattern, re.DOTALL)

    def read(self, file: Found, skip: int) -> Iterator[tuple[int, str, list[str | None] | str]]:
        """The line, the text and the fields of each record that is not blank; instead of fields, what is wrong.

        `skip`: number of lines to pass over.
        """
        with file.local.open(encoding="utf-8", newline="") as source:
            text = source.read(BLOCK_CHARACTERS)
            first = self._end.search(text)
            if self._terminator and first and _LINE_END.match(text, first.end()):
                # a line break after the first declared line end belongs to each of them
                self._end_with(f"(?:{_pattern(self._terminator)})(?:{_LINE_END.pattern})?")
            at, line, is_all = 0, 1, False
            while not is_all or at < len(text):
                try:
                    end, fields, after = self._record(text, at, is_all, is_passed=line <= skip)
                except _MoreError:
                    if len(text) - at > 2 * BLOCK_CHARACTERS:
                        raise LoadError(
                            f"{self._table}: {file.name} line {line}: has more than {BLOCK_CHARACTERS} characters "
                            "without a line end; nothing was loaded"
                        ) from None
                    more = source.read(BLOCK_CHARACTERS)
                    text, at, is_all = text[at:] + more, 0, not more
                    continue
                record = text[at:end]
                is_last = is_all and after == len(text)
                if line > skip and (record.strip("\r\n") if is_last else record):
                    yield line, record, fields
                line += max(len(self._end.findall(text, at, after)), 1)
                at = after

    def is_plain(self, file: Found) -> bool:
        """Whether nothing in a file can be quoted or escaped."""
        return not occurs(file.local, *(sign.encode() for sign in (self._quote, self._escape) if sign))

    def plain(self, file: Found, skip: int) -> Iterator[tuple[int, pa.StringArray]]:
        """Records behind the first `skip` lines of a plain file, some at a time, with the line of the first."""
        signs = (*(self._terminator or "\n"), "\r", "\n")
        with file.local.open(encoding="utf-8", newline="") as source:
            text, line, is_all = "", 1, False
            while not is_all:
                block = source.read(BLOCK_CHARACTERS)
                text, is_all = text + block, not block
                while text.endswith(signs) and (more := source.read(1)):  # a line end may be cut in two
                    text += more
                records = pc.split_pattern_regex(pa.array([text]), self._end.pattern)[0].values
                text = records[-1].as_py()
                if len(text) > 2 * BLOCK_CHARACTERS:
                    raise LoadError(
                        f"{self._table}: {file.name} line {line + len(records) - 1}: has more than {BLOCK_CHARACTERS} "
                        "characters without a line end; nothing was loaded"
                    )
                records = records[: len(records) - (not is_all or not text.strip("\r\n"))]
                passed = max(skip + 1 - line, 0)
                if records[passed:]:
                    yield line + passed, records[passed:]
                line += len(records)

    def _record(
        self, text: str, at: int, is_all: bool, *, is_passed: bool
    ) -> tuple[int, list[str | None] | str, int]:
        """Where the record at `at` ends, its fields or what is wrong, and where the next begins.

        Raises _MoreError where that may depend on text that is not at hand.
        """
        found = self._end.search(text, at)
        end, after = found.span() if found else (len(text), len(text))
        if not is_all and after + self._longest > len(text):
            raise _MoreError
        record = text[at:end]
        if is_passed:
            return end, [], after
        if not any(sign and sign in record for sign in (self._quote, self._escape)):
            return end, list(record.split(self._delimiter)), after
        try:
            return self._fields(text, at, is_all)
        except _MalformedError as error:  # only the line on which it begins: what follows may be good
            return end, str(error), after

    def _fields(self, text: str, at: int, is_all: bool) -> tuple[int, list[str | None], int]:
        """As `_record`, of a record with quotes or escapes; raises _MalformedError."""
        begin, fields = at, []
        while True:
            is_quoted = bool(self._quote) and text.startswith(self._quote, at)
            field, at = self._quoted_field(text, at) if is_quoted else self._plain_field(text, at)
            if not is_all and at + self._longest > len(text):
                if is_quoted and len(text) - begin > 2 * BLOCK_CHARACTERS:
                    raise _MalformedError(f"a quote is not closed within {BLOCK_CHARACTERS} characters")
                raise _MoreError
            if is_quoted and field is None:
                raise _MalformedError("unexpected end of data")
            fields.append(field)
            if at == len(text):
                return at, fields, at
            separator = self._separator.match(text, at)
            if separator is None:
                raise _MalformedError(f"{self._delimiter!r} expected after {self._quote!r}")
            if separator["end"] is not None:
                return at, fields, separator.end()
            at = separator.end()

    def _quoted_field(self, text: str, at: int) -> tuple[str | None, int]:
        """The field and where it ends; None and the end of the text where its quote is not closed."""
        found = self._quoted.match(text, at)
        if found is None:
            return None, len(text)
        return _Verbatim(self._doubled.sub(lambda match: match[match.lastindex or 0], found[1])), found.end()

    def _plain_field(self, text: str, at: int) -> tuple[str | None, int]:
        """The field and where it ends."""
        ends = (m.start() for m in self._next.finditer(text, at) if not (self._escape and m["escaped"]))
        end = next(ends, len(text))
        field = text[at:end]
        if not self._escape or self._escape not in field:
            return field, end
        return None if field in self._nulls else _Verbatim(self._escaped.sub(r"\1", field)), end


def _pattern(terminator: str | None) -> str:
    """The pattern of a line end; a line feed may have a carriage return before it."""
    if terminator is None:
        return _LINE_END.pattern
    return "".join(
        r"\r?\n" if sign == "\n" and before != "\r" else re.escape(sign)
        for before, sign in pairwise(f" {terminator}")
    )
