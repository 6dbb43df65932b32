"""Checks of a declaration that is well-formed, yet may not work: columns, types, secrets, functions, names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from sluice.config.connections import REFERENCE, SECRET_KEYS, URL_PASSWORD
from sluice.config.declaration import FilesSource, FilesTable, PythonTable, Source, StreamTable, Table
from sluice.config.known_keys import MOMENT_KEYS
from sluice.config.settings import find_project
from sluice.config.yaml_file import Lines, Problem, dig, read_yaml
from sluice.errors import with_hint

ABSOLUTE = re.compile(r"/|~|file:/|[A-Za-z]:[\\/]|\\\\")
"""Beginnings of paths that do not begin in the project."""
CREDENTIALS = {
    "s3": "access_key_id and secret_access_key (and endpoint_url, where it is not Amazon's)",
    "sftp": "username, and password or key_file",
}
"""What the servers of files want to know, by the scheme of their url."""
RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d|_dlt_.*)$")
"""Names that dlt does not give to files, or keeps for itself."""

Finding = tuple[list[str | int], str, str]
"""Path within the source's entry, the place in words, and what is wrong there."""
LOAD = ("config", "meta", "load")


def inconsistencies(source: Source[Any, Any], entry: Any) -> Iterator[Finding]:
    """What is well-formed in the source's YAML `entry`, and still cannot be meant."""
    for path, message in _literal_secrets(dig(entry, *LOAD), source.name):
        yield [*LOAD, *path], f"{source.name}.config.meta.load.{'.'.join(map(str, path))}", message
    names = [table.name for table in source.tables]
    for i, table in enumerate(source.tables):
        at: list[str | int] = ["tables", i]
        if RESERVED.match(table.name):
            yield [*at, "name"], table.qualified, "is a reserved name; choose another one"
        if names.index(table.name) != i:
            yield at, table.qualified, "is declared twice in this source"
        yield from _column_inconsistencies(table, at)
        for path, message in _literal_secrets(dig(entry["tables"][i], *LOAD), source.name):
            yield [*at, *LOAD, *path], f"{table.qualified}.{'.'.join(map(str, path))}", message
        yield from _kind_inconsistencies(source, table, at)


def _column_inconsistencies(table: Table[Any], at: list[str | int]) -> Iterator[Finding]:
    from sluice.config.data_types import duckdb_type  # imports DuckDB, which not every command needs

    names = [c.name for c in table.columns]
    for j, column in enumerate(table.columns):
        where = f"{table.qualified}.{column.name}"
        if names.index(column.name) != j:
            yield [*at, "columns", j], where, "is declared twice"
        if column.data_type:
            try:
                duckdb_type(column.data_type)
            except ValueError as error:
                path = [*at, "columns", j, "data_type"]
                yield path, f"{where}.data_type", f"is {column.data_type!r}: {error}"
    load = table.load
    known = {table.raw_name(declared) for declared in names}
    for key, columns in (
        ("primary_key", load.primary_key),
        ("cursor", filter(None, [load.cursor])),
        ("soft_delete", filter(None, [load.soft_delete])),
    ):
        for name in columns:
            if name[0] == "_":  # which loading adds, or nobody declares
                continue
            if names and key != "soft_delete" and table.raw_name(name) not in known:
                among = f"names {name!r}, which is not among the declared columns: {', '.join(names)}"
                message = with_hint(among, name, names)
                yield [*at, *LOAD, key], f"{table.qualified}.{key}", message
            if table.raw_name(name) in table.excluded:
                yield [*at, *LOAD, "columns"], table.qualified, f"excludes {name!r}, its {key}"
            if load.columns.include is not None and table.raw_name(name) not in map(
                table.raw_name, load.columns.include
            ):
                yield [*at, *LOAD, "columns"], table.qualified, f"does not include {name!r}, its {key}"
    if twice := [name for n, name in enumerate(load.primary_key) if name in load.primary_key[:n]]:
        yield [*at, *LOAD, "primary_key"], f"{table.qualified}.primary_key", f"names {twice[0]!r} twice"


def _format_inconsistencies(table: Table[FilesTable], at: list[str | int]) -> Iterator[Finding]:
    """Formats of dates and times that are none, or that no column uses."""
    from sluice.config.data_types import check_moment_format, duckdb_type

    used, kinds = {}, set()
    for name, data_type in table.data_types.items():
        with suppress(ValueError):  # reported with the columns
            kind = duckdb_type(data_type)
            kinds.add(kind.partition(" ")[0].partition("_")[0].lower())
            if found := table.moment_format(name, kind):
                used[name] = (*found, kind)
    for name, (key, form, kind) in used.items():
        try:
            check_moment_format(form, kind)
            if table.load.format == "excel" and form.startswith("%Y-%d"):
                raise ValueError(
                    "would read cells that are dates, which arrive as %Y-%m-%d, in the wrong order"
                )
        except ValueError as error:
            path = [*at, *LOAD, key]
            yield path, f"{table.qualified}.{key}", f"is {form!r} for the column {name}: {error}"
    for key in MOMENT_KEYS[:3]:
        what = key.removesuffix("_format")
        if getattr(table.load, key) and what not in kinds:
            yield (
                [*at, *LOAD, key],
                f"{table.qualified}.{key}",
                f"means nothing: no column is declared as {what}",
            )
    for name in table.load.formats:
        if table.raw_name(name) not in used:
            yield (
                [*at, *LOAD, "formats"],
                f"{table.qualified}.formats",
                f"names {name!r}, which is not declared with a data_type",
            )


