"""Files are decompressed, and text is converted to UTF-8."""

from __future__ import annotations

import codecs
import gzip
import shutil
import zlib
from array import array
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

import pyarrow as pa

from sluice.config.declaration import FilesTable, Table
from sluice.errors import LoadError
from sluice.extract.files.common import FileBuffer, Found

BLOCK_BYTES = 16 * 2**20
"""Bytes of a CSV parsed at a time; a longer line is an error."""


def unpack(file: Found, table: Table[FilesTable], buffer: FileBuffer) -> None:
    """Decompress, and convert text to UTF-8, in place of the file that came.

    Lines with bytes that the encoding does not have become blank ones, and bad rows.
    """
    path, name = file.local, file.name
    unpackers = {".gz": _gunzip, ".zst": _unzstd}
    unpack = unpackers.get(Path(name).suffix.lower())
    load = table.load
    plain = path.with_name(path.name + ".plain")
    if unpack:
        with path.open("rb") as archive, plain.open("wb") as out:
            try:
                unpack(archive, out)
            except (EOFError, OSError, ValueError, zlib.error) as error:
                raise LoadError(
                    f"{table.qualified}: {name} is not a whole {Path(name).suffix} file: {error}"
                ) from None
        plain.replace(path)
    if load.format in ("csv", "jsonl", "json", "lines"):
        codec = codecs.lookup(load.encoding).name
        if codec == "utf-8" and _is_clean_utf8(path):
            return
        decode = codecs.getincrementaldecoder("utf-8-sig" if codec == "utf-8" else codec)()
        line = 1
        undecodable = ""
        with path.open("rb") as original, plain.open("w", encoding="utf-8", newline="") as out:
            for block in chain(iter(partial(original.read, BLOCK_BYTES), b""), [b""]):
                try:
                    text = decode.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    line += error.object[: error.start].count(b"\n")
                    undecodable = f"byte 0x{error.object[error.start]:02x} is not {load.encoding}"
                    break
                line += text.count("\n")
                out.write(text)
        if undecodable and (load.format == "json" or codec.startswith(("utf-16", "utf-32"))):
            raise LoadError(
                f"{table.qualified}: {name} line {line}: {undecodable}; nothing was loaded. "
                "Fix the file or declare its encoding"
            )
        if undecodable:
            _decode_lines(file, plain, codec, load.encoding, buffer)
        plain.replace(path)


def _is_clean_utf8(path: Path) -> bool:
    """Whether a file is UTF-8 throughout, without a byte order mark."""
    rest = b""
    with path.open("rb") as text:
        if text.read(3) == codecs.BOM_UTF8:
            return False
        text.seek(0)
        while block := text.read(BLOCK_BYTES):
            block = rest + block if rest else block
            whole = len(block) - _begun(block)
            rest = block[whole:]
            offsets = pa.py_buffer(array("i", (0, whole)))
            try:  # as fast as memory, which the decoder of Python is not, and it lets other threads work
                pa.StringArray.from_buffers(1, offsets, pa.py_buffer(block)).validate(full=True)
            except pa.ArrowInvalid:
                return False
    return not rest


def _begun(block: bytes) -> int:
    """Number of bytes at the end of a block that begin a character which continues in the next."""
    for back in (1, 2, 3):
        if block[-back:][:1] >= b"\xc0":
            return back if block[-back] >= (0xC0, 0xE0, 0xF0)[back - 1] else 0
    return 0


def _decode_lines(file: Found, plain: Path, codec: str, encoding: str, buffer: FileBuffer) -> None:
    """Convert a text to UTF-8 line by line."""
    with file.local.open("rb") as lines, plain.open("w", encoding="utf-8", newline="") as out:
        for number, line in enumerate(lines, 1):
            try:
                out.write(line.decode("utf-8-sig" if codec == "utf-8" and number == 1 else codec))
            except UnicodeDecodeError as error:
                reason = f"byte 0x{error.object[error.start]:02x} is not {encoding}"
                shown = line.decode(codec, "backslashreplace").rstrip("\r\n")
                buffer.reject(file, number, reason, shown)
                out.write("\n")


def _gunzip(archive: IO[bytes], out: IO[bytes]) -> None:
    with gzip.open(archive) as plain:
        shutil.copyfileobj(plain, out)


def _unzstd(archive: IO[bytes], out: IO[bytes]) -> None:
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
