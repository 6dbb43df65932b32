"""How a text file is written: encoding, delimiter, quote, header, lines before it; the forms of logs; lists in JSON."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import zstandard

from sluice.discover.file_groups import COMPRESSED
from sluice.extract.files.text import codec_of

SAMPLE_BYTES = 2**20
"""Beginning of a file by which its dialect is found; all of its rows are read with it afterwards."""
LOOK_RECORDS = 400
LIKELY_CSV = 0.9
"""A text without the ending of CSV is CSV if more than this share of its lines have the same number of fields."""
DELIMITERS = (";", "\t", "|", ",", "\x1f", "\x01", "~", "^")
BLOCK_BYTES = 2**20
ASCII, MARKED = "only ASCII", "by its byte order mark"
"""Why a file has an encoding, where it says nothing of others."""
UNUSUAL = re.compile(
    rb"[\x81\x83\x86-\x88\x8b\x8d\x8f\x90\x98\x9b\x9d\xa4\xa6\xac\xad\xaf\xb6\xb8\xd0\xde\xf0\xfe]"
    rb"|(?<=[A-Za-z])[\x82\x84\x85\x89\x91\x93-\x97\x99](?=[a-z])"
)
"""Bytes that texts in windows-1252 rarely have: gaps, old signs, and quotes and dashes within a word."""
NUMBER_OR_DATE = re.compile(r" *[-+]?[\d.,:/ -]*\d[\d.,:/ -]*([tT][\d:.]+)?([zZ]|[+-][\d:]+)?[%]? *")
IDENTIFIER = re.compile(r" *[^\W\d][\w .()/#%&+@€$£-]{0,60} *")

LOG_FORMS = {
    "combined log of a web server": (
        r'(?P<host>\S+) (?P<identity>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)"'
        r' (?P<status>\d{3}) (?P<bytes>\d+|-) "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<user_agent>(?:[^"\\]|\\.)*)"'
    ),
    "common log of a web server": (
        r'(?P<host>\S+) (?P<identity>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)"'
        r" (?P<status>\d{3}) (?P<bytes>\d+|-)"
    ),
    "syslog (RFC 5424)": (
        r"<(?P<priority>\d+)>(?P<version>\d+) (?P<time>\S+) (?P<host>\S+) (?P<application>\S+) (?P<process>\S+)"
        r" (?P<message_id>\S+) (?P<structured_data>-|\[.*?\])(?: (?P<message>.*))?"
    ),
    "syslog": (
        r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?P<host>\S+) (?P<application>[^:\[]+?)"
        r"(?:\[(?P<process>\d+)\])?: ?(?P<message>.*)"
    ),
    "time, level, message": (
        r"\[?(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)\]?[ \t|:-]+"
        r"\[?(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\]?[ \t|:-]+(?P<message>.*)"
    ),
    "time, message": (
        r"\[?(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)\]?[ \t|:-]+(?P<message>.*)"
    ),
}
"""Patterns of lines that many programs write, each with what it is called; the first that fits is taken."""
NAME_COLUMNS = "what are the columns called? Rename them in this file, in order"
ANY_LINE = r"(?P<line>.*)"


@dataclass
class Dialect:
    """Keys of the declaration, with the reason of each, for files that are written alike."""

    keys: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    header: tuple[str, ...] = ()
    """Names in the header, or `column_1` and so on without one."""


def opened(path: Path) -> IO[bytes]:
    """A file to read, decompressed by its ending."""
    ways: dict[str, Any] = {".gz": gzip.open, ".zst": zstandard.open}
    source: IO[bytes] = ways.get(path.suffix.lower(), open)(path, "rb")
    return source


def encoding_of_all(paths: Iterable[Path]) -> tuple[str, str, str | None]:
    """The encoding that some texts share, why, and a question if that is not certain; all of their bytes are read."""
    found = [encoding_of(path) for path in paths]
    telling = [one for one in found if one[1] not in (ASCII, MARKED)]
    if not telling:
        return found[0] if found else ("utf-8", ASCII, None)
    counted = Counter(one[0] for one in telling)
    (most, _), *others = counted.most_common()
    encoding, why, question = next(one for one in telling if one[0] == most)
    if others:
        named = ", ".join(f"{count} in {name}" for name, count in counted.most_common())
        question = f"the files are in different encodings ({named}), of which a table has one: can they be sent in one?"
    return encoding, why, question


def encoding_of(path: Path) -> tuple[str, str, str | None]:
    """The encoding of a whole text file, why, and a question if that is not certain."""
    is_plain = path.suffix.lower() not in COMPRESSED
    marked = codec_of(path, "ascii") if is_plain else "ascii"
    if marked != "ascii":
        return marked.removesuffix("-sig"), MARKED, None
    with opened(path) as data:
        head = data.read(4096)
    if is_plain and head[:2000].count(0) > len(head[:2000]) / 4:
        codec = codec_of(path, "utf-16")
        return codec, "every other byte is zero, and there is no byte order mark", None
    others: Counter[int] = Counter()
    is_utf8, is_usual, rest = True, True, b""
    with opened(path) as data:
        while block := data.read(BLOCK_BYTES):
            if not block.isascii():
                others.update(byte for byte in block if byte > 127)
                is_usual = is_usual and not UNUSUAL.search(block)
            if is_utf8:
                rest, is_utf8 = _decoded(rest + block)
    if is_utf8 and not rest:
        return "utf-8", "valid UTF-8" if others else ASCII, None
    shown = "".join(bytes([byte]).decode("windows-1252", "ignore") for byte, _ in others.most_common(8))
    if is_usual:
        return "windows-1252", f"not valid UTF-8; as windows-1252 the other characters are {shown}", None
    question = (
        "which encoding are the files in? They are not UTF-8, and as windows-1252 they have unusual characters: "
        f"{shown}; others are cp850, cp1250, cp1251, mac-roman"
    )
    return _without_gaps(others), "not valid UTF-8", question


def _without_gaps(others: Counter[int]) -> str:
    """windows-1252, or an encoding that has a character for every byte."""
    try:
        bytes(others).decode("windows-1252")
    except UnicodeDecodeError:
        return "cp850"
    return "windows-1252"


def _decoded(block: bytes) -> tuple[bytes, bool]:
    """The bytes at the end that may begin a character, and whether those before are UTF-8."""
    try:
        block.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(block) - error.start < 4:
            return block[error.start :], True
        return b"", False
    return b"", True


def beginning(path: Path, encoding: str) -> str:
    """The text of the first lines of a file."""
    with path.open("rb") as data:
        block = data.read(SAMPLE_BYTES)
        is_all = not data.read(1)
    text = block.decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")
    if is_all:
        return text
    return text[: text.rfind("\n") + 1] or text


def text_format(path: Path, encoding: str) -> str:
    """What a text of no certain ending is: jsonl, json, csv or lines."""
    text = beginning(path, encoding).lstrip()
    if text[:1] in "{[" and text:
        return json_format(text)
    if any(_fits_form(form, text) for form in LOG_FORMS.values()):
        return "lines"
    best = _best_split(text)
    return "csv" if best and best.share > LIKELY_CSV and len(best.records) > 1 else "lines"


def json_format(text: str) -> str:
    """json, or jsonl where each line is a record."""
    lines = [line for line in islice(text.splitlines(), LOOK_RECORDS) if line.strip()]
    if len(lines) > 1 and all(_is_object(line) for line in lines[:20]):
        return "jsonl"
    return "json"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def log_form(texts: Sequence[str]) -> tuple[str, str]:
    """The pattern that all first lines of the files fit, and what it is called."""
    for name, pattern in LOG_FORMS.items():
        if all(_fits_form(pattern, text) for text in texts):
            return pattern, name
    return ANY_LINE, ""


def _fits_form(pattern: str, text: str) -> bool:
    expression = re.compile(pattern)
    lines = [line for line in islice(text.splitlines(), LOOK_RECORDS) if line.strip()]
    return bool(lines) and all(expression.fullmatch(line) for line in lines)


# -- CSV ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Split:
    """One way to split a text into fields."""

    delimiter: str
    quote: str
    records: list[tuple[int, list[str]]]
    """The line each begins on, from 0, and its fields."""
    width: int
    """The number of fields that most records have."""
    share: float
    """Share of the records that have it."""


def csv_dialect(texts: Sequence[str]) -> Dialect:
    """The dialect that the beginnings of some files share; `delimiter` is missing where nothing separates fields."""
    best = _best_split(texts[0])
    if best is None:
        return _one_column(texts)
    usual = [len(fields) == best.width and not _is_excels_line(fields) for _, fields in best.records]
    start = usual.index(True) if True in usual else 0
    skip = best.records[start][0]
    records = [fields for _, fields in best.records[start:] if len(fields) == best.width]
    keys: dict[str, Any] = {"delimiter": best.delimiter}
    reasons = {
        "delimiter": f"{best.width} fields in {best.share:.0%} of the first {len(best.records)} records"
    }
    if best.quote != '"' and any(best.quote in line for line in texts[0].splitlines()):
        keys["quote"] = best.quote
        reasons["quote"] = "fields with a delimiter stand between them"
    if skip:
        keys["skip_lines"] = skip
        reasons["skip_lines"] = "lines before the table"
    found = Dialect(keys, reasons)
    first_records = [_first_record(text, best, skip) for text in texts]
    _decide_header(found, records, first_records)
    return found


def _best_split(text: str) -> _Split | None:
    """The likeliest way to split a text into more than one field; None if there is none."""
    splits = [split for quote in ('"', "'") for sign in DELIMITERS if (split := _split(text, sign, quote))]
    best = max(splits, key=_score, default=None)
    return best if best and best.width > 1 else None


def _is_excels_line(fields: Sequence[str]) -> bool:
    """Whether this is the line `sep=;`, which names the delimiter for Excel."""
    return fields[0].lower().startswith("sep=") and not any(fields[1:])


def _one_column(texts: Sequence[str]) -> Dialect:
    lines = [[line] for line in texts[0].splitlines() if line.strip()]
    found = Dialect({})
    if lines:
        first = [[next((line for line in text.splitlines() if line.strip()), "")] for text in texts]
        _decide_header(found, lines, first)
    return found


def _split(text: str, delimiter: str, quote: str) -> _Split | None:
    if delimiter not in text:
        return None
    records: list[tuple[int, list[str]]] = []
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, quotechar=quote)
    before = 0
    try:
        for fields in islice(reader, LOOK_RECORDS):
            if any(field.strip() for field in fields):
                records.append((before, fields))
            before = reader.line_num
    except csv.Error:
        return None
    widths = Counter(len(fields) for _, fields in records)
    if not widths:
        return None
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    if width == 1 and len(widths) > 1:  # lines before the table, more than it has rows
        width, count = max(((w, c) for w, c in widths.items() if w > 1), key=lambda item: (item[1], item[0]))
    return _Split(delimiter, quote, records, width, count / len(records))


def _score(split: _Split) -> tuple[Any, ...]:
    """Ways to split, the likelier the larger: alike records, a header of distinct names, more fields, usual quotes."""
    if split.width < 2:
        return (0, 0, 0, 0, 0)
    first = next(fields for _, fields in split.records if len(fields) == split.width)
    stray = sum(
        field.count(other)
        for _, fields in split.records[:50]
        for field in fields
        for other in ('"', "'")
        if other == '"'
    )
    is_header = all(map(IDENTIFIER.fullmatch, first)) and len(set(first)) == len(first)
    is_decimal = split.delimiter == "," and any(re.search(r"\d;", " ".join(f)) for _, f in split.records[:20])
    return (round(split.share, 1), is_header, not is_decimal, not stray, split.width)


def _first_record(text: str, split: _Split, skip: int) -> list[str]:
    lines = text.splitlines(keepends=True)[skip:]
    rows = csv.reader(lines, delimiter=split.delimiter, quotechar=split.quote)
    return next((row for row in rows if any(field.strip() for field in row)), [])


def _decide_header(
    found: Dialect, records: Sequence[Sequence[str]], first_records: Sequence[Sequence[str]]
) -> None:
    """Whether the first record names the columns, with the reason; a question where nothing proves it."""
    first, rest = list(records[0]), records[1:]
    numbered = tuple(f"column_{place}" for place in range(1, len(first) + 1))
    is_shared = len(first_records) > 1 and all(list(other) == first for other in first_records)
    columns = [[row[place] for row in rest if row[place].strip()] for place in range(len(first))]
    named = [bool(value.strip()) and not NUMBER_OR_DATE.fullmatch(value) for value in first]
    numeric = [bool(values) and all(map(NUMBER_OR_DATE.fullmatch, values)) for values in columns]
    found.header = tuple(name.strip() for name in first)
    if is_shared and all(map(IDENTIFIER.fullmatch, filter(None, found.header))):
        found.reasons["header"] = "all files begin with the same names"
    elif any(
        number and not name and first[place].strip()
        for place, (number, name) in enumerate(zip(numeric, named, strict=True))
    ):
        found.keys["header"], found.header = False, numbered
        found.reasons["header"] = "the first line has numbers or dates where the others have them"
        found.questions.append(
            "the files have no header: what are the columns called? Rename them in this file, in order"
        )
    elif any(number and name for number, name in zip(numeric, named, strict=True)):
        found.reasons["header"] = "the first line has names where the others have numbers or dates"
    elif not rest or (all(named) and len(set(first)) == len(first) and not _recurs(first, columns)):
        looks = all(map(IDENTIFIER.fullmatch, first))
        found.reasons["header"] = "the first line has distinct texts that no other line has"
        if not looks or not rest:
            found.questions.append(
                "is the first line a header? Nothing proves it; if not, declare header: false, and the columns in order"
            )
    else:
        found.keys["header"], found.header = False, numbered
        found.reasons["header"] = "values of the first line are among those of other lines"
        found.questions.append(
            "the files seem to have no header: what are the columns called? Rename them in this file, in order"
        )


def _recurs(first: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    return any(value in values for value, values in zip(first, columns, strict=True))


# -- JSON --------------------------------------------------------------------------------------------


def record_paths(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Lists of objects in a document, by their path; those inside of records are not looked for."""
    if isinstance(document, list):
        if document and all(isinstance(record, dict) for record in document):
            yield path, document
    elif isinstance(document, dict) and len(path) < 4:
        for key, inner in document.items():
            yield from record_paths(inner, (*path, key))
