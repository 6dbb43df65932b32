"""What discovery writes into a project: a new source file, and the address of its system into `.env`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from sluice.config.settings import Settings
from sluice.discover.run import Discovery
from sluice.discover.source_file import ProjectFacts, render
from sluice.errors import SluiceError
from sluice.system import git, write_private


@dataclass(frozen=True)
class Written:
    """What was written, and what is worth saying about it."""

    file: Path
    messages: list[str]


def source_path(settings: Settings, name: str) -> Path:
    return settings.sources / f"{name}.yml"


def project_facts(settings: Settings) -> ProjectFacts:
    """What the project offers a source file."""
    folders = ("tests/generic", "macros")
    key_test = any((settings.root / folder / "primary_key.sql").is_file() for folder in folders)
    return ProjectFacts(key_test, git(settings.root, "config", "user.email") or None)


def write_source(settings: Settings, found: Discovery) -> Written:
    """Write the source file, and its connection into `.env`; raises SluiceError rather than overwrite anything."""
    source = found.source
    file = source_path(settings, source.name)
    if file.exists():
        raise SluiceError(f"{file} exists already; nothing was written")
    if not source.tables:
        raise SluiceError(f"{source.name}: no table was found; nothing was written")
    messages = save_connection(settings, source.name, source.connection)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(render(source, found.relationships, project_facts(settings)), encoding="utf-8")
    new.chmod(0o644)
    new.replace(file)
    return Written(file, messages)


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
