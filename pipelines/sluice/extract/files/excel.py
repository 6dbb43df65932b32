"""Cells of an Excel sheet that the reader does not return unaltered: errors, uncomputed formulas, long numbers.

It returns the first two as empty, and rounds whole numbers that a double cannot hold, so they are looked up in the
sheet's XML. (The old binary format has no XML, and doubles only.)
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

_CELL = re.compile(rb"<(?:\w+:)?c\b([^>]*?)(?:/>|>(.*?)</(?:\w+:)?c>)", re.DOTALL)
_ATTRIBUTE = re.compile(rb'\b([rt])="([^"]*)"')
_VALUE = re.compile(rb"<(?:\w+:)?v\b[^>/]*>([^<]+)<")
_FORMULA = re.compile(rb"<(?:\w+:)?f\b")
_LONG = re.compile(rb"v>-?[0-9]{16,}<")
"""Excel itself writes such numbers with an exponent; other programs write all of their digits."""
_TEXTS = (b"str", b"inlineStr", b"s")
"""Types of cells whose text may be empty."""


def unread_cells(path: Path, sheet: str) -> dict[str, str]:
    """What is wrong with the cells that cannot be read as they are, by their reference (`B2`)."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as book:
        target = _place(book, sheet)
        content = book.read(target) if target in book.namelist() else b""
    if b't="e"' not in content and not _FORMULA.search(content) and not _LONG.search(content):
        return {}
    found = {}
    for match in _CELL.finditer(content):
        attributes = dict(_ATTRIBUTE.findall(match[1]))
        inside = match[2] or b""
        value = _VALUE.search(inside)
        if attributes.get(b"t") == b"e":
            what = f"is the error {value[1].decode() if value else ''}".strip()
        elif _FORMULA.search(inside) and not value and attributes.get(b"t") not in _TEXTS:
            what = "is a formula without a value: let Excel compute it, and save the file"
        elif attributes.get(b"t", b"n") == b"n" and value and _is_rounded(value[1]):
            what = f"is {value[1].decode()}, a number of more digits than a cell holds: write it as text"
        else:
            continue
        found[attributes.get(b"r", b"").decode()] = what
    return found


def _is_rounded(number: bytes) -> bool:
    """Whether a whole number changes as a double."""
    return _LONG.fullmatch(b"v>%s<" % number) is not None and int(float(number)) != int(number)


def _place(book: zipfile.ZipFile, sheet: str) -> str:
    """Where the XML of a sheet stands in the archive."""
    relations = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
    ids = {
        s.get("name"): s.get(relations) for s in _tags(book, "xl/workbook.xml") if s.tag.endswith("}sheet")
    }
    targets = {r.get("Id"): r.get("Target") or "" for r in _tags(book, "xl/_rels/workbook.xml.rels")}
    return str(PurePosixPath("/xl", targets.get(ids.get(sheet), "")))[1:]


def _tags(book: zipfile.ZipFile, name: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(book.read(name)).iter()) if name in book.namelist() else []  # noqa: S314
