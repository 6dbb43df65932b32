"""The examples in docs/sources can be copied: each is a declaration without a mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sluice.config.sources import read_sources
from sluice.extract import rest

PAGES = sorted((Path(__file__).parents[3] / "docs" / "sources").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_are_sound(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text()
    monkeypatch.syspath_prepend(tmp_path)
    for name, code in re.findall(r"```python\n# (\S+\.py).*?\n(.*?)```", text, re.DOTALL):
        module = tmp_path / name
        module.parent.mkdir(exist_ok=True)
        module.write_text(code)
    examples = re.findall(r"```yaml\n(version: 2.*?)```", text, re.DOTALL)
    assert examples
    for n, example in enumerate(examples):
        folder = tmp_path / f"example_{n}"
        folder.mkdir()
        (folder / "source.yml").write_text(example)
        sources, problems = read_sources(folder)
        assert sources
        assert problems == []
        for source in sources:
            if source.kind == "rest":
                assert rest.problems(source) == []
