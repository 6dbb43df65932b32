"""Texts are converted to UTF-8."""

from __future__ import annotations

import codecs
from array import array
from functools import partial
from itertools import chain
from pathlib import Path

import pyarrow as pa

from sluice.config.declaration import FilesTable, Table
from sluice.errors import LoadError
from sluice.extract.files.common import FileBuffer, Found

BLOCK_BYTES = 16 * 2**20
"""Bytes of a CSV parsed at a time; a longer line is an error."""
READ_BYTES = 2**20
"""Bytes of a file looked at at a time: larger blocks are new memory each time, which costs more than to read them."""
SMALL_BYTES = 32 * 2**10
"""Of a file of this size Arrow's reader takes longer to begin (0.3 ms) than Python to split it; equal at 48 kB."""
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
"""Byte order marks, and the codecs that read them."""


def to_utf8(file: Found, table: Table[FilesTable], buffer: FileBuffer) -> None:
    """Convert a text to UTF-8, in its place; other formats stay as they are.

    Its byte order mark says its encoding, else the declaration does. Lines with bytes that the encoding does not have
    become blank ones, and bad rows.
    """
    path, name, load = file.local, file.name, table.load
    plain = path.with_name(path.name + ".plain")
    if load.format in ("csv", "jsonl", "json", "lines"):
        codec = codec_of(path, load.encoding)
        if codec == "utf-8" and _is_clean_utf8(path):
            return
        decode = codecs.getincrementaldecoder(codec)()
        line = 1
        undecodable = ""
        with path.open("rb") as original, plain.open("w", encoding="utf-8", newline="") as out:
            for block in chain(iter(partial(original.read, BLOCK_BYTES), b""), [b""]):
                try:
                    text = decode.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    line += error.object[: error.start].count(b"\n")
                    undecodable = (
                        f"byte 0x{error.object[error.start]:02x} is not {codec.removesuffix('-sig')}"
                    )
                    break
                line += text.count("\n")
                out.write(text)
        if undecodable and (
            load.format == "json" or load.row_terminator or codec.startswith(("utf-16", "utf-32"))
        ):
            raise LoadError(
                f"{table.qualified}: {name} line {line}: {undecodable}; nothing was loaded. "
                "Fix the file or declare its encoding"
            )
        if undecodable:
            _decode_lines(file, plain, codec, buffer)
        plain.replace(path)


def occurs(path: Path, *signs: bytes) -> bool:
    """Whether a file has any of these bytes; a sign may lie on the border of two blocks."""
    overlap = max(map(len, signs), default=1) - 1
    with path.open("rb") as data:
        before = b""
        while block := data.read(READ_BYTES):
            if any(sign in before + block[:overlap] or sign in block for sign in signs):
                return True
            before = block[-overlap:] if overlap else b""
    return False


def codec_of(path: Path, declared: str) -> str:
    """The name of the Python codec for a text: by its mark, else as declared."""
    with path.open("rb") as text:
        head = text.read(1024)
    for mark, codec in _MARKS.items():
        if head.startswith(mark):
            return codec
    codec = codecs.lookup(declared).name
    if (
        codec == "utf-16"
    ):  # without a mark: most characters of a header have a zero as their first byte, or second
        return "utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le"
    return codec


def _is_clean_utf8(path: Path) -> bool:
    """Whether a file is UTF-8 throughout."""
    rest = b""
    with path.open("rb") as text:
        while block := text.read(READ_BYTES):
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


def _decode_lines(file: Found, plain: Path, codec: str, buffer: FileBuffer) -> None:
    """Convert a text to UTF-8 line by line."""
    with file.local.open("rb") as lines, plain.open("w", encoding="utf-8", newline="") as out:
        for number, line in enumerate(lines, 1):
            try:
                out.write(line.decode(codec if number == 1 else codec.removesuffix("-sig")))
            except UnicodeDecodeError as error:
                reason = f"byte 0x{error.object[error.start]:02x} is not {codec.removesuffix('-sig')}"
                shown = line.decode(codec, "backslashreplace").rstrip("\r\n")
                buffer.reject(file, number, reason, shown)
                out.write("\n")
