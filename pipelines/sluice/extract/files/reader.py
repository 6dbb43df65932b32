"""Reads the files of one table that were fetched, as one relation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sluice.config.declaration import FilesTable, Table
from sluice.errors import LoadError
from sluice.extract.contract import ExtractContext, Files, JsonRecords, LosslessFallback, TypedRows
from sluice.extract.files.appended import Digests, End, appended_part, digests_of, entry
from sluice.extract.files.archives import unpacked
from sluice.extract.files.common import FileBuffer, Found
from sluice.extract.files.formats import READERS
from sluice.extract.files.parquet import ParquetFiles
from sluice.extract.files.plain_csv import left_to_duckdb
from sluice.extract.files.text import SMALL_BYTES, to_utf8

NAMED_FILES = 20
"""Files named in one message; of the others, their number."""


@dataclass
class FilesReader:
    """Reads the fetched files whose content is new, or all of them where keys may be gone.

    A thread computes their digests in parallel.
    """

    table: Table[FilesTable]
    context: ExtractContext
    buffer: FileBuffer
    found: Sequence[Found]
    missing: Sequence[str]
    """Files that were loaded before and are gone, where the table wants their rows deleted."""
    known: Mapping[str, list[Any]]
    """What the state keeps of the files that were loaded before, by name."""
    known_contents: Mapping[str, list[Any]]
    """Those of them that need not be read again if their content is the same."""
    ended: Mapping[str, End]
    """Files that may be read from where they ended."""
    beside: ThreadPoolExecutor
    read_whole: Callable[[], TypedRows | JsonRecords | None]
    """Reads the same files, none of them from where it ended."""
    _unreadable: list[str] = field(default_factory=list)

    def rows(self) -> TypedRows | JsonRecords | None:
        """The rows; None if nothing has changed."""
        self._new, self._digests = self._unpacked()
        self._continued = {file.name: None for file in self._new if file.left_out is not None}
        self._parquet = ParquetFiles(self.table, self.context)
        self._read(self._new)
        if self._continued and (self._unreadable or self.buffer.has_rejected):
            self.buffer.close()
            self.buffer.release()
            return self.read_whole()
        return self._extracted()

    def _read(self, files: Sequence[Found], *, strictly: bool = False) -> None:
        """Add the rows of these files; `strictly`: leave none of them to DuckDB."""
        load, before = self.table.load, {file.name for file in self._new if file.archive in self.known}
        read_file = self._parquet.add if load.format == "parquet" else READERS[load.format]
        for file in files:
            try:
                if not file.local.stat().st_size:
                    continue
                if strictly or not left_to_duckdb(file, self.table, self.buffer, before):
                    to_utf8(file, self.table, self.buffer)
                    read_file(file, self.table, self.buffer, before)
            except LoadError as error:
                self._unreadable.append(str(error))
                self.buffer.give_up(file)
            self.buffer.settle()

    def _extracted(self) -> TypedRows | JsonRecords | None:
        """What was read so far."""
        table, buffer = self.table, self.buffer
        whole = [file for file in self._new if file.name not in self._continued]
        empty = self._without_rows(whole)
        relation = self._parquet.relation() if table.load.format == "parquet" else buffer.close()
        unreadable = self._summed_up()
        if relation is None and (self._new or unreadable or buffer.columns()):
            relation = _no_rows(buffer, unreadable, empty)
        if relation is None:
            return None
        read_whole, missing = {file.name for file in whole}, {*self.missing}
        ends = {name: end for name, end in self.ended.items() if name not in read_whole}
        read = {
            f.name: entry(f, self._digests[f.name].result(), table, buffer, ends.get(f.name))
            for f in self.found
        }
        rows: dict[str, Any] = {
            "table": table,
            "relation": relation,
            "origin": self._origin(whole),
            "rejected": buffer.rejected(),
            "state": {"files": {n: kept for n, kept in {**self.known, **read}.items() if n not in missing}},
            "release": buffer.release,
            "unreadable": tuple(unreadable),
            "message": "\n".join([*([empty] if empty else []), *first_of(buffer.notes)]) or None,
        }
        if table.load.format in ("json", "jsonl"):
            return JsonRecords(**rows, is_exact=buffer.is_exact)
        if table.load.format == "parquet":
            rows |= {"types": self._parquet.types, "explain": self._parquet.explain}
        if misread := [file for file in self._new if buffer.is_left_to_duckdb(file)]:
            rows |= {
                "con": buffer.reader,
                "expected": buffer.read,
                "fallback": LosslessFallback({}, lambda error, names: self._read_again(misread)),
            }
        return TypedRows(**rows)

    def _read_again(self, misread: Sequence[Found]) -> TypedRows | None:
        """Read strictly what DuckDB stopped at, or split into more or fewer records than it has."""
        for file in misread:
            self.buffer.take_back(file)
        self._read(misread, strictly=True)
        extracted = self._extracted()
        return extracted if isinstance(extracted, TypedRows) else None

    def _origin(self, whole: Sequence[Found]) -> Files:
        """The files read whole, and missing; an archive's new content replaces the rows of all members that it had."""
        raw = self.context.raw
        replaced = raw.members(self.table, {f.archive for f in whole if _is_archive(f.archive)})
        gone = raw.members(self.table, filter(_is_archive, self.missing))
        return Files(
            tuple(dict.fromkeys([*(file.name for file in whole), *replaced])),
            (*self.missing, *gone),
            tuple(self._continued),
            self.read_whole if self._continued else None,
        )

    def _unpacked(self) -> tuple[list[Found], dict[str, Future[Digests]]]:
        """The files whose content is new, unpacked, and the digests of all; errors go to `_unreadable`.

        Of a file that was appended to since it `ended`, only that.
        """
        digests: dict[str, Future[Digests]] = {}
        new: list[Found] = []
        same: list[Found] = []
        for before, file in zip([None, *self.found], self.found, strict=False):
            if before:  # one at a time: a process may not open as many files as there are
                digests[before.name].result()
            end = self.ended.get(file.name)
            digest = digests[file.name] = self._digests_of(file, end.size if end else 0)
            if end and (rest := appended_part(file, end, digest.result(), self.table)):
                file = rest
            try:
                parts = unpacked(file, self.table)
            except LoadError as error:
                self._unreadable.append(str(error))
                continue
            is_same = (
                file.name in self.known_contents
                and self.known_contents[file.name][1] == digest.result().whole
            )
            (same if is_same else new).extend(parts)
        if may_lose_keys(self.missing, new, self.known_contents, self.table):
            return sorted([*new, *same], key=lambda file: file.name), digests
        return new, digests

    def _digests_of(self, file: Found, beginning: int) -> Future[Digests]:
        """The digests of a file, and of its first `beginning` bytes; beside the rest, where that is worth a thread."""
        if file.local.stat().st_size > SMALL_BYTES:
            return self.beside.submit(digests_of, file.local.open("rb"), beginning)
        done: Future[Digests] = Future()
        done.set_result(digests_of(file.local.open("rb"), beginning))
        return done

    def _summed_up(self) -> list[str]:
        """The first of the errors, one per file, and their number where they are several."""
        total = f"{self.table.qualified}: {len(self._unreadable)} files cannot be read; nothing was loaded"
        return summed_up(self._unreadable, total)

    def _without_rows(self, files: Sequence[Found]) -> str | None:
        """Names the files that hold nothing, or nothing but a header."""
        if not (empty := [file for file in files if self.buffer.is_without_rows(file)]):
            return None
        names = [
            file.name
            + ("" if file.local.stat().st_size else " (empty)")
            + (" (those it had before are removed)" if file.name in self.known else "")
            for file in empty
        ]
        return f"{self.table.qualified}: {len(empty)} file(s) without rows: {named(names)}"