def _kind_inconsistencies(
    source: Source[Any, Any], table: Table[Any], at: list[str | int]
) -> Iterator[Finding]:
    load = table.load
    if isinstance(load, FilesTable) and not load.header and not table.columns:
        yield [*at], table.qualified, "has no header, so its columns must be declared, in the files' order"
    if isinstance(load, FilesTable):
        yield from _format_inconsistencies(table, at)
    if isinstance(load, StreamTable):
        needed, other = ("stream", "topic") if source.load.protocol == "nats" else ("topic", "stream")
        if getattr(load, needed) is None:
            yield [*at, *LOAD, needed], f"{table.qualified}.{needed}", f"is missing ({source.load.protocol})"
        if getattr(load, other) is not None:
            yield (
                [*at, *LOAD, other],
                f"{table.qualified}.{other}",
                f"means nothing for {source.load.protocol}; write {needed}",
            )
    if isinstance(load, PythonTable):
        from sluice.config.project_code import function_problem, reads_only_news  # no other kind needs them

        root = find_project(source.file.parent) or source.file.parent
        if wrong := function_problem(root, load.resource, load.arguments):
            key, message = wrong
            yield [*at, *LOAD, key], f"{table.qualified}.{key}", message
        elif load.deletes and reads_only_news(root, load.resource):
            message = f"needs a table that is read whole, and {load.resource} has a cursor (dlt.sources.incremental)"
            yield [*at, *LOAD, "deletes"], f"{table.qualified}.deletes", message


def unportable(source: Source[Any, Any]) -> Iterator[Finding]:
    """What works on this machine at best: paths that others do not have, and servers without credentials."""
    name = source.name
    if not isinstance(source.load, FilesSource):
        return
    url, at = source.load.url, f"{name}.config.meta.load.url"
    if ABSOLUTE.match(url):
        folder = f"${{{name}.folder}} and set CONNECTIONS__{name.upper()}__FOLDER on each machine"
        message = (
            f"is {url!r}, a path that not every machine has: write a folder below the project, or {folder}"
        )
        yield [*LOAD, "url"], at, message
    scheme = url.partition("://")[0]
    if scheme in CREDENTIALS and not source.load.connection:
        needed = CREDENTIALS[scheme]
        yield (
            [*LOAD, "url"],
            at,
            f"is {url!r} without a connection: add connection: {name}, and give it {needed}",
        )
    for i, table in enumerate(source.tables):
        path = table.load.path
        if ABSOLUTE.match(path) or "://" in path:
            message = f"is {path!r}: write it relative to the source's url, {url!r}"
            yield ["tables", i, *LOAD, "path"], f"{table.qualified}.path", message


def located(source: Source[Any, Any], findings: Iterable[Finding]) -> list[Problem]:
    """Findings about a source that was read, with their lines."""
    lines = read_yaml(source.file)
    assert isinstance(lines, Lines)
    names = [dig(entry, "name") for entry in dig(lines.value, "sources") or ()]
    at: list[str | int] = ["sources", names.index(source.name)]
    return [
        Problem(source.file, lines.line([*at, *path]), where, message) for path, where, message in findings
    ]


def _literal_secrets(
    value: Any, source: str, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Secrets that are written out anywhere inside a load block."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and SECRET_KEYS.search(str(key)) and not REFERENCE.search(inner):
                message = f"holds a secret; write ${{{source}.{key}}} and set it in the environment"
                yield (*path, key), message
            else:
                yield from _literal_secrets(inner, source, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _literal_secrets(inner, source, (*path, index))
    elif isinstance(value, str) and re.match(r"(Bearer|Basic|Token)\s+(?!\$)\S", value, re.IGNORECASE):
        yield path, f"holds a secret; write ${{{source}.token}} and set it in the environment"
    elif isinstance(value, str) and URL_PASSWORD.search(value):
        yield path, f"holds a password; write ${{{source}.url}} and set it in the environment"


def same_names(sources: Sequence[Source[Any, Any]]) -> Iterator[Problem]:
    """Sources that share a name or a schema with an earlier one."""
    for what in ("name", "schema"):
        seen: dict[str, Source[Any, Any]] = {}
        for source in sources:
            value = getattr(source, what)
            if first := seen.get(value):
                message = f"the {what} {value!r} is already taken in {first.file}:{first.line}"
                yield Problem(source.file, source.line, source.name, message)
            seen.setdefault(value, source)
