"""What a new version of the engine changes in a project's own files: each change finds the old form by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from sluice import __version__
from sluice.config.editors import SCHEMA_FILES, editor_files
from sluice.errors import VersionError
from sluice.scaffold.wheels import RELEASED


@dataclass(frozen=True)
class FileChange:
    """A file of the project with another content; `old` or `new` is None where there is no file before or after."""

    name: str
    """Its path below the project."""
    old: bytes | None
    new: bytes | None
    reason: str

    def diff(self) -> str:
        """The change as `diff -u` shows it; one line for a file that is no text."""
        try:
            old, new = (
                (text or b"").decode("utf-8").splitlines(keepends=True) for text in (self.old, self.new)
            )
        except UnicodeDecodeError:
            size = f"{len(self.new):,} bytes" if self.new is not None else "removed"
            return f"{self.name}: {size}\n"
        before, after = ("/dev/null" if t is None else self.name for t in (self.old, self.new))
        lines = list(unified_diff(old, new, f"{before} (now)", f"{after} (after)", n=3))
        if self.name.endswith((".lock", ".json")):  # made by programs: what people look at is which versions
            lines = [line for line in lines if re.match(r"[+-]([\w.-]+==|\./|--|\+\+)", line)]
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@dataclass(frozen=True)
class FileMigration:
    """One thing that a version changes: the files it looks at, and their text after it."""

    files: str
    """A pattern below the project."""
    reason: str
    rewrite: Callable[[str], str]


def _plugin_of_dbt(text: str) -> str:
    return re.sub(r"(\bmodule\s*:\s*[\"']?)pipelines\.dbt_waits\b", r"\1sluice.dbt.plugin", text)


FILE_MIGRATIONS: Mapping[str, tuple[FileMigration, ...]] = {
    "0.2.0": (
        FileMigration("profiles.yml", "dbt's plugin is a module of the package sluice", _plugin_of_dbt),
    ),
}
"""By the version that needs them; add a version at the end. A rewrite leaves a text alone that has the new form."""

OWN = "|".join(name.replace("_", "[-_]") for name in RELEASED)
WHEEL = re.compile(rf"(\bwheels/(?:{OWN})-)[^-\s]+(-[\w.-]+\.whl)")
"""A wheel of Sluice's in a project that carries it, as `sluice new` makes one."""
PIN = re.compile(rf"(?<![\w./-])((?:{OWN})(?:\[[\w\s,.-]*\])?\s*==\s*)([\w.!+-]+)")
"""A requirement of exactly one version of Sluice."""
PINNED_IN = ("pyproject.toml", "requirements*.txt", "requirements*.in", "requirements*.lock")


def pins(root: Path) -> dict[str, str]:
    """The version of the engine that a project asks for, by the file that says so."""
    return {file.name: found[2] for file in _files(root, *PINNED_IN) if (found := PIN.search(_text(file)))}


def is_newer(version: str, other: str = __version__) -> bool:
    """Whether a version of the engine came after another one, by default this one."""
    first, second = ([int(number) for number in re.findall(r"\d+", text)[:3]] for text in (version, other))
    return first > second


def refuse_newer_pin(root: Path) -> None:
    """Raise VersionError if the project asks for a newer engine than this one."""
    for file, version in pins(root).items():
        if is_newer(version):
            raise VersionError(
                f"{file} asks for Sluice {version}, this is {__version__}: install what the project asks for, from its "
                "lock. Nothing was changed"
            )


def changes(root: Path) -> list[FileChange]:
    """What this engine changes in the files of a project; text files are read as UTF-8, their line ends are kept."""
    rewrites: list[tuple[str, str, Callable[[str], str]]] = [
        (m.files, f"since {version}: {m.reason}", m.rewrite)
        for version, migrations in FILE_MIGRATIONS.items()
        for m in migrations
    ]
    rewrites.append(("pyproject.toml", f"the engine is Sluice {__version__}", _wheel))
    rewrites += [(pattern, f"pins Sluice {__version__}", _pinned) for pattern in PINNED_IN]
    found: dict[str, FileChange] = {}
    for pattern, reason, rewrite in rewrites:
        for file in _files(root, pattern):
            name = file.relative_to(root).as_posix()
            earlier = found.get(name)
            text = (earlier.new or b"").decode("utf-8") if earlier else _text(file)
            if (new := rewrite(text)) != text:
                reasons = f"{earlier.reason}; {reason}" if earlier else reason
                found[name] = FileChange(name, file.read_bytes(), new.encode("utf-8"), reasons)
    texts = editor_files() if any((root / name).is_file() for name in SCHEMA_FILES) else {}
    for name in SCHEMA_FILES:
        file = root / name
        if file.is_file() and (content := file.read_bytes()) != texts[name].encode():
            found[name] = FileChange(
                name, content, texts[name].encode(), f"the schema of Sluice {__version__}"
            )
    return list(found.values())


def left_to_do(root: Path, changed: Collection[str]) -> list[str]:
    """What a person has to do about the files: pins with hashes of the old version in files that are not `changed`."""
    return [
        f"{name} pins sluice {version} with its hash: lock it again"
        for name, version in pins(root).items()
        if version != __version__ and name not in changed
    ]


def _wheel(text: str) -> str:
    return WHEEL.sub(rf"\g<1>{__version__}\2", text)


def _pinned(text: str) -> str:
    """The text with pins of this version, except where hashes of the pinned one follow."""

    def replace(found: re.Match[str]) -> str:
        rest = text[found.end() :].partition("\n")[0]
        return found[0] if rest.rstrip().endswith("\\") or "--hash" in rest else f"{found[1]}{__version__}"

    return PIN.sub(replace, text)


def _files(root: Path, *patterns: str) -> Iterator[Path]:
    return (
        file for pattern in patterns for file in sorted(root.glob(pattern)) if file.is_file() and _text(file)
    )


def _text(file: Path) -> str:
    """Its text with the line ends as they are; empty for a file that is no text."""
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return ""
