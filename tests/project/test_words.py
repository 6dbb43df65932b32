"""The words of docs/style.md are used: what its table calls "not" stands nowhere in code, messages or pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
STYLE = ROOT / "docs" / "style.md"
SUFFIXES = {".py", ".md", ".yml", ".toml", ".sql", ".csv", ".js", ".html", ".css", ".json"}


def _pattern() -> re.Pattern[str]:
    """The first column of the table of words; what stands in backticks is an identifier, capitals count."""
    section = STYLE.read_text(encoding="utf-8").partition("\n## Words\n")[2].partition("\n## ")[0]
    table = section[section.index("| Not | But |") :].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    words = [word.strip() for cell in cells for word in cell.split(",")]
    assert len(words) > 20
    names = "|".join(re.escape(word.strip("`")) for word in words if word.startswith("`"))
    phrases = "|".join(re.escape(word) for word in words if not word.startswith("`"))
    return re.compile(rf"(?<![a-zA-Z])(?:{names}|(?i:{phrases}))(?![a-zA-Z])")


def test_words_are_those_of_the_glossary() -> None:
    pattern = _pattern()
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    found = [
        f"{file.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1} has {match[0]!r}"
        for file in files
        if (file.suffix in SUFFIXES or not file.suffix) and file != STYLE and file.is_file()
        for text in [file.read_text(encoding="utf-8")]
        for match in pattern.finditer(text)
    ]
    assert not found, "docs/style.md says what to write instead:\n" + "\n".join(found)
