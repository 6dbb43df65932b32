"""Files in a folder, a bucket or on an SFTP server; each loaded once, and again when its content changes.

A file is identified by its path below the source's url. Its rows carry `_file` and `_line`; when its
content changes, the rows it brought before are replaced in the same transaction.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import re
import shutil
import time
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as clock
from decimal import Decimal
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.declaration import FilesSource, FilesTable, Source, Table
from pipelines.errors import ConnectionError, LoadError
from pipelines.extract import Delivery, Job, Landed, each_table, literal, quoted
from pipelines.names import normalized

BATCH_ROWS = 100_000
"""Rows held in memory at a time."""
UNSETTLED_SECONDS = 5
"""A file changed so shortly ago may have changed again without another time or size."""
BLOCK_BYTES = 16 * 2**20
"""Bytes of a CSV parsed at a time; a longer line is an error."""


@dataclass(frozen=True)
class _Found:
    """One file at the source, and its unpacked UTF-8 copy on this machine."""

    name: str
    """Path below the source's url: the file's identity."""
    remote: str
    version: str
    """Size and time or e-tag, as the store tells them: unchanged means not read again."""
    local: Path


def extract(
    source: Source[FilesSource, FilesTable], tables: Sequence[Table[FilesTable]], job: Job
) -> Generator[Delivery, None, None]:
    """Land the new and changed files of every table."""
    store, base = _store(source, job)
    yield from each_table(tables, lambda table: _land(store, base, table, job))


def _store(source: Source[FilesSource, FilesTable], job: Job) -> tuple[Any, str]:
    """The file system of the source's url, and the url's path on it."""
    url = job.connections.fill(source.load.url)
    keys = job.connections.all(source.load.connection) if source.load.connection else {}
    if url.startswith("s3://"):
        store = fsspec.filesystem(
            "s3",
            key=keys.get("access_key_id"),
            secret=keys.get("secret_access_key"),
            token=keys.get("session_token"),
            client_kwargs={
                k: v for k in ("endpoint_url", "region_name") if (v := keys.get(k.replace("_name", "")))
            },
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        return store, url.removeprefix("s3://").rstrip("/")
    if url.startswith("sftp://"):
        host, _, path = url.removeprefix("sftp://").partition("/")
        name, _, port = host.partition(":")
        try:
            store = fsspec.filesystem(
                "sftp",
                host=keys.get("host", name),
                port=int(keys.get("port", port or 22)),
                username=keys.get("username"),
                password=keys.get("password"),
                key_filename=keys.get("key_file"),
                skip_instance_cache=True,
            )
        except Exception as error:  # paramiko has no common base for refused, unreachable and unknown
            raise ConnectionError(
                f"{source.name}: cannot reach the SFTP server {host}: {job.connections.redact(str(error))}"
            ) from None
        return store, f"/{path}".rstrip("/")
    folder = job.root / url.removeprefix("file://")
    if not folder.is_dir():
        raise ConnectionError(f"{source.name}: there is no folder {url!r} (below the project's root)")
    return fsspec.filesystem("file"), str(folder)


def _land(store: Any, base: str, table: Table[FilesTable], job: Job) -> Landed | None:
    known = {} if job.full_refresh else dict(job.state(table.name).get("files", {}))
    if job.retry_quarantine:
        from pipelines.quarantine import quarantined_files

        unread = quarantined_files(table, job)
        found = [f for f in _changed(store, base, table, {}, job) if f.name in unread]
        known_contents: dict[str, list[str]] = {}
    else:
        found = list(_changed(store, base, table, known, job))
        known_contents = known
    if not found:
        return None
    _fetch(store, found)
    remembered = dict(known)
    loaded: list[_Found] = []
    landing = _Landing(job, table)
    for file in found:
        digest = _unpack(file, table, landing)
        if known_contents.get(file.name, [None, None])[1] != digest:
            loaded.append(file)
        else:
            landing.forget(file)
        remembered[file.name] = [file.version, digest]
    if table.load.format == "parquet":
        relation, empty = _parquet(loaded, table, job)
    else:
        for file in loaded:
            _READERS[table.load.format](file, table, landing, set(known))
        relation, empty = landing.close()
    gone = tuple(name for name in empty if name in known)
    form = {"parquet": "rows", "json": "records", "jsonl": "records"}.get(table.load.format, "text")
    if relation is None:
        columns = landing.columns()
        if not columns:
            return None
        relation = f"select {', '.join(columns)} where false"
    return Landed(
        relation,
        form=form,  # type: ignore[arg-type]
        identity=("_file",),
        replaces=True,
        gone=gone,
        rejected=landing.rejected(),
        places=tuple(file.name for file in loaded),
        remember={"files": remembered},
    )


def _changed(
    store: Any, base: str, table: Table[FilesTable], known: dict[str, list[str]], job: Job
) -> Iterator[_Found]:
    """Files whose size, time or e-tag differs from what the last load saw."""
    pattern = f"{base}/{table.load.path}"
    try:
        listing = store.glob(pattern, detail=True)
    except Exception as error:
        raise ConnectionError(
            f"{table.qualified}: cannot list {pattern}: {job.connections.redact(str(error))}"
        ) from None
    files = {path: info for path, info in listing.items() if info["type"] == "file"}
    if not files and not known:
        raise LoadError(f"{table.qualified}: no file matches {table.load.path!r} below {base}")
    now = time.time()
    for number, (path, info) in enumerate(sorted(files.items())):
        name = path.removeprefix(base).lstrip("/")
        changed = info.get("ETag") or info.get("mtime") or info.get("LastModified")
        version = f"{info['size']} {changed}"
        if not info.get("ETag") and abs(_seconds(changed) - now) < UNSETTLED_SECONDS:
            version += f" at {now}"  # may change again within the clock's resolution: look at it next time
        if known.get(name, [None])[0] != version:
            # without its ending: readers would unpack by it what is unpacked already
            local = job.folder / f"{table.name}.files" / str(number)
            yield _Found(name, path, version, local)


def _fetch(store: Any, found: Sequence[_Found]) -> None:
    found[0].local.parent.mkdir(parents=True, exist_ok=True)
    store.get([f.remote for f in found], [str(f.local) for f in found])


def _unpack(file: _Found, table: Table[FilesTable], landing: _Landing) -> str:
    """Decompress and bring text to UTF-8, in place; returns the SHA-256 of the file as it came.

    Lines with bytes that the encoding does not have become blank ones, and bad rows.
    """
    path, name = file.local, file.name
    with path.open("rb") as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest()
    unpackers = {".gz": _gunzip, ".zst": _unzstd}
    unpack = unpackers.get(Path(name).suffix.lower())
    load = table.load
    plain = path.with_name(path.name + ".plain")
    if unpack:
        with path.open("rb") as packed, plain.open("wb") as out:
            try:
                unpack(packed, out)
            except (EOFError, OSError, ValueError, zlib.error) as error:
                raise LoadError(
                    f"{table.qualified}: {name} is not a whole {Path(name).suffix} file: {error}"
                ) from None
        plain.replace(path)
    if load.format in ("csv", "jsonl", "json", "lines"):
        codec = codecs.lookup(load.encoding).name
        decode = codecs.getincrementaldecoder("utf-8-sig" if codec == "utf-8" else codec)()
        line = 1
        undecodable = ""
        with path.open("rb") as packed, plain.open("w", encoding="utf-8", newline="") as out:
            for block in chain(iter(partial(packed.read, BLOCK_BYTES), b""), [b""]):
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
                "Mend the file or declare its encoding"
            )
        if undecodable:
            _decode_lines(file, plain, codec, load.encoding, landing)
        plain.replace(path)
    return digest


def _decode_lines(file: _Found, plain: Path, codec: str, encoding: str, landing: _Landing) -> None:
    """Bring a text to UTF-8 line by line."""
    with file.local.open("rb") as lines, plain.open("w", encoding="utf-8", newline="") as out:
        for number, line in enumerate(lines, 1):
            try:
                out.write(line.decode("utf-8-sig" if codec == "utf-8" and number == 1 else codec))
            except UnicodeDecodeError as error:
                reason = f"byte 0x{error.object[error.start]:02x} is not {encoding}"
                shown = line.decode(codec, "backslashreplace").rstrip("\r\n")
                landing.reject(file, number, reason, shown)
                out.write("\n")


def _gunzip(packed: IO[bytes], out: IO[bytes]) -> None:
    with gzip.open(packed) as plain:
        shutil.copyfileobj(plain, out)


def _unzstd(packed: IO[bytes], out: IO[bytes]) -> None:
    """All frames; zstandard's own file object stops after the first, and takes a torn one for the end."""
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        while block := packed.read(BLOCK_BYTES):
            while block:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                out.write(frame.decompress(block))
                block = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise ValueError(error) from None
    if not frame.eof:
        raise EOFError("it ends within a frame")


