"""The catalog: one page on which people find, understand and trust the tables. docs/catalog.md tells how it is made."""

from sluice.catalog.document import gather
from sluice.catalog.page import render, write

__all__ = ["gather", "render", "write"]
