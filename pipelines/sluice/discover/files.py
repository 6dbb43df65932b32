"""Files in a folder, a bucket or on an SFTP server: which of them are a table, and how they are written."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

import duckdb

from sluice.config.connections import Connections
from sluice.config.declaration import FilesTable, Table
from sluice.discover.contract import DiscoveredSource, DiscoveredTable, Limits, Target, distinct_names
from sluice.discover.declared_tables import add_declared
from sluice.discover.dialects import opened
from sluice.discover.file_groups import (
    FileGroup,
    ending,
    file_format,
    glob_escaped,
    grouped,
    matches,
    why_left_out,
)
from sluice.discover.file_parts import apart, parted
from sluice.discover.file_tables import FileTables
from sluice.discover.trial_load import TrialLoads
from sluice.errors import ConnectionError, UsageError
from sluice.extract.files import open_store
from sluice.extract.files.archives import is_litter
from sluice.extract.unreachable import with_reason
from sluice.sql import literal

LOCAL_BYTES = 512 * 2**20
"""Bytes of a table's files that are read from a folder; of more, some files, and of a large file some of its rows."""
REMOTE_BYTES = 64 * 2**20
"""Bytes of a table's files that are fetched from a server."""
BLOCK_LINES = 1_000
HEADER_BYTES = 2**16


def discover_files(
    target: Target,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    root: Path,
    connections: Connections,
) -> DiscoveredSource:
    """The tables of a folder, a file, a glob, `s3://bucket/prefix` or `sftp://host/path`, with their rows in `con`.

    Raises ConnectionError where it cannot be listed, UsageError where there is no file.
    """
    name = target.name
    url, only = _place(target.address, target.connection_name, connections, root)
    load: dict[str, Any] = {"kind": "files", "url": url}
    declared = target.declared.declared if target.declared else ()
    if "://" in url:
        load["connection"] = target.connection_name
    trials = TrialLoads(name, load, connections, root)
    with trials.opened():
        store, base = open_store(trials.source(), trials.context())
        listing = _listing(store, base, url, connections, only)
        mirror = trials.scratch("files")
        is_local = "file" in (store.protocol if isinstance(store.protocol, tuple) else (store.protocol,))
        budget = LOCAL_BYTES if is_local else REMOTE_BYTES
        looked = _Looked(store, base, listing, mirror, budget, limits, is_local=is_local)
        whole = [table.load.path for table in declared if not table.load.members]
        looked.leave_out(path for pattern in whole for path in matches(pattern, looked.wanted))
        source = DiscoveredSource(name, _portable(load, name, root), [], skipped=looked.left_out())
        if source.load["url"].startswith("${"):
            source.connection["folder"] = url
        if target.declared:
            add_declared(source, target.declared, trials, con, limits)
        elif not looked.wanted:
            named = "; ".join(f"{path}: {why}" for path, why in list(source.skipped.items())[:5])
            raise UsageError(f"{target.address} has no file that a load reads. {named or 'It is empty'}")
        for group in looked.groups(trials, name, con):
            new = group.discovered()
            source.tables += [table for table in new if not _is_read(table, declared)]
            source.skipped |= group.skipped
    names = distinct_names([table.name for table in source.tables])
    for table, own in zip(source.tables, names, strict=True):
        table.name = own
    source.questions += _alike(source.tables)
    return source


def _is_read(table: DiscoveredTable, declared: Iterable[Table[FilesTable]]) -> bool:
    """Whether a declared table reads these members of an archive."""
    members = str(table.load.get("members", ""))
    return any(fnmatchcase(members, known.load.members) for known in declared if known.load.members)


def _place(address: str, name: str, connections: Connections, root: Path) -> tuple[str, str | None]:
    """The url of the source, and the one file below it if the address is that of a file."""
    if address.startswith(("http://", "https://")):
        raise UsageError(
            f"{address}: a load reads files from a folder, s3://bucket/prefix or sftp://host/path, not over HTTP. "
            "Download them into a folder; an API that returns JSON is discovered by its base URL"
        )
    scheme, separator, rest = address.partition("://")
    if separator and scheme != "file":
        _, at, place = rest.rpartition("@")
        if at:
            raise UsageError(
                f"{scheme}://{place}: write the address without user and password; they are "
                f"{connections.place(name, 'username')} and {connections.place(name, 'password')}"
            )
        above, glob = _split_glob(address)
        is_file = PurePosixPath(rest).suffix.lower().lstrip(".") in KNOWN_ENDINGS and "/" in rest
        if not glob and is_file:
            above, _, last = address.rpartition("/")
            glob = glob_escaped(last)
        return above.rstrip("/"), glob or None
    above, glob = _split_glob(address.removeprefix("file://"))
    path = (root / Path(above).expanduser()).resolve()
    if glob:
        return str(path), glob
    if path.is_file():
        return str(path.parent), glob_escaped(path.name)
    if not path.is_dir():
        raise UsageError(f"there is no file or folder {address}")
    return str(path), None


