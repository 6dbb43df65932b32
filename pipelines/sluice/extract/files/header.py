"""What the columns of a file are called: by its header, or by their place where the header does not say."""

from __future__ import annotations

from collections.abc import Sequence, Set

from sluice.config.column_names import DELETED_AT, FILE, LINE, STAMPS, normalized
from sluice.config.declaration import FilesTable, Table
from sluice.errors import LoadError
from sluice.extract.files.common import FileBuffer, Found

CONTROL = {chr(code) for code in (*range(1, 9), *range(0x1C, 0x20), 0x85)}
"""Characters that separate fields or rows, and are in no name."""


def declared_names(first: Sequence[str], where: str, table: Table[FilesTable]) -> list[str]:
    """The declared columns, in order, of a file without a header whose first row is `first`."""
    declared = [c.name for c in table.columns if not c.name.startswith("_")]
    if len(first) != len(declared):
        raise LoadError(
            f"{where} has {len(first)} fields a line, but {len(declared)} columns are declared: without a header, "
            "the declared columns name the fields, in order"
        )
    return declared


def header_names(header: Sequence[str], where: str, table: Table[FilesTable]) -> list[str]:
    """The columns' names at the source: a nameless one is `column_<place>`, a repeated one `<name>_<count>`.

    `where` is the table and the file. Raises LoadError where two columns would have one name in raw.
    """
    names = [name.strip() for name in header]
    if any("\0" in name for name in names):
        raise LoadError(
            f"{where} has zero bytes in its header, so it is not {table.load.encoding} text; nothing was loaded. "
            "Declare its encoding, such as utf-16"
        )
    if names[0].lower().startswith("sep=") and not any(names[1:]):
        raise LoadError(
            f"{where} begins with Excel's line {header[0]!r}, which is no header; nothing was loaded. Declare "
            "skip_lines: 1"
        )
    if signs := sorted({sign for name in names for sign in name if sign in CONTROL}):
        shown = ", ".join(f'"\\x{ord(sign):02x}"' for sign in signs)
        raise LoadError(
            f"{where} has {shown} in its header; nothing was loaded. Declare it as delimiter, or as row_terminator if "
            "rows end with it"
        )
    taken = {normalized(name) for name in names if name}
    for place, name in enumerate(names):
        if not name:
            names[place] = _free("column", place + 1, taken)
        elif name in names[:place]:
            names[place] = _free(name, 1 + names[:place].count(name), taken)
    check_distinct(names, where, table)
    return names


def _free(name: str, number: int, taken: set[str]) -> str:
    """The name with a number behind it, by which no other column is called."""
    while normalized(f"{name}_{number}") in taken:
        number += 1
    taken.add(normalized(f"{name}_{number}"))
    return f"{name}_{number}"


def check_distinct(names: Sequence[str], where: str, table: Table[FilesTable]) -> None:
    """Raise LoadError where raw would have two columns of a name, or another one of ours."""
    have: dict[str, str] = {}
    for name in names:
        raw = table.raw_name(name)
        if (twin := have.setdefault(raw, name)) is not name:
            raise LoadError(
                f"{where}: the columns {twin!r} and {name!r} would both be called {raw!r}; nothing was loaded. Give "
                f"one of them another name: columns: {{rename: {{{name!r}: {raw}_2}}}}"
            )
    if ours := have.keys() & {FILE, LINE, *STAMPS, DELETED_AT}:
        ours_name = min(ours)
        raise LoadError(
            f"{where} has the column {have[ours_name]!r}, which is one of ours; nothing was loaded. Give it another "
            f"name: columns: {{rename: {{{have[ours_name]!r}: source{ours_name}}}}}"
        )


def check_complete(names: Sequence[str], required: Set[str], where: str, table: Table[FilesTable]) -> None:
    """Raise LoadError where a file lacks a column, given raw's names of those that it must have."""
    have = {table.raw_name(name) for name in names}
    if missing := sorted(required - have - table.excluded):
        raise LoadError(
            f"{where} has no column {', '.join(missing)} (its header: {table.shown(names)}); nothing was loaded. "
            "Fix the file, or declare the column by the name after the arrow; if it is gone for good, put it under "
            "columns: {exclude: [...]}"
        )


def file_columns(
    first: Sequence[str], file: Found, table: Table[FilesTable], buffer: FileBuffer, loaded_before: set[str]
) -> list[str]:
    """Column names of a file: its header, or the declared columns in order; checked for what is missing."""
    where = f"{table.qualified}: {file.name}"
    if not table.load.header:
        return declared_names(first, where, table)
    names = header_names(first, where, table)
    required = {table.raw_name(c.name) for c in table.columns if not c.name.startswith("_")}
    if file.name not in loaded_before:  # a file sent again may keep the layout it always had
        required |= buffer.raw_columns
    check_complete(names, required, where, table)
    buffer.headers(names)
    if (
        table.load.format == "csv"
        and len(names) == 1
        and (sign := next(filter(names[0].count, ";\t|,"), None))
    ):
        buffer.note(
            f"{where} has one column, {names[0]!r}; if {sign!r} separates fields, declare it as delimiter"
        )
    return names


def refuse_undecodable(
    file: Found, table: Table[FilesTable], buffer: FileBuffer, first: int, last: int
) -> None:
    """Raise LoadError where the header would be on one of these lines, and they could not be read."""
    if undecodable := buffer.undecodable(file, first, last):
        raise LoadError(
            f"{table.qualified}: {file.name} has no header that can be read: {undecodable}; nothing was loaded. Is the "
            "file compressed, or in another encoding than declared?"
        )
