"""Text files of a project that commands write for its people: replaced in one step, and shown as a diff."""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path


def replace_text(file: Path, text: str) -> None:
    """Write a file in one step, with the rights of the one that was there, or for everybody to read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8", newline="")
    new.chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
    new.replace(file)


def diff(path: str, before: str | None, after: str) -> str:
    """A unified diff that `git apply` takes; empty if nothing changed. `before`: None where there is no file."""
    lines = unified_diff(
        (before or "").splitlines(keepends=True),
        after.splitlines(keepends=True),
        "/dev/null" if before is None else f"a/{path}",
        f"b/{path}",
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )
