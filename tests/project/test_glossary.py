"""The words people use lead to tables and columns that exist."""

from pathlib import Path
from typing import Any

from sluice.catalog.glossary import read_glossary

ROOT = Path(__file__).parents[2]


def test_glossary_points_at_what_there_is(manifest: dict[str, Any]) -> None:
    columns = {
        node["name"]: {name.lower() for name in node["columns"]}
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed", "snapshot")
    }
    lost = []
    for term in read_glossary(ROOT / "docs" / "glossary.yml"):
        for place in term.columns:
            table, _, column = place.partition(".")
            if table not in columns or (column and column not in columns[table]):
                lost.append(f"{term.term}: {place}")
    assert not lost, (
        f"docs/glossary.yml names what does not exist: {', '.join(lost)}. The catalog's search sends people there by"
        " these words. Fix: name the model or column as it is called now."
    )


def test_every_word_of_the_glossary_has_one_meaning() -> None:
    meanings: dict[str, list[str]] = {}
    for term in read_glossary(ROOT / "docs" / "glossary.yml"):
        for word in {term.term, *term.synonyms}:
            meanings.setdefault(word.lower(), []).append(term.term)
    double = {word: terms for word, terms in meanings.items() if len(terms) > 1}
    assert not double, (
        f"these words of docs/glossary.yml stand for two terms: {double}. Fix: keep one of them."
    )
