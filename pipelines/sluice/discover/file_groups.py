"""Groups files into tables by their names: equal but for dates and numbers; and the glob that matches a group alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fsspec.utils import glob_translate

from sluice.config.column_names import normalized
from sluice.discover.contract import distinct_name

FORMATS = {
    **dict.fromkeys(("csv", "tsv", "psv", "tab"), "csv"),
    **dict.fromkeys(("jsonl", "ndjson"), "jsonl"),
    "json": "json",
    **dict.fromkeys(("parquet", "pq"), "parquet"),
    **dict.fromkeys(("xlsx", "xls", "xlsm", "xlsb", "ods"), "excel"),
    "log": "lines",
    **dict.fromkeys(("txt", "dat", ""), "text"),
}
"""The format of a file by its ending; "text" is CSV, JSON Lines or plain lines, which the content decides."""
COMPRESSED = (".gz", ".zst")
UNREAD = {
    ".bz2": "bzip2 is not read; compress with gzip or zstd",
    ".xz": "xz is not read; compress with gzip or zstd",
    ".7z": "7z is not read; use zip",
    ".rar": "rar is not read; use zip",
    ".tar": "tar is not read; use zip",
    ".tgz": "tar is not read; use zip",
}
MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?"
)
VARYING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    rf"|(?<![A-Za-z])(?:{MONTHS})(?![A-Za-z])"
    r"|(?<![A-Za-z0-9])[0-9a-f]{12,64}(?![A-Za-z0-9])"
    r"|(?<=\d)[tT](?=\d)|\d+[zZ]?(?![A-Za-z])|\d+",
    re.IGNORECASE,
)
"""What differs between the files of a table: numbers, dates, names of months, identifiers."""
SIGN = "\0"
"""Stands for something that differs, in the key of a group."""
ROTATED = re.compile(r"\.log\.\d+$", re.IGNORECASE)
"""The end of the name of an older log, of which there is a newer one without the number."""
IN_SERIES = re.compile(rf"\d{{4}}|\d+[-_.]\d+|(?<![A-Za-z])(?:{MONTHS})(?![A-Za-z])", re.IGNORECASE)
"""What makes it likely that a file is the first of a series: a year, a date, a month."""
BETWEEN = re.compile(f"{SIGN}(?:[-_. :]?{SIGN})+")


@dataclass(frozen=True)
class FileGroup:
    """Files with names that are equal but for what differs from delivery to delivery."""

    name: str
    """As the table is called."""
    path: str
    """Glob that matches these files and no others that there are."""
    format: str
    files: tuple[str, ...]
    """Paths below the source's url, sorted."""
    reason: str = ""
    question: str | None = None


def ending(path: str) -> tuple[str, str]:
    """The ending of a name in small letters, and what it is compressed by: `.gz`, `.zst`, `.zip` or nothing."""
    name = PurePosixPath(path).name.lower()
    packed = next((sign for sign in (*COMPRESSED, ".zip") if name.endswith(sign)), "")
    plain = name.removesuffix(packed) if packed else name
    suffix = PurePosixPath(plain).suffix.lstrip(".")
    return ("" if suffix.isdigit() else suffix), packed  # access.log.1 has none of its own


def why_left_out(path: str) -> str | None:
    """Why a load cannot read a file, by its name; None if it may."""
    parts = PurePosixPath(path).parts
    suffix, packed = ending(path)
    if any(part in ("_delta_log", "metadata") and path.endswith((".json", ".avro")) for part in parts[:-1]):
        return "the log of a table format, not rows"
    if any(part.startswith(("_", ".")) for part in parts):
        return "begins with a dot or an underscore, as files do that are not data"
    if reason := UNREAD.get(PurePosixPath(path).suffix.lower()):
        return reason
    if (
        packed == ".zip"
        or suffix in FORMATS
        or re.search(r"\.log(\.\d+)?$", path.lower().removesuffix(packed))
    ):
        return None
    return f"files ending in .{suffix} are not read; a load reads CSV, JSON, Parquet, Excel and text lines"


def file_format(path: str) -> str:
    """The format of a file by its name; `zip` for an archive whose members say it."""
    suffix, packed = ending(path)
    if packed == ".zip" and suffix not in FORMATS:
        return "zip"
    if re.search(r"\.log(\.\d+)?$", path.lower().removesuffix(packed)):
        return "lines"
    return "zip" if packed == ".zip" else FORMATS[suffix]


def grouped(paths: Iterable[str], columns: Mapping[str, tuple[str, ...]] | None = None) -> list[FileGroup]:
    """The groups of files, by name; `columns` tells those in different folders apart that are called the same."""
    every = sorted(paths)
    by_key: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in every:
        by_key[_key(path), file_format(path)].append(path)
    merged = _over_folders(by_key, columns or {})
    return _named([_group(key, form, files, every) for (key, form), files in sorted(merged.items())])


def _key(path: str) -> str:
    """The path with a sign for all that differs, and without what it is compressed by."""
    packed = ending(path)[1]
    plain = path[: -len(packed)] if packed in COMPRESSED else path
    plain = ROTATED.sub(".log", plain)
    return BETWEEN.sub(SIGN, VARYING.sub(SIGN, plain))


