"""Looks at one system, whatever its kind, and infers what its rows show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb

from sluice.config.column_names import normalized
from sluice.config.connections import Connections
from sluice.config.declaration import Source
from sluice.config.settings import Settings
from sluice.config.sources import read_sources
from sluice.discover.contract import DiscoveredSource, Limits, Relationship, Target
from sluice.errors import UsageError, did_you_mean

MEMORY = "2GB"
"""Of the scratch database; what needs more goes through its temporary folder."""
SQLITE_HEADER = b"SQLite format 3\0"
OPENAPI = re.compile(r"""^\s*["']?(openapi|swagger)["']?\s*:""", re.MULTILINE)
"""The key by which a YAML or JSON document is an OpenAPI description."""
KINDS = {
    "nats": "stream",
    "tls": "stream",
    "kafka": "stream",
    "s3": "files",
    "sftp": "files",
    "file": "files",
    "http": "rest",
    "https": "rest",
}
"""Kinds of sources by the scheme of an address; all other schemes are databases'."""


@dataclass
class Discovery:
    """What was found in one system."""

    source: DiscoveredSource
    target: Target
    relationships: list[Relationship] = field(default_factory=list)


@contextmanager
def scratch_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory for the rows that are looked at; what it writes to disk is gone at the end."""
    with (
        TemporaryDirectory(prefix="sluice-discover-") as folder,
        duckdb.connect(":memory:", config={"temp_directory": folder}) as con,
    ):
        con.execute(f"set memory_limit = '{MEMORY}'; set TimeZone = 'UTC'")
        yield con


def find_target(
    address: str, settings: Settings, *, name: str | None = None, connection: str | None = None
) -> Target:
    """What an address means: a URL, a path, or the name of a declared source or a connection.

    Raises UsageError for an address that is none of them, or that gives no name for the source.
    """
    connections = Connections(settings.root, settings.connections)
    declared = {source.name: source for source in read_sources(settings.sources)[0]}
    if address in declared:
        return declared_target(declared[address], connections)
    if address in connections.names() and not Path(address).exists():
        values = connections.all(address)
        servers = values.get("bootstrap_servers")
        url = values.get("url") or values.get("base_url") or (servers and f"kafka://{servers}")
        if not url:
            raise UsageError(
                f"the connection {address!r} has no url; give the address as well: sluice discover URL"
            )
        return Target(_source_name(name or address), kind_of(url, settings.root), url, address)
    kind = kind_of(address, settings.root)
    if not kind:
        names = [*declared, *connections.names()]
        raise UsageError(
            f"{address!r} is not a URL, a file or a folder here, and neither a source nor a connection."
            f"{did_you_mean(address, names)}"
        )
    target = Target(_source_name(name or _name_in(address)), kind, address, connection)
    if known := declared.get(target.name):
        return replace(target, declared=known, connection=_same_connection(target, known, connections))
    return target


def _same_connection(target: Target, source: Source[Any, Any], connections: Connections) -> str | None:
    """The connection of a declared source that is at this address; raises UsageError if it is of another system."""
    load = source.load.model_dump()
    name = load.get("connection")
    url = connections.get(name, "url") if name and source.kind == "database" else load.get("url")
    if source.kind != target.kind or (url and url != database_url(target)):
        raise UsageError(
            f"{source.file.name} declares another system as {source.name}. Look at that by its name (sluice discover "
            f"{source.name}), or give this one another: --name"
        )
    return name if url else None


def declared_target(source: Source[Any, Any], connections: Connections) -> Target:
    """The system of a declared source; raises UsageError for a kind that has none."""
    load = source.load.model_dump()
    connection = load.get("connection")
    address = load.get("url") or (load.get("client") or {}).get("base_url")
    if connection and not address:
        values = connections.all(connection)
        servers = values.get("bootstrap_servers")
        address = values.get("url") or (servers and f"kafka://{servers}")
        address = address or connections.require(connection, "url")
    if not address:
        raise UsageError(f"{source.name} is of the kind {source.kind}, whose system cannot be looked at")
    return Target(source.name, source.kind, connections.fill(address), connection, source)


def kind_of(address: str, root: Path) -> str:
    """The kind of source that an address is of; empty if it is no address."""
    scheme, separator, _ = address.partition("://")
    if separator:
        return KINDS.get(scheme.lower(), "database")
    path = root / address
    if path.is_file():
        with path.open("rb") as opened:
            begin = opened.read(100_000)
        if begin.startswith(SQLITE_HEADER):
            return "database"
        is_document = path.suffix.lower() in (".json", ".yml", ".yaml")
        return "rest" if is_document and OPENAPI.search(begin.decode(errors="replace")) else "files"
    return "files" if path.is_dir() or any(sign in address for sign in "*?[") else ""


def _name_in(address: str) -> str:
    """The part of an address that names the system: a database, a folder, a bucket, a host."""
    if "://" not in address:
        return Path(address.rstrip("/")).stem
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https"):  # a path such as api/v2 names no system
            labels = [part for part in (parts.hostname or "").split(".") if part not in ("api", "www")]
            return labels[0] if labels and not labels[0].isdigit() else ""
        place = unquote(parts.path.strip("/").rpartition("/")[2]).partition(".")[0]
        return place or (parts.hostname or "").partition(".")[0]
    except ValueError:
        return ""


def _source_name(given: str) -> str:
    """A name for the source; raises UsageError if nothing of what was given can be one."""
    name = normalized(given).strip("_")
    if not re.match(r"[a-z]", name):
        raise UsageError(f"{given!r} gives no name for the source; choose one: --name shop")
    return name


def discover(
    target: Target, settings: Settings, con: duckdb.DuckDBPyConnection, limits: Limits | None = None
) -> Discovery:
    """Look at the system, and propose what its rows show; `con` is the scratch database, and keeps the rows.

    Raises ConnectionError if the system cannot be reached.
    """
    from sluice.discover.differences import take_declared_names
    from sluice.discover.incremental import only_with_key
    from sluice.discover.inference import infer
    from sluice.discover.raw_sources import sources_in_raw

    found = Discovery(look(target, settings, con, limits or Limits()), target)
    if target.declared:
        take_declared_names(found.source, target.declared)
    others = [other for other in sources_in_raw(settings, con) if other.name != target.name]
    found.relationships = infer(con, found.source, others)
    if target.kind == "rest" and not target.declared:
        for table in found.source.tables:
            only_with_key(table)
    return found


def look(
    target: Target, settings: Settings, con: duckdb.DuckDBPyConnection, limits: Limits
) -> DiscoveredSource:
    """What the system says of itself, and its rows in `con`."""
    given: Mapping[str, Mapping[str, str]] = {}
    if not target.connection and target.kind == "database":
        given = {target.name: {"url": database_url(target)}}
    connections = Connections(settings.root, settings.connections, given)
    if target.kind == "database":
        from sluice.discover.databases import discover_database

        return discover_database(target, con, limits, settings.root, connections)
    if target.kind == "files":
        from sluice.discover.files import discover_files

        return discover_files(target, con, limits, settings.root, connections)
    if target.kind == "rest":
        from sluice.discover.rest import discover_rest

        return discover_rest(target, con, limits, settings.root, connections)
    if target.kind == "stream":
        from sluice.discover.streams import discover_stream

        return discover_stream(target, con, limits, settings.root, connections)
    raise UsageError(
        f"a source of the kind {target.kind} is code of this project; there is no system to look at"
    )


def database_url(target: Target) -> str:
    """The address as the loader takes it: a file of SQLite as a URL."""
    if target.kind != "database" or "://" in target.address:
        return target.address
    return f"sqlite:///{target.address}"
