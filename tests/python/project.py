"""A throw-away project: source files, connections, loads in this process, and what raw holds afterwards.

project = Project(tmp_path)
project.connect("shop", url=postgres_url)
project.declare("shop", {"kind": "database", "connection": "shop"}, {"orders": {"primary_key": "order_id"}})
project.load()["orders"].rows
project.raw("select count(*) from shop.orders")
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from sluice.config.settings import Settings, quiet_tools
from sluice.config.sources import load_sources
from sluice.extract.contract import LoadOptions
from sluice.load.results import SourceResult, TableResult
from sluice.load.run import load


@dataclass(frozen=True)
class Outcome:
    """What a load did, over all of its sources."""

    sources: list[SourceResult]

    def __getitem__(self, table: str) -> TableResult:
        return {t.table: t for s in self.sources for t in s.tables}[table]

    @property
    def rows(self) -> int:
        return sum(s.rows for s in self.sources)

    @property
    def errors(self) -> list[str]:
        return [error for s in self.sources for error in s.errors]

    @property
    def error(self) -> str:
        """All errors as one text."""
        return "\n".join(self.errors)


class Project:
    """A project folder with one SLUICE_HOME below it."""

    def __init__(self, root: Path) -> None:
        quiet_tools()
        self.root = root
        self.settings = Settings(root=root, home=root / "warehouse")
        (root / "sources").mkdir(parents=True)
        (root / "dbt_project.yml").write_text("name: throw_away\n")
        self._connections: dict[str, dict[str, Any]] = {}

    def connect(self, name: str, **keys: Any) -> None:
        """Write a connection to the machine's file."""
        self._connections[name] = keys
        self.settings.home.mkdir(exist_ok=True)
        blocks = [
            f"[connections.{name}]\n"
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            for name, keys in self._connections.items()
        ]
        self.settings.connections.write_text("\n".join(blocks))

    def declare(
        self,
        name: str,
        load: Mapping[str, Any],
        tables: Mapping[str, Mapping[str, Any]],
        columns: Mapping[str, Mapping[str, str | None]] | None = None,
    ) -> Path:
        """Write `sources/<name>.yml`; `tables` maps a table to its load keys, `columns` to its declared types."""
        entries = []
        for table, keys in tables.items():
            entry: dict[str, Any] = {"name": table, "config": {"meta": {"load": dict(keys)}}}
            if declared := (columns or {}).get(table):
                entry["columns"] = [
                    {"name": c, **({"data_type": t} if t else {})} for c, t in declared.items()
                ]
            entries.append(entry)
        source = {
            "name": name,
            "database": "raw",
            "schema": name,
            "config": {"meta": {"load": dict(load)}},
            "tables": entries,
        }
        file = self.settings.sources / f"{name}.yml"
        file.write_text(yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False))
        return file

    def load(
        self,
        *selection: str,
        full_refresh: bool = False,
        window: tuple[str | None, str | None] | None = None,
        retry_quarantine: bool = False,
        keep_rows: bool = False,
    ) -> Outcome:
        """Load in this process."""
        sources = load_sources(self.settings.sources, selection)
        return Outcome(
            load(
                self.settings, sources, "run", LoadOptions(full_refresh, window, retry_quarantine, keep_rows)
            )
        )

    def sluice(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-c", "from sluice.cli import main; main()", *arguments],
            cwd=self.root,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def loading(self, source: str) -> Iterator[subprocess.Popen[str]]:
        """`sluice load` in a process of its own, given out once `source` is being read; all it prints is on stdout."""
        with subprocess.Popen(
            [sys.executable, "-c", "from sluice.cli import main; main()", "load"],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            while not (self.settings.landing / source).exists():
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.02)
            yield process

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of `sluice` here."""
        paths = os.pathsep.join([str(Path(__file__).parents[2] / "pipelines"), str(self.root)])
        return {**os.environ, "SLUICE_HOME": str(self.settings.home), "PYTHONPATH": paths, **more}

    def raw(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of raw."""
        with duckdb.connect(str(self.settings.raw), read_only=True) as con:
            con.execute("set TimeZone = 'UTC'")
            return con.execute(sql).fetchall()

    def types(self, table: str) -> dict[str, str]:
        """Column types of `source.table` in raw."""
        return {name: kind for name, kind, *_ in self.raw(f"describe {table}")}
