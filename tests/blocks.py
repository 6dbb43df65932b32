"""The code blocks of README.md and docs/, and the files a page has its reader write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+)`[^`\n]*:\n\n$")
"""The end of a paragraph that names the file a block shows: "Beside it, `models/_models.yml`:"."""


@dataclass(frozen=True)
class Block:
    """One code block; `file` is the file it shows, empty where its paragraph names none."""

    page: str
    line: int
    language: str
    text: str
    file: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        named = FILE.search(text[: match.start()])
        name = page.relative_to(ROOT).as_posix()
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(name, line, match[1], match[2], named[1] if named else ""))
    return found
