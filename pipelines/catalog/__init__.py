"""The catalog: one page on which people find, understand and trust the tables. docs/catalog.md tells how it is made."""

from pipelines.catalog.document import gather
from pipelines.catalog.page import render, write

__all__ = ["gather", "render", "write"]
