"""The catalog: one page on which people find, understand and trust the tables; docs/catalog.md describes it."""

from __future__ import annotations

from pathlib import Path

from sluice.catalog.document import build_document
from sluice.catalog.facts import CatalogFacts
from sluice.catalog.gather import gather
from sluice.catalog.html_page import render
from sluice.config.settings import Settings

__all__ = ["build_document", "gather", "render", "write"]


def write(settings: Settings, facts: CatalogFacts, file: Path | None = None) -> Path:
    """Write the page to `file` (default: target/catalog.html); returns its path."""
    file = file or settings.target / "catalog.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(render(build_document(facts)), encoding="utf-8")
    return file