def _seconds(changed: Any) -> float:
    return changed.timestamp() if isinstance(changed, datetime) else float(changed or 0)


class _Landing:
    """Collects rows as text (or JSON records) with file and line, in Parquet files by their columns."""

    def __init__(self, job: Job, table: Table[FilesTable]) -> None:
        self._job = job
        self._table = table
        self._writers: dict[tuple[str, ...], pq.ParquetWriter] = {}
        self._files: list[Path] = []
        self._rows: dict[str, int] = {}
        self._headers: dict[str, None] = {}
        self._rejected: list[tuple[str, int, str, str]] = []
        self.raw_columns = {
            c
            for c in job.raw_columns(table)
            if not c.startswith("_") and c not in (table.load.columns.exclude or [])
        }

    def write(self, file: _Found, columns: dict[str, Any], lines: Any) -> None:
        """Append text columns of equal length, and the line each row stands on."""
        schema = pa.schema(
            [("_file", pa.string()), ("_line", pa.int64()), *((c, pa.string()) for c in columns)]
        )
        rows = len(lines)
        self._rows[file.name] = self._rows.get(file.name, 0) + rows
        key = tuple(sorted(columns))
        if key not in self._writers:
            path = self._job.folder / f"{self._table.name}.landed.{len(self._writers)}.parquet"
            self._writers[key] = pq.ParquetWriter(path, schema)
            self._files.append(path)
        arrays = [pa.repeat(pa.scalar(file.name), rows), pa.array(lines, pa.int64()), *columns.values()]
        batch = pa.Table.from_arrays(arrays, schema=schema).select(self._writers[key].schema.names)
        self._writers[key].write_table(batch)
        self._job.progress(self._table.name, rows)

    def headers(self, names: Sequence[str]) -> None:
        """Remember the columns of a file: the files after it must have them, too."""
        self._headers.update(dict.fromkeys(names))
        self.raw_columns |= {normalized(name) for name in names}

    def reject(self, file: _Found, line: int, reason: str, text: str) -> None:
        """Keep a line that is no row."""
        self._rejected.append((file.name, line, reason, text))

    def forget(self, file: _Found) -> None:
        """Drop what was rejected of a file that is not loaded, because its content is known."""
        self._rejected = [r for r in self._rejected if r[0] != file.name]

    def rejected(self) -> str | None:
        """The relation of all lines that are no rows."""
        if not self._rejected:
            return None
        path = self._job.folder / f"{self._table.name}.rejected.parquet"
        names = ("_file", "_line", "_reason", "_record")
        pq.write_table(pa.table(dict(zip(names, zip(*self._rejected, strict=True), strict=True))), path)
        return f"select * from read_parquet({literal(str(path))})"

    def note(self, file: _Found) -> None:
        """Remember a file although it may have no row."""
        self._rows.setdefault(file.name, 0)

    def columns(self) -> list[str]:
        """Typed nulls for a relation without rows: of the metadata and the columns of headers or declarations."""
        declared = [*self._headers] or [c.name for c in self._table.columns if not c.name.startswith("_")]
        if self._table.load.format in ("json", "jsonl"):
            declared = ["_record"]
        texts = [f"cast(null as varchar) as {quoted(c)}" for c in declared]
        return ["cast(null as varchar) as _file", "cast(null as bigint) as _line", *texts] if declared else []

    def close(self) -> tuple[str | None, list[str]]:
        """The relation of all rows (None without any), and the files that had none."""
        for writer in self._writers.values():
            writer.close()
        empty = [name for name, rows in self._rows.items() if not rows]
        if not self._files:
            return None, empty
        paths = ", ".join(literal(str(p)) for p in self._files)
        return f"select * from read_parquet([{paths}], union_by_name = true)", empty