def may_lose_keys(
    missing: Sequence[str], changed: Sequence[Found], known: Mapping[str, Any], table: Table[FilesTable]
) -> bool:
    """Whether keys may be gone, so that it takes all files to know which of them another one has."""
    shrinks = table.load.deletes and any(file.archive in known for file in changed)
    return bool(table.load.primary_key and (missing or shrinks))


def _no_rows(buffer: FileBuffer, unreadable: Sequence[str], empty: str | None) -> str:
    """A relation without rows; LoadError where not even its columns are known."""
    if not (columns := buffer.columns()):
        raise LoadError(
            "\n".join(unreadable)
            or f"{empty}, and no file before had any, so that the table's columns are not known; nothing was "
            "loaded. It begins with the first file that has a header or rows"
        )
    return f"select {', '.join(columns)} where false"


def _is_archive(name: str) -> bool:
    return name.lower().endswith(".zip")


def first_of(said: Sequence[str]) -> list[str]:
    """The first of what is said about files, and the number of the others."""
    more = [f"and {len(said) - NAMED_FILES} more file(s)"] if said[NAMED_FILES:] else []
    return [*said[:NAMED_FILES], *more]


def summed_up(errors: Sequence[str], total: str) -> list[str]:
    """The first of the errors, and the sentence `total` where they are several."""
    return [*first_of(errors), *([total] if errors[1:] else [])]


def named(names: Sequence[str]) -> str:
    """The first of these names in a row, and the number of the others."""
    more = f" and {len(names) - NAMED_FILES} more" if names[NAMED_FILES:] else ""
    return ", ".join(names[:NAMED_FILES]) + more
