"""The tables that are known, found by full or partial name."""

from __future__ import annotations

from collections.abc import Mapping

TableColumns = Mapping[str, str]


class Schema:
    """Finds tables by full or partial name, as the engine does: `contacts`, `crm.contacts`, `raw.crm.contacts`."""

    def __init__(self, tables: Mapping[str, TableColumns]) -> None:
        self._tables = {tuple(name_parts(name)): (name, columns) for name, columns in tables.items()}
        self._by_last: dict[str, list[tuple[str, ...]]] = {}
        for parts in self._tables:
            self._by_last.setdefault(parts[-1], []).append(parts)

    def find(self, parts: tuple[str, ...]) -> tuple[str, TableColumns] | None:
        """The key and columns of the one table with that name; None if there is none or more than one."""
        if parts in self._tables:
            return self._tables[parts]
        matches = []
        for known in self._by_last.get(parts[-1], []):
            length = min(len(known), len(parts))
            if known[-length:] == parts[-length:]:
                matches.append(known)
        return self._tables[matches[0]] if len(matches) == 1 else None


def name_parts(name: str) -> list[str]:
    return [part.strip('"').lower() for part in name.split(".")]