# -- formats ---------------------------------------------------------------------------------------------


def _csv(
    file: _Found,
    table: Table[FilesTable],
    landing: _Landing,
    loaded_before: set[str],
    *,
    torn_before: bool = False,
) -> None:
    """`torn_before`: torn lines were looked for, and blanked."""
    from pyarrow import csv as arrow_csv

    load = table.load
    landing.note(file)
    quoting: dict[str, Any] = {"quotechar": load.quote} if load.quote else {"quoting": csv.QUOTE_NONE}
    with file.local.open(encoding="utf-8", newline="") as text:
        skipped = sum(1 for _ in islice(text, load.skip_lines))
        reader = csv.reader(text, delimiter=load.delimiter, **quoting)
        first = next((row for row in reader if row), None)
        header_lines = reader.line_num
    if first is None or skipped < load.skip_lines:
        if load.header:
            raise LoadError(
                f"{table.qualified}: {file.name} has no header line; an empty file is sent by mistake"
            )
        return
    names = _names(first, file, table, landing, loaded_before)
    skip = load.skip_lines + (header_lines if load.header else 0)

    try:
        reader_ = arrow_csv.open_csv(
            file.local,
            arrow_csv.ReadOptions(
                use_threads=False, block_size=BLOCK_BYTES, skip_rows=skip, column_names=names
            ),
            arrow_csv.ParseOptions(
                delimiter=load.delimiter,
                quote_char=load.quote or False,
                newlines_in_values=bool(load.quote),
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=load.nulls,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        batches = [batch for batch in reader_ if batch.num_rows]
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            return
        if not torn_before and _blank_torn(file, table, skip, names, quoting, landing):
            _csv(file, table, landing, loaded_before, torn_before=True)
            return
        raise LoadError(
            f"{table.qualified}: {file.name} cannot be read as CSV: {error}; nothing was loaded"
        ) from None
    rows = sum(b.num_rows for b in batches)
    counted = _counted_lines(file.local, skip, rows, load.quote)
    if counted is None and not torn_before and _blank_torn(file, table, skip, names, quoting, landing):
        _csv(file, table, landing, loaded_before, torn_before=True)
        return
    lines = counted or _records(file, table, skip, quoting)
    if len(lines) != rows:
        raise LoadError(
            f"{table.qualified}: {file.name}: two readers disagree on the number of records: {len(lines)} and {rows}"
        )
    start = 0
    for batch in batches:
        landing.write(
            file, dict(zip(names, batch.columns, strict=True)), lines[start : start + batch.num_rows]
        )
        start += batch.num_rows


def _counted_lines(path: Path, skip: int, rows: int, quote: str) -> Sequence[int] | None:
    """The line of each record, where every line is one; None where quotes or blank lines make that uncertain."""
    newlines, last = 0, b"\n"
    with path.open("rb") as data:
        while block := data.read(BLOCK_BYTES):
            if quote and quote.encode() in block:
                return None
            newlines += block.count(b"\n")
            last = block[-1:]
    lines = newlines + (last != b"\n")
    return range(skip + 1, skip + 1 + rows) if lines - skip == rows else None


def _records(file: _Found, table: Table[FilesTable], skip: int, quoting: dict[str, Any]) -> list[int]:
    """The line each record begins on."""
    csv.field_size_limit(BLOCK_BYTES)
    found = []
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


def _blank_torn(
    file: _Found,
    table: Table[FilesTable],
    skip: int,
    names: Sequence[str],
    quoting: dict[str, Any],
    landing: _Landing,
) -> bool:
    """Read strictly, and blank the lines that are torn or open a quote that is not closed; whether there were any.

    Arrow's reader, which is fast, takes whatever follows such a quote into the field.
    """
    csv.field_size_limit(BLOCK_BYTES)
    with file.local.open(encoding="utf-8", newline="") as text:
        lines = text.readlines()
    torn = False
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
        landing.reject(file, begin + 1, bad[1], "".join(lines[begin:end]).rstrip("\r\n"))
        lines[begin:end] = ["\n"] * (end - begin)
        start, torn = end, True
    if torn:
        with file.local.open("w", encoding="utf-8", newline="") as out:
            out.writelines(lines)
    return torn


def _names(
    first: Sequence[str], file: _Found, table: Table[FilesTable], landing: _Landing, loaded_before: set[str]
) -> list[str]:
    """Column names of a file: its header, or the declared columns in order; checked for what is missing."""
    declared = [c.name for c in table.columns if not c.name.startswith("_")]
    if not table.load.header:
        if len(first) != len(declared):
            raise LoadError(
                f"{table.qualified}: {file.name} has {len(first)} fields a line, "
                f"but {len(declared)} columns are declared"
            )
        return declared
    names = [name.strip() for name in first]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise LoadError(f"{table.qualified}: {file.name} has the column {', '.join(map(repr, twice))} twice")
    if "" in names:
        raise LoadError(
            f"{table.qualified}: {file.name}: column {names.index('') + 1} of the header has no name"
        )
    have: dict[str, str] = {}
    for name in names:
        if (twin := have.setdefault(normalized(name), name)) != name:
            raise LoadError(
                f"{table.qualified}: {file.name}: the columns {twin!r} and {name!r} would both be called "
                f"{normalized(name)!r}"
            )
    if ours := have.keys() & {"_file", "_line", "_loaded_at", "_load_id", "_deleted_at"}:
        raise LoadError(f"{table.qualified}: {file.name} has the column {min(ours)}, which is one of ours")
    excluded = {normalized(name) for name in table.load.columns.exclude or []}
    # a file sent again may keep the layout it always had
    required = {normalized(n) for n in declared} | (
        set() if file.name in loaded_before else landing.raw_columns
    )
    if missing := sorted(required - have.keys() - excluded):
        raise LoadError(
            f"{table.qualified}: {file.name} has no column {', '.join(missing)} (its header: {', '.join(names)}); "
            "nothing was loaded. Mend the file; if the column is gone for good, put it under columns: {exclude: [...]}"
        )
    landing.headers(names)
    return names


def _jsonl(file: _Found, table: Table[FilesTable], landing: _Landing, loaded_before: set[str]) -> None:
    landing.note(file)
    for numbers, lines in _text_batches(file.local, 0):
        landing.write(file, {"_record": pa.array(lines, pa.string())}, numbers)


def _json(file: _Found, table: Table[FilesTable], landing: _Landing, loaded_before: set[str]) -> None:
    import orjson

    landing.note(file)
    try:  # numbers stay the texts they are: a double has no room for all of their digits
        value: Any = json.loads(
            file.local.read_bytes(),
            parse_float=lambda number: orjson.Fragment(number.encode()),
            parse_int=lambda number: orjson.Fragment(number.encode()),
            object_pairs_hook=_no_key_twice,
        )
    except ValueError as error:
        raise LoadError(
            f"{table.qualified}: {file.name} cannot be read as JSON: {error}; nothing was loaded"
        ) from None
    for key in filter(None, (table.load.records or "").split(".")):
        value = value.get(key) if isinstance(value, dict) else None
    records = [value] if isinstance(value, dict) else value
    if not isinstance(records, list):
        raise LoadError(f"{table.qualified}: {file.name} has no list of records at {table.load.records!r}")
    texts = [orjson.dumps(record).decode() for record in records]
    if texts:
        landing.write(file, {"_record": pa.array(texts, pa.string())}, range(1, len(texts) + 1))


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"the key {next(n for n in names if names.count(n) > 1)!r} occurs twice in an object"
        )
    return found


def _lines(file: _Found, table: Table[FilesTable], landing: _Landing, loaded_before: set[str]) -> None:
    landing.note(file)
    pattern = re.compile(table.load.pattern or "")
    nulls = set(table.load.nulls)
    for numbers, lines in _text_batches(file.local, table.load.skip_lines):
        values: dict[str, list[str | None]] = {group: [] for group in pattern.groupindex}
        matched = []
        for number, line in zip(numbers, lines, strict=True):
            match = pattern.fullmatch(line)
            if match is None:
                landing.reject(file, number, "does not match the pattern", line)
                continue
            matched.append(number)
            for group, text in match.groupdict().items():
                values[group].append(None if text in nulls else text)
        landing.write(file, {g: pa.array(v, pa.string()) for g, v in values.items()}, matched)


def _text_batches(path: Path, skip: int) -> Iterator[tuple[list[int], list[str]]]:
    """Lines that are not blank, without their ends, with their numbers, some at a time."""
    with path.open(encoding="utf-8", newline="\n") as text:
        numbered = enumerate(text, 1)
        while batch := list(islice(numbered, BATCH_ROWS)):
            kept = [(n, line.rstrip("\r\n")) for n, line in batch if n > skip and line.strip()]
            if kept:
                yield [n for n, _ in kept], [line for _, line in kept]


def _excel(file: _Found, table: Table[FilesTable], landing: _Landing, loaded_before: set[str]) -> None:
    import python_calamine

    load = table.load
    landing.note(file)
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(file.local.read_bytes()))
    except python_calamine.CalamineError as error:
        raise LoadError(
            f"{table.qualified}: {file.name} cannot be read as Excel: {error}; nothing was loaded"
        ) from None
    if load.sheet and load.sheet not in book.sheet_names:
        raise LoadError(
            f"{table.qualified}: {file.name} has no sheet {load.sheet!r}; it has {', '.join(book.sheet_names)}"
        )
    sheet = book.get_sheet_by_name(load.sheet) if load.sheet else book.get_sheet_by_index(0)
    rows = list(enumerate(sheet.to_python(skip_empty_area=False), 1))
    if load.range:
        first, last = (_cell(corner) for corner in load.range.split(":"))
        rows = [(n, row[first[1] : last[1] + 1]) for n, row in rows if first[0] <= n - 1 <= last[0]]
    rows = [(n, row) for n, row in rows[load.skip_lines :] if any(cell != "" for cell in row)]
    if not rows:
        return
    header = [_cell_text(cell, ".") or "" for cell in rows[0][1]]
    if load.header:
        while header and header[-1] == "":
            header.pop()
        rows = rows[1:]
    names = _names(header, file, table, landing, loaded_before)
    nulls = set(load.nulls)
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
        landing.write(file, columns, [number for number, _ in rows])


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
        text = str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else format(Decimal(repr(cell)), "f")
        return text.replace(".", decimal_mark)
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    if isinstance(cell, date | clock):
        return cell.isoformat()
    return str(cell)


