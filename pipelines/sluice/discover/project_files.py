"""What discovery writes into a project: a new source file, and the address of its system into `.env`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from dotenv import dotenv_values

from sluice.config.dbt_project import macros
from sluice.config.declaration import Source
from sluice.config.settings import Settings
from sluice.config.text_files import diff, replace_text
from sluice.discover.contract import Limits
from sluice.discover.differences import Difference, differences
from sluice.discover.run import Discovery
from sluice.discover.source_file import ProjectFacts, render
from sluice.discover.source_patch import patched
from sluice.errors import SluiceError
from sluice.system import git, write_private


@dataclass(frozen=True)
class Written:
    """What became of the source file."""

    file: Path
    is_new: bool
    messages: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    """Between the file that was there and the system."""
    patch: str = ""
    """What would bring them into the file, as `git apply` takes it."""


def project_facts(settings: Settings) -> ProjectFacts:
    """What the project offers a source file."""
    key_test = "test_primary_key" in macros(settings.root, os.environ)
    return ProjectFacts(key_test, git(settings.root, "config", "user.email") or None)


def save_source(
    settings: Settings,
    found: Discovery,
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    *,
    write: bool = False,
) -> Written:
    """Write the source file if there is none; else find what is new, which goes into the file only with `write`.

    The system's address goes into `.env`. Raises SluiceError rather than overwrite anything.
    """
    source = found.source
    if found.target.declared:
        return _update(settings, found, found.target.declared, con, limits, write)
    file = settings.sources / f"{source.name}.yml"
    if file.exists():
        raise SluiceError(
            f"{file} exists and has mistakes, or no source {source.name!r}; nothing was written. Run sluice check, or "
            "give the new source another name: --name"
        )
    if not source.tables:
        left_out = "".join(f"\n{name}: {reason}" for name, reason in source.skipped.items())
        raise SluiceError(f"{source.name}: no table can be loaded; nothing was written{left_out}")
    messages = save_connection(settings, source.name, source.connection)
    replace_text(file, render(source, found.relationships, project_facts(settings)))
    return Written(file, True, messages)


def _update(
    settings: Settings,
    found: Discovery,
    declared: Source[Any, Any],
    con: duckdb.DuckDBPyConnection,
    limits: Limits,
    write: bool,
) -> Written:
    different = differences(declared, found.source, limits, con)
    said = {table.name for table in declared.declared}
    found.source.skipped = {name: why for name, why in found.source.skipped.items() if name not in said}
    with declared.file.open(encoding="utf-8", newline="") as opened:
        before = opened.read()
    begin = "\ufeff" if before.startswith("\ufeff") else ""
    after = patched(declared, before[len(begin) :], different, found.relationships, project_facts(settings))
    patch = diff(declared.file.relative_to(settings.root).as_posix(), before, begin + after)
    if write and patch:
        replace_text(declared.file, begin + after)
    messages = save_connection(settings, declared.load.connection, found.source.connection) if write else []
    return Written(declared.file, False, messages, different, patch)


def save_connection(settings: Settings, name: str, values: Mapping[str, str]) -> list[str]:
    """Add a connection to `.env`, readable by its owner only; raises SluiceError if it has another value there."""
    if not values:
        return []
    file = (settings.root / ".env").resolve()
    text = file.read_text(encoding="utf-8-sig") if file.is_file() else ""
    known = {**(dotenv_values(file) if text else {}), **os.environ}
    lines = []
    for key, value in values.items():
        variable = f"CONNECTIONS__{name}__{key}".upper()
        if known.get(variable, value) != value:
            raise SluiceError(
                f"{variable} is set already, and not to this address; nothing was written. Give the source another "
                f"name (--name), or look at the connection that exists: sluice discover {name}"
            )
        if variable not in known:
            lines.append(f"{variable}={_quoted(value)}")
    if not lines:
        return []
    before = text if not text or text.endswith("\n") else f"{text}\n"
    write_private(file, before + "\n".join(lines) + "\n")
    messages = [f".env: the address, as {line.partition('=')[0]}" for line in lines]
    inside = git(settings.root, "rev-parse", "--is-inside-work-tree") == "true"
    if inside and git(settings.root, "check-ignore", "-q", ".env") is None:
        messages.append(
            ".env holds a password and git does not ignore it: add .env to .gitignore before you commit"
        )
    return messages


def _quoted(value: str) -> str:
    """A value as python-dotenv reads it back, also with blanks, quotes and signs of a shell."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