def _split_glob(address: str) -> tuple[str, str]:
    """An address as a folder and a glob below it; the glob is empty if it has none of a glob's signs."""
    parts = address.split("/")
    first = next((place for place, part in enumerate(parts) if set(part) & set("*?[")), None)
    if first is None:
        return address, ""
    return "/".join(parts[:first]) or ("/" if address.startswith("/") else "."), "/".join(parts[first:])


KNOWN_ENDINGS = {
    "csv",
    "tsv",
    "json",
    "jsonl",
    "ndjson",
    "parquet",
    "xlsx",
    "xls",
    "log",
    "txt",
    "gz",
    "zst",
    "zip",
}
"""Endings by which an address on a server is that of one file."""


def _listing(
    store: Any, base: str, url: str, connections: Connections, only: str | None
) -> dict[str, dict[str, Any]]:
    """What the store says about each file, by its path below the url."""
    try:
        found = store.glob(f"{base}/{only}", detail=True) if only else store.find(base, detail=True)
    except Exception as error:  # each kind of store has its own
        reason = with_reason(connections.redact(str(error)), error)
        raise ConnectionError(
            f"cannot list {url}: {reason}. Check the address and the keys of its connection"
        ) from None
    listing = {
        path.removeprefix(base).lstrip("/"): i for path, i in found.items() if i["type"] != "directory"
    }
    return {path: info for path, info in sorted(listing.items()) if not is_litter(path)}


def _portable(load: Mapping[str, Any], name: str, root: Path) -> dict[str, Any]:
    """The source's load block as it works on every machine."""
    url = str(load["url"])
    if "://" in url:
        return dict(load)
    path = Path(url)
    if path.is_relative_to(root.resolve()):
        return {**load, "url": path.relative_to(root.resolve()).as_posix()}
    return {**load, "url": f"${{{name}.folder}}"}


