"""Discovers a system, declares exactly what was found, and loads it: what discovery proposes has to load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb

from sluice.config.connections import Connections
from sluice.discover.contract import DiscoveredSource, DiscoveredTable, Limits, Target
from sluice.discover.run import kind_of
from tests.python.project import Project


class Found:
    """What discovery found in a system, and raw after it was declared and loaded."""

    def __init__(
        self, project: Project, look: Callable[..., DiscoveredSource], address: str, **limits: Any
    ) -> None:
        self.project, self.con = project, duckdb.connect()
        self.con.execute("set TimeZone = 'UTC'")
        connections = Connections(project.root, project.settings.connections)
        target = Target("found", kind_of(address, project.root), address, None)
        self.source = look(target, self.con, Limits(**limits), project.root, connections)
        self.tables = {table.name: table for table in self.source.tables}

    def __getitem__(self, table: str) -> DiscoveredTable:
        return self.tables[table]

    def types(self, table: str) -> dict[str, str | None]:
        """The proposed types by column, of those that are declared."""
        return {column.name: column.data_type for column in self[table].columns if column.data_type}

    @property
    def questions(self) -> str:
        """All that discovery could not determine."""
        return "\n".join(
            [*self.source.questions, *(q for table in self.source.tables for q in table.questions)]
        )

    def load(self) -> dict[str, int]:
        """Declare what was found, and load it: every table passes. The rows of each, which are those that were found."""
        if self.source.connection:
            self.project.connect("found", **self.source.connection)
        self.project.declare(
            "found",
            self.source.load,
            {table.name: table.load for table in self.source.tables},
            {table.name: self.types(table.name) for table in self.source.tables},
        )
        outcome = self.project.load()
        assert not outcome.errors, outcome.error
        loaded = {}
        for name, table in self.tables.items():
            ((rows,),) = self.project.raw(f"select count(*) from found.{name}")
            assert table.rows in (rows, None), name
            assert table.relation
            ((seen,),) = self.con.execute(f"select count(*) from {table.relation}").fetchall()
            assert seen == rows or not table.is_whole, name
            loaded[name] = rows
        return loaded
