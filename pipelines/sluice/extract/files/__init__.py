"""Files in a folder, a bucket or on an SFTP server; each loaded once, and again when its content changes.

A file is identified by its path below the source's url. Its rows carry `_file` and `_line`; when its
content changes, the rows it brought before are replaced in the same transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

import fsspec

from sluice.config.declaration import FilesSource, FilesTable, Source, Table
from sluice.errors import ConnectionError, LoadError
from sluice.extract.contract import ExtractContext, Extraction, JsonRecords, TypedRows, each_table
from sluice.extract.files.appended import ends
from sluice.extract.files.archives import is_litter
from sluice.extract.files.common import FileBuffer, Found
from sluice.extract.files.reader import FilesReader, may_lose_keys, named, summed_up
from sluice.extract.unreachable import with_reason

S3 = {"connect_timeout": 10, "read_timeout": 30, "retries": {"total_max_attempts": 5, "mode": "standard"}}
"""Limits of each request; failed ones are retried, with waits that double and vary randomly."""
S3_TRIES = 3
"""Tries for what those retries did not bring, and for a body that breaks off."""
FETCHING_SECONDS = 30
"""How long to find out which of several files cannot be fetched."""
UNSETTLED_SECONDS = 5
"""A file changed this recently may change again without another time or size."""


def extract(
    source: Source[FilesSource, FilesTable], tables: Sequence[Table[FilesTable]], context: ExtractContext
) -> Generator[Extraction, None, None]:
    """Extract the new and changed files of every table."""
    store, base = open_store(source, context)
    tries = _S3Tries(context)
    if "s3" in store.protocol:
        tries.watch(store)

    def extract_table(table: Table[FilesTable]) -> TypedRows | JsonRecords | None:
        tries.table = table.name
        return _extract_table(store, base, table, context)

    yield from each_table(tables, extract_table)


class _S3Tries:
    """Reports what a bucket is asked for again, which botocore and s3fs do by themselves."""

    def __init__(self, context: ExtractContext) -> None:
        self._context = context
        self.table = ""
        """The table that is being read."""
        self._asked: set[str] = set()
        """Objects asked for since the bucket was listed."""

    def watch(self, store: Any) -> None:
        store.connect()
        events = store.s3.meta.events
        events.register("needs-retry.s3", self._answered)
        events.register("before-parameter-build.s3.ListObjectsV2", self._listing)
        events.register("before-parameter-build.s3.GetObject", self._asking)

    def _answered(
        self,
        response: tuple[Any, Any] | None,
        caught_exception: Exception | None,
        operation: Any,
        attempts: int,
        **_: Any,
    ) -> None:
        status = response[0].status_code if response else 0
        if caught_exception or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            said = type(caught_exception).__name__ if caught_exception else f"answered {status}"
            self._context.retried(self.table, f"{operation.name}: {said}; that was try {attempts}")

    def _listing(self, **_: Any) -> None:
        self._asked.clear()

    def _asking(self, params: dict[str, Any], **_: Any) -> None:
        name = params["Key"]
        if name in self._asked:
            place = params.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
            self._context.retried(self.table, f"{name} broke off; going on at byte {place}")
        self._asked.add(name)


def open_store(source: Source[FilesSource, FilesTable], context: ExtractContext) -> tuple[Any, str]:
    """The file system of the source's url, and the url's path on it."""
    url = context.connections.fill(source.load.url)
    keys = context.connections.all(source.load.connection) if source.load.connection else {}
    if url.startswith("s3://"):
        store = fsspec.filesystem(
            "s3",
            key=keys.get("access_key_id"),
            secret=keys.get("secret_access_key"),
            token=keys.get("session_token"),
            client_kwargs={
                k: v for k in ("endpoint_url", "region_name") if (v := keys.get(k.replace("_name", "")))
            },
            config_kwargs=dict(S3),
            skip_instance_cache=True,
            use_listings_cache=False,
            max_concurrency=1,  # parts of one object read in parallel are not resumed when they break off
        )
        store.retries = S3_TRIES
        return store, url.removeprefix("s3://").rstrip("/")
    if url.startswith("sftp://"):
        logging.getLogger("paramiko").addHandler(
            logging.NullHandler()
        )  # it would write tracebacks to the terminal
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
                f"{source.name}: cannot reach the SFTP server {host}: "
                f"{with_reason(context.connections.redact(str(error)), error)}"
            ) from None
        return store, f"/{path}".rstrip("/")
    folder = context.root / url.removeprefix("file://")
    if not folder.is_dir():
        raise ConnectionError(f"{source.name}: there is no folder {url!r} (below the project's root)")
    return fsspec.filesystem("file"), str(folder)


def _extract_table(
    store: Any, base: str, table: Table[FilesTable], context: ExtractContext, *, continues: bool = True
) -> TypedRows | JsonRecords | None:
    """Extract the files that are new; those that were only appended to from where they ended, if `continues`."""
    known = dict(context.kept(table.name).get("files", {}))
    there = list(_found(store, base, table, context))
    missing = _missing(there, known, base, table, context)
    changed = [file for file in there if known.get(file.name, [None])[0] != file.version]
    if context.options.retry_quarantine and not context.refreshes(table.name):
        unread = context.raw.quarantined_files(table)
        unread |= {str(within) for name in unread for within in PurePosixPath(name).parents}  # an archive
        found, missing = [file for file in there if file.name in unread], []
        known_contents: dict[str, list[str]] = {}
    else:
        found, known_contents = changed, known
        if may_lose_keys(missing, changed, known, table):
            found = there
    if not found and not missing:
        return None
    if found:
        _fetch(store, base, found, table, context)
    may_end = continues and not table.load.deletes and not may_lose_keys(missing, changed, known, table)
    ended = ends(found, known_contents, table, context) if may_end else {}
    buffer = FileBuffer(context, table)

    def read_whole() -> TypedRows | JsonRecords | None:
        context.progress(table.name, -buffer.rows)
        return _extract_table(store, base, table, context, continues=False)

    with ThreadPoolExecutor(1, thread_name_prefix="sha256") as beside:
        return FilesReader(
            table, context, buffer, found, missing, known, known_contents, ended, beside, read_whole
        ).rows()


def _missing(
    there: Sequence[Found],
    known: Mapping[str, list[str]],
    base: str,
    table: Table[FilesTable],
    context: ExtractContext,
) -> list[str]:
    """Files that were loaded before and are gone, where the table wants their rows deleted.

    Raises LoadError if no file was ever there, or one may not be missing.
    """
    if not there and not known:
        raise LoadError(f"{table.qualified}: no file matches {table.load.path!r} below {base}")
    missing = sorted(known.keys() - {file.name for file in there})
    if missing and table.load.missing_files == "fail":
        raise LoadError(
            f"{table.qualified}: {len(missing)} file(s) that were loaded before are missing: {named(missing)}. "
            "Nothing was loaded. Bring them back; or, if they are to be gone, let missing_files in "
            f"{table.file.name} be delete or keep"
        )
    if not there:
        context.warned(
            table.name,
            f"{table.qualified}: 0 files match {table.load.path!r} below {base} ({len(known)} were loaded before)",
        )
    return missing if table.load.missing_files == "delete" else []


def _found(store: Any, base: str, table: Table[FilesTable], context: ExtractContext) -> Iterator[Found]:
    """The files there are; one that may still change has a version that no load saw before."""
    files = _listed(store, base, table, context)
    now = time.time()
    for number, (path, info) in enumerate(sorted(files.items())):
        name = path.removeprefix(base).lstrip("/")
        version = _version(info)
        if not info.get("ETag") and abs(_seconds(_stamp(info)) - now) < UNSETTLED_SECONDS:
            version += f" at {now}"  # may change again within the clock's resolution: look at it next time
        # without its ending, by which readers would try to unpack it again
        local = context.folder / f"{table.name}.files" / str(number)
        yield Found(name, path, version, local, name)


def _listed(
    store: Any, base: str, table: Table[FilesTable], context: ExtractContext
) -> dict[str, dict[str, Any]]:
    """What the store reports about each file of the table, by its path there."""
    pattern = f"{base}/{table.load.path}"
    try:
        listing = store.glob(pattern, detail=True)
    except Exception as error:
        raise ConnectionError(
            f"{table.qualified}: cannot list {pattern}: "
            f"{with_reason(context.connections.redact(str(error)), error)}"
        ) from None
    return {path: info for path, info in listing.items() if info["type"] == "file" and not is_litter(path)}


def _version(info: Mapping[str, Any]) -> str:
    return f"{info['size']} {_stamp(info)}"


def _stamp(info: Mapping[str, Any]) -> Any:
    return info.get("ETag") or info.get("mtime") or info.get("LastModified")


def _fetch(
    store: Any, base: str, found: Sequence[Found], table: Table[FilesTable], context: ExtractContext
) -> None:
    """Copy files to this machine, each as it was at one moment."""
    found[0].local.parent.mkdir(parents=True, exist_ok=True)
    seen = {file.remote: file.version for file in found}
    for _ in range(S3_TRIES):
        _copy(store, found, table, context)
        if "s3" not in store.protocol:
            return
        # a large object of a bucket comes in parts, and is resumed when it breaks off: it may have been replaced
        # in between
        now = {path: _version(info) for path, info in _listed(store, base, table, context).items()}
        found = [file for file in found if now.get(file.remote, seen[file.remote]) != seen[file.remote]]
        if not found:
            return
        seen |= now
        context.retried(table.name, f"{found[0].name} changed while it was fetched; fetching it once more")
    raise LoadError(
        f"{table.qualified}: {found[0].name} changed each of {S3_TRIES} times while it was fetched; nothing was "
        "loaded. Load again when it stays as it is"
    )


def _copy(store: Any, found: Sequence[Found], table: Table[FilesTable], context: ExtractContext) -> None:
    try:
        store.get([f.remote for f in found], [str(f.local) for f in found])
    except Exception as error:  # each kind of store has its own
        failed = (_not_fetched(store, found) if found[1:] else {}) or {found[0].name: error}
    else:
        return
    reasons = {name: " ".join(f"{type(error).__name__}: {error}".split()) for name, error in failed.items()}
    errors = [
        f"{table.qualified}: cannot fetch {name}: {context.connections.redact(said)}"
        for name, said in reasons.items()
    ]
    total = f"{table.qualified}: {len(errors)} files cannot be fetched"
    raise ConnectionError("\n".join(summed_up(errors, total)) + "; nothing was loaded. Load again")


def _not_fetched(store: Any, found: Sequence[Found]) -> dict[str, Exception]:
    """Which of the files that were asked for together cannot be fetched, and why: those that are not here, one by one.

    Ends early where that takes long.
    """
    failed: dict[str, Exception] = {}
    until = time.monotonic() + FETCHING_SECONDS
    for file in found:
        here = file.local.stat().st_size if file.local.exists() else 0
        is_here = here and here == int(file.version.split()[0])
        if is_here or (failed and time.monotonic() > until):
            continue
        try:
            store.get(file.remote, str(file.local))
        except Exception as error:  # each kind of store has its own
            failed[file.name] = error
    return failed


def _seconds(changed: Any) -> float:
    return changed.timestamp() if isinstance(changed, datetime) else float(changed or 0)