class _Looked:
    """The files that are looked at, on this machine."""

    def __init__(
        self,
        store: Any,
        base: str,
        listing: Mapping[str, dict[str, Any]],
        mirror: Path,
        budget: int,
        limits: Limits,
        *,
        is_local: bool,
    ) -> None:
        self._store, self._base, self._mirror, self._budget = store, base, mirror, budget
        self._listing, self._limits, self._is_local = listing, limits, is_local
        self._skipped = {path: why for path in listing if (why := self._why_left_out(path))}
        self.wanted = [path for path in listing if path not in self._skipped]

    def _why_left_out(self, path: str) -> str | None:
        if self._listing[path]["type"] == "link":
            return "a symbolic link, which a load does not follow"
        return why_left_out(path)

    def leave_out(self, paths: Iterable[str]) -> None:
        """Look for tables in the other files only."""
        others = set(paths)
        self.wanted = [path for path in self.wanted if path not in others]

    def left_out(self) -> dict[str, str]:
        """Files that no load reads, by name, with the reason."""
        return self._skipped

    def groups(self, trials: TrialLoads, name: str, con: duckdb.DuckDBPyConnection) -> list[FileTables]:
        """The groups of files, each with the files of it that are looked at."""
        found = [part for group in grouped(self.wanted, self._columns(trials)) for part in self._split(group)]
        if self._limits.tables:
            found = [g for g in found if any(fnmatchcase(g.name, pattern) for pattern in self._limits.tables)]
        return [self._tables(group, trials, name, con) for group in found]

    def _tables(
        self, group: FileGroup, trials: TrialLoads, name: str, con: duckdb.DuckDBPyConnection
    ) -> FileTables:
        size = sum(map(self._size, group.files))
        scratch = trials.scratch("plain")
        local = self._on_disk(group)
        if self._is_local and size <= self._budget:
            return FileTables(group, local, trials, con, name, scratch, self._limits, size, size)
        read = sum(min(self._size(path), file.stat().st_size) for path, file in local.items())
        return FileTables(
            group, local, trials.below(self._mirror), con, name, scratch, self._limits, size, read
        )

    def _split(self, group: FileGroup) -> list[FileGroup]:
        """The files of a group by their headers, where these are not those of one table."""
        if group.format not in ("csv", "text") or not group.files[1:]:
            return [group]
        headers = {path: _first_line(file) for path, file in self._on_disk(group).items()}
        parts = apart(headers)
        if len(parts) == 1:
            return [group]
        return parted(group, parts, self.wanted)

    def _columns(self, trials: TrialLoads) -> dict[str, tuple[str, ...]]:
        """The columns of files that are called the same in several folders."""
        by_name: dict[str, list[FileGroup]] = {}
        for group in grouped(self.wanted):
            by_name.setdefault(PurePosixPath(group.path).name, []).append(group)
        alike = [group for groups in by_name.values() if len(groups) > 1 for group in groups]
        columns = {}
        for group in alike:
            small = min(group.files, key=lambda path: self._size(path) or self._budget)
            keys = {"path": glob_escaped(small), "format": file_format(small)}
            one = FileGroup("peek", keys["path"], keys["format"], (small,))
            peek = self._tables(one, trials, "peek", trials.con)
            if tables := peek.discovered():
                columns[group.files[0]] = tuple(sorted(column.name for column in tables[0].columns))
        return columns

    def _size(self, path: str) -> int:
        return int(self._listing[path].get("size") or 0)

    def _on_disk(self, group: FileGroup) -> dict[str, Path]:
        """The files of a group that are looked at, where they are or as copies."""
        if self._is_local and sum(map(self._size, group.files)) <= self._budget:
            return {path: Path(self._base, path) for path in group.files}
        return self._fetched(group)

    def _fetched(self, group: FileGroup) -> dict[str, Path]:
        """Files of a group on this machine: all, or as many as the budget allows, from the first to the last."""
        local = {}
        for path in self._chosen(group.files):
            copy = self._mirror / path
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                if not self._is_local:
                    self._store.get(f"{self._base}/{path}", str(copy))
                elif self._size(path) <= self._budget or not _cut(Path(self._base, path), copy, self._budget):
                    shutil.copyfile(Path(self._base, path), copy)
            local[path] = copy
        return local

    def _chosen(self, paths: Sequence[str]) -> list[str]:
        total = sum(map(self._size, paths))
        if total <= self._budget:
            return list(paths)
        count = max(int(len(paths) * self._budget / total), 1)
        return sorted({paths[int(place * len(paths) / count)] for place in range(count)})


def _cut(path: Path, copy: Path, budget: int) -> bool:
    """Write a sample of a large file: blocks of its lines, or rows of Parquet; False for formats that are not cut."""
    form, packed = file_format(str(path)), ending(str(path))[1]
    if form == "parquet":
        with duckdb.connect() as con:
            scan = f"from read_parquet({literal(path)}) using sample 100000 rows"
            con.execute(f"copy ({scan}) to {literal(copy)} (format parquet)")
        return True
    if form not in ("csv", "jsonl", "lines", "text") or packed not in ("", ".gz"):
        return False
    stride = max(path.stat().st_size * (8 if packed else 1) // budget, 1) + 1
    out: IO[bytes]
    with opened(path) as source, gzip.open(copy, "wb") if packed else copy.open("wb") as out:  # type: ignore[assignment]
        for number, line in enumerate(source):
            if number // BLOCK_LINES % stride == 0:
                out.write(line)
    return True


def _first_line(path: Path) -> bytes:
    """The beginning of a file, decompressed, up to its first line with a text."""
    with opened(path) as source:
        beginning = source.read(HEADER_BYTES)
    return next((line for line in beginning.splitlines() if line.strip()), b"")


def _alike(tables: Sequence[DiscoveredTable]) -> list[str]:
    """Questions on tables in one folder that have the same columns."""
    by_columns: dict[Any, list[DiscoveredTable]] = {}
    for table in tables:
        columns = tuple(column.name for column in table.columns)
        folder = str(PurePosixPath(str(table.load["path"])).parent)
        by_columns.setdefault((folder, table.load["format"], columns), []).append(table)
    return [
        f"{', '.join(table.name for table in alike)} have the same columns: are they one table? "
        "Then declare one with a path that matches the files of all"
        for alike in by_columns.values()
        if len(alike) > 1 and len(alike[0].columns) > 2
    ]
