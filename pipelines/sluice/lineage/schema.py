"""The tables that are known, found by full or partial name."""

from __future__ import annotations

from collections.abc import Mapping

TableColumns = Mapping[str, str]


class Schema:
    """Finds tables by full or partial name: `contacts`, `crm.contacts`, `raw.crm.contacts`.

    With `database`, the one a connection begins in, a partial name means what the engine takes it for, and no other
    table that happens to end so.
    """

    def __init__(self, tables: Mapping[str, TableColumns], database: str = "") -> None:
        self._database = database
        self._tables = {tuple(name_parts(name)): (name, columns) for name, columns in tables.items()}
        self._by_last: dict[str, list[tuple[str, ...]]] = {}
        for parts in self._tables:
            self._by_last.setdefault(parts[-1], []).append(parts)

    def find(self, parts: tuple[str, ...]) -> tuple[str, TableColumns] | None:
        """The key and columns of the one table with that name; None if there is none or more than one."""
        if parts in self._tables:
            return self._tables[parts]
        if self._database:
            meant = [name for name in full_names(parts, self._database) if name in self._tables]
            return self._tables[meant[0]] if len(meant) == 1 else None
        matches = []
        for known in self._by_last.get(parts[-1], []):
            length = min(len(known), len(parts))
            if known[-length:] == parts[-length:]:
                matches.append(known)
        return self._tables[matches[0]] if len(matches) == 1 else None


def full_names(parts: tuple[str, ...], database: str) -> list[tuple[str, ...]]:
    """What a name that is not complete may mean on a connection that begins in `database`, schema `main`."""
    if len(parts) == 1:
        return [(database, "main", *parts)]
    return [(database, *parts), (parts[0], "main", parts[1])] if len(parts) == 2 else [parts]


def name_parts(name: str) -> list[str]:
    return [part.strip('"').lower() for part in name.split(".")]
