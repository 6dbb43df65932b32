"""Which run last changed each table of raw, kept beside its file.

Loads keep it, at no extra pass over the rows. Where anything else has changed the file, or a load was killed, every
table counts as changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from sluice.engine.file_state import file_state

KEPT = "raw.versions.json"


class RawVersions:
    """The versions of raw's tables, by schema and name."""

    def __init__(self, raw: Path) -> None:
        self._raw, self._kept = raw, raw.with_name(KEPT)
        kept = self._read()
        self.is_known = bool(kept) and kept["file"] == file_state(raw) != ""
        """Whether raw is as those who keep its versions have left it."""
        self._epoch: str = kept["epoch"] if self.is_known else uuid4().hex
        self._tables: dict[str, str] = kept["tables"] if self.is_known else {}

    def version(self, schema: str, name: str) -> str:
        """Another one for every other content of the table."""
        return " ".join([self._epoch, *(self._tables.get(f"{schema}.{part}", "") for part in ("", name))])

    def keep(self, changed: Iterable[tuple[str, str]], version: str) -> None:
        """Keep a new version of tables, given by schema and name; without a name, of all tables of the schema.

        To be called when raw is closed.
        """
        tables = {**self._tables, **{f"{schema}.{name}": version for schema, name in changed}}
        text = json.dumps({"file": file_state(self._raw), "epoch": self._epoch, "tables": tables})
        new = self._kept.with_name(f".{KEPT}.new")
        new.write_text(text, encoding="utf-8")
        new.replace(self._kept)

    def _read(self) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = json.loads(self._kept.read_text(encoding="utf-8"))
            return kept if {"file", "epoch", "tables"} <= kept.keys() else {}
        except (FileNotFoundError, ValueError):
            return {}
