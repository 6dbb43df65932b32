"""Compressed files, and zip archives: what is in them, as files on this machine."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from sluice.config.declaration import FilesTable, Table
from sluice.errors import LoadError
from sluice.extract.files.common import Found

BLOCK_BYTES = 16 * 2**20
FREE_BYTES = 2**30
"""Any file may unpack to this size."""
LARGEST_RATIO = 200
"""A larger one may be this many times as large as what came; data is packed five to fifty times."""
_LITTER = re.compile(
    r"(.*/)?(__MACOSX/.*|\._[^/]*|\.DS_Store|Thumbs\.db|desktop\.ini|~\$[^/]*|\.~lock\.[^/]*#)"
)
"""Files that operating systems add, and that office programs keep beside a file while it is open."""
_BROKEN = (EOFError, OSError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def is_litter(path: str) -> bool:
    """Whether a file is none of those that somebody sent."""
    return _LITTER.fullmatch(path) is not None


def unpacked(file: Found, table: Table[FilesTable], left: int | None = None) -> list[Found]:
    """A file's content in its place, decompressed; of a zip archive its members, as files named `archive/member`.

    `left`: bytes that the archive it is in may still unpack to. Raises LoadError for what is damaged, encrypted, or
    far larger than what came.
    """
    ending = Path(file.name).suffix.lower()
    unpackers = {".gz": _gunzip, ".zst": _unzstd}
    if ending not in (*unpackers, ".zip") or not file.local.stat().st_size:
        return [file]
    where = f"{table.qualified}: {file.name}"
    try:
        largest = min(_largest(file.local), sys.maxsize if left is None else left)
        if ending == ".zip":
            parts = []
            for member in _unzipped(file, table, where):
                parts += unpacked(member, table, largest)
                largest -= parts[-1].local.stat().st_size
            return parts
        plain = file.local.with_name(file.local.name + ".plain")
        with file.local.open("rb") as archive, plain.open("wb") as out:
            unpackers[ending](archive, _Bounded(out, largest, where))
    except _BROKEN as error:
        raise LoadError(f"{where} is not a whole {ending} file: {error}") from None
    plain.replace(file.local)
    return [file]


def _unzipped(file: Found, table: Table[FilesTable], where: str) -> list[Found]:
    """The members to read; an empty file in place of an archive without any."""
    with zipfile.ZipFile(file.local) as archive:
        members = _chosen(archive.infolist(), table, where)
        if sum(member.file_size for member in members) > _largest(file.local):
            raise _too_large(where, _largest(file.local))
        found = []
        for number, member in enumerate(members):
            part = replace(
                file,
                name=f"{file.name}/{member.filename}",
                local=file.local.with_name(f"{file.local.name}.{number}"),
            )
            try:
                with archive.open(member) as packed, part.local.open("wb") as out:
                    shutil.copyfileobj(packed, out)
            except NotImplementedError as error:
                raise LoadError(
                    f"{where}: the member {member.filename} cannot be unpacked: {error}; nothing was loaded. Let it be "
                    "compressed by the usual method (deflate)"
                ) from None
            found.append(part)
    if not found:
        file.local.unlink()
        file.local.touch()
    return found or [file]


def _chosen(infos: Sequence[zipfile.ZipInfo], table: Table[FilesTable], where: str) -> list[zipfile.ZipInfo]:
    """The members that match the declared pattern; all without one, if they are of one kind."""
    pattern = table.load.members
    members = [i for i in infos if not i.is_dir() and not is_litter(i.filename)]
    chosen = [i for i in members if pattern is None or fnmatchcase(i.filename, pattern)]
    listed = ", ".join(i.filename for i in members[:5]) + (", …" if members[5:] else "")
    if members and not chosen:
        raise LoadError(
            f"{where} has no member that matches {pattern!r}; it has {listed}; nothing was loaded"
        )
    kinds = {PurePosixPath(i.filename).suffix.lower() for i in chosen}
    if pattern is None and len(kinds) > 1:
        raise LoadError(
            f"{where} has members of several kinds ({listed}); nothing was loaded. Name those to read, such as "
            "members: '*.csv'"
        )
    if ".zip" in kinds:
        raise LoadError(
            f"{where} has another archive in it ({listed}); nothing was loaded. Unpack one of them"
        )
    if locked := [i.filename for i in chosen if i.flag_bits & 1]:
        raise LoadError(
            f"{where} is encrypted ({locked[0]}), so it cannot be read; nothing was loaded. Unpack it, or let it be "
            "sent without a password"
        )
    name, count = max(Counter(i.filename for i in chosen).items(), key=lambda item: item[1], default=("", 1))
    if count > 1:
        raise LoadError(
            f"{where} has the member {name} twice; nothing was loaded. Let each have its own name"
        )
    return chosen


class _Bounded:
    """Takes what is unpacked, up to a number of bytes."""

    def __init__(self, out: IO[bytes], largest: int, where: str) -> None:
        self._out, self._largest, self._where = out, largest, where
        self._left = largest

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._where, self._largest)
        return self._out.write(data)


def _largest(path: Path) -> int:
    """Bytes that a file may unpack to."""
    return max(FREE_BYTES, LARGEST_RATIO * path.stat().st_size)


def _too_large(where: str, largest: int) -> LoadError:
    return LoadError(
        f"{where} unpacks to more than {largest:,} bytes, as archives do that are made to fill a disk; nothing was "
        "loaded. If it is right, unpack it, or let it be sent in parts"
    )


def _gunzip(archive: IO[bytes], out: _Bounded) -> None:
    with gzip.open(archive) as plain:
        shutil.copyfileobj(plain, out)


def _unzstd(archive: IO[bytes], out: _Bounded) -> None:
    """All frames; zstandard's own file object stops after the first, and takes a cut-off one for the end."""
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        while block := archive.read(BLOCK_BYTES):
            while block:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                out.write(frame.decompress(block))
                block = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise ValueError(error) from None
    if not frame.eof:
        raise EOFError("it ends within a frame")