def _over_folders(
    by_key: Mapping[tuple[str, str], list[str]], columns: Mapping[str, tuple[str, ...]]
) -> dict[tuple[str, str], list[str]]:
    """Files that are called the same in sibling folders and have the same columns are one table."""
    siblings: dict[tuple[str, str, str, tuple[str, ...]], list[tuple[str, str]]] = defaultdict(list)
    for key, form in by_key:
        parts = PurePosixPath(key).parts
        known = columns.get(by_key[key, form][0], ())
        if len(parts) > 1 and known:
            siblings[str(PurePosixPath(*parts[:-2])), parts[-1], form, known].append((key, form))
    merged = dict(by_key)
    for (above, name, form, _), keys in siblings.items():
        if len(keys) > 1:
            key = str(PurePosixPath(above, f"{SIGN}{SIGN}", name))
            merged[key, form] = sorted(file for one in keys for file in merged.pop(one))
    return merged


def _group(key: str, form: str, files: Sequence[str], every: Sequence[str]) -> FileGroup:
    path, question = exact_glob(key, files, every)
    differing = "" if len(files) == 1 else f"{len(files)} files whose names differ in dates or numbers"
    if f"{SIGN}{SIGN}" in key:
        differing = f"{len(files)} files of the same name and columns in sibling folders"
    if len(files) == 1 and not _is_in_series(files[0]):
        key = files[0]
    return FileGroup(_table_name(key), path, form, tuple(files), differing, question)


def _is_in_series(path: str) -> bool:
    """Whether later files are likely to differ from this one in a date or number."""
    return bool(IN_SERIES.search(path))


def exact_glob(key: str, files: Sequence[str], every: Sequence[str]) -> tuple[str, str | None]:
    """The widest glob that matches these files and no others of `every`; and a question if there is none."""
    if len(files) == 1 and not _is_in_series(files[0]):
        return glob_escaped(files[0]), None
    endings = {ending(file)[1] for file in files} & set(COMPRESSED)
    packed = "*" if endings or any(map(ROTATED.search, files)) else ""
    if len(endings) == 1 and all(file.endswith(tuple(endings)) for file in files):
        packed = endings.pop()
    text = (
        "".join(part if part == SIGN else glob_escaped(part) for part in re.split(f"({SIGN})", key)) + packed
    )
    tried = [
        text.replace(SIGN + SIGN, "*").replace(SIGN, sign) for sign in ("*", "[0-9]*", "*[0-9]")
    ] + _with_widths(files)
    for pattern in (re.sub(r"\*+", "*", glob) for glob in tried):
        if set(matches(pattern, every)) == set(files):
            return pattern, None
    others = sorted(set(matches(tried[0], every)) - set(files))[:3]
    return tried[
        0
    ], f"{tried[0]} also matches {', '.join(others)}; which of these files belong to this table?"


def _with_widths(files: Sequence[str]) -> list[str]:
    """Globs with one place for each digit, and with what all files share written out."""
    split = [re.split(r"(\d)", file) for file in files]
    if len({len(parts) for parts in split}) != 1:
        return []
    rows = list(zip(*split, strict=True))
    if any(len(set(row)) > 1 and not all(part.isdigit() for part in row) for row in rows):
        return []
    digits = "".join(
        "[0-9]" if row[0].isdigit() and len(row[0]) == 1 else glob_escaped(row[0]) for row in rows
    )
    shared = "".join(glob_escaped(row[0]) if len(set(row)) == 1 else "[0-9]" for row in rows)
    return [digits, shared]


def matches(pattern: str, paths: Iterable[str]) -> list[str]:
    """The paths that a glob matches, as the loader reads it."""
    expression = re.compile(glob_translate(pattern))
    return [path for path in paths if expression.match(path)]


def glob_escaped(path: str) -> str:
    """A glob that matches this path alone."""
    return re.sub(r"([*?[])", r"[\1]", path)


def _table_name(key: str) -> str:
    """A table's name: that of the file without what differs, or of its folder if nothing is left of that."""
    parts = PurePosixPath(key).parts
    stem = parts[-1].split(".")[0] if not parts[-1].startswith(".") else parts[-1]
    words = [w for w in re.split(r"[^A-Za-z0-9\u0080-\uffff]+", stem.replace(SIGN, " ")) if w]
    if SIGN in stem:  # the q of q1
        words = [word for word in words if len(word) > 1] or words
    is_part = words and set(map(str.lower, words)) <= {
        "part",
        "data",
        "file",
        "export",
        "chunk",
        "c",
        "snappy",
    }
    if (not words or is_part) and parts[1:]:
        above = [part for part in parts[:-1] if SIGN not in part]
        if above:
            words = [above[-1]]
    return table_name(" ".join(words))


def table_name(text: str) -> str:
    """A text as the name of a table: lower case, letters, digits, underscores; `records` if nothing is left."""
    name = re.sub("_+", "_", normalized(text) if text.strip() else "").strip("_")
    return (f"t_{name}" if name[:1].isdigit() else name) or "records"


def _named(groups: Sequence[FileGroup]) -> list[FileGroup]:
    """The groups with names of their own: those of one name get their format, folder or a number behind it."""
    taken: set[str] = set()
    named = []
    for group in sorted(groups, key=lambda group: (-len(group.files), group.path)):
        folder = PurePosixPath(group.path).parent.name
        tried = [group.name, f"{group.name}_{group.format}"]
        tried += [table_name(f"{folder} {group.name}")] if folder and "*" not in folder else []
        free = (name for name in tried if name not in taken)
        name = next(free, None) or distinct_name(group.name, taken)
        taken.add(name)
        named.append(replace(group, name=name))
    return sorted(named, key=lambda group: group.name)


def glob_of(files: Sequence[str], every: Sequence[str]) -> str | None:
    """A glob of what these files share in their names, if it matches no others; None if there is none."""
    tried = [glob_escaped(files[0])] if len(files) == 1 else _with_widths(files)[1:]
    return next((glob for glob in tried if set(matches(glob, every)) == set(files)), None)