def _parquet(files: Sequence[_Found], table: Table[FilesTable], job: Job) -> tuple[str | None, list[str]]:
    """All files as one relation; a column whose type differs between them must be declared."""
    seen: dict[str, tuple[str, str]] = {}
    empty = []
    selects = []
    for file in files:
        scan = f"read_parquet({literal(str(file.local))}, file_row_number = true)"
        try:
            described = job.con.execute(f"describe select * exclude (file_row_number) from {scan}").fetchall()
            rows = (job.con.execute(f"select count(*) from {scan}").fetchone() or (0,))[0]
        except Exception as error:
            raise LoadError(f"{table.qualified}: {file.name} cannot be read as Parquet: {error}") from None
        for name, kind, *_ in described:
            other, first = seen.setdefault(name, (kind, file.name))
            if other != kind and name not in table.data_types:
                raise LoadError(
                    f"{table.qualified}.{name}: is {other.lower()} in {first}, but {kind.lower()} in {file.name}; "
                    "declare its data_type"
                )
        if not rows:
            empty.append(file.name)
        job.progress(table.name, rows)
        selects.append(
            f"select {literal(file.name)} as _file, file_row_number + 1 as _line, "
            f"* exclude (file_row_number) from {scan}"
        )
    return (" union all by name ".join(selects) or None), empty


_READERS = {"csv": _csv, "jsonl": _jsonl, "json": _json, "lines": _lines, "excel": _excel}
