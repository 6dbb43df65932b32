"""AnyCompany: runs from nothing and with nothing changed, and the build of all its models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from bench.case import (
    SLUICE,
    BenchError,
    Case,
    Figures,
    Subject,
    Verdict,
    at_most,
    expect,
    memory,
    raw_file,
    rows_of,
    run,
)
from bench.projects import copy_company
from bench.seen import watched
from sandbox import company

DBT = SLUICE.with_name("dbt")
HOME = {"SLUICE_HOME": "warehouse"}
FACTS = "marts.fct_order_lines"
RECORD = (
    ("warehouse/ledger.sqlite", "the run store"),
    ("warehouse/raw.duckdb", "raw, where the load keeps its part of the record in the schema `sluice`"),
    ("warehouse/raw.versions.json", "which run last changed each table of raw"),
    ("warehouse/lock", "the lock"),
    ("warehouse/.lock", "the lock"),
)
"""What a run that finds nothing to do may write, with why; with SQLite's own files beside the run store."""
SETTLING = 4
"""Runs after which one that changes nothing must be left: the first one's record is itself new to the second."""

Listing = dict[str, tuple[int, int]]


class BuildCase(Case):
    """Of a command that starts dbt in a process of its own."""

    def profile_of(self, subject: Subject) -> str:
        """What each of the processes was at."""

        def watching(variables: Mapping[str, str]) -> None:
            run(replace(subject, environment={**subject.environment, **variables}))

        return watched(watching, subject.folder.parent / "seen") if subject.name == "sluice" else ""


class _OnCompany(BuildCase):
    def prepare(self) -> None:
        """A copy of the project, and the company's servers; both are there before anything is measured."""
        self.project = copy_company(self.folder / "project")
        self.home = self.project / "warehouse"
        company.up(self.home, scale=self.scale)

    def close(self) -> None:
        if hasattr(self, "home"):
            company.down(self.home)

    def sluice_run(self, *arguments: str) -> Subject:
        return Subject("sluice", [str(SLUICE), *arguments], self.project, HOME)

    def order_lines(self) -> int:
        """Those that really happened, which only tests may see."""
        return rows_of(self.home / "sandbox" / "world.duckdb", "truth.order_lines")

    def forget(self) -> None:
        """All that a run has made; the company stays."""
        shutil.rmtree(self.project / "target", ignore_errors=True)
        for made in self.home.iterdir():
            if made.name in ("sandbox", "connections.toml"):
                continue
            shutil.rmtree(made) if made.is_dir() else made.unlink()


class RunFirst(_OnCompany):
    name = "run-first"
    work = "`sluice run` of AnyCompany from nothing, all its steps; its servers run already"
    target = "600 MB"

    def subjects(self) -> list[Subject]:
        return [self.sluice_run("run")]

    def rows_of(self, subject: Subject) -> int:
        return 0

    def before(self, subject: Subject, turn: int) -> None:
        self.forget()

    def after(self, subject: Subject, turn: int) -> None:
        expect(f"rows of {FACTS}", rows_of(self.home / "warehouse.duckdb", FACTS), self.order_lines())
        if not (self.project / "target" / "catalog.html").is_file():
            raise BenchError("there is no catalog")

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [memory(figures["sluice"], 600)]

    def notes(self) -> list[str]:
        return [
            "peak memory is that of the largest process; the command's own and dbt's are not added up",
        ]


class RunUnchanged(_OnCompany):
    name = "run-unchanged"
    work = "`sluice run` of AnyCompany when nothing has changed since the last one; its servers run already"
    target = "5 s, nothing written but the run's record"

    def prepare(self) -> None:
        """Run until a run leaves everything as it was."""
        super().prepare()
        self.written: set[str] = set()
        for _ in range(SETTLING):
            before = _listing(self.project)
            run(self.sluice_run("run"))
            if not _unexpected(_changed(before, _listing(self.project))):
                break
        expect(f"rows of {FACTS}", rows_of(self.home / "warehouse.duckdb", FACTS), self.order_lines())

    def subjects(self) -> list[Subject]:
        return [self.sluice_run("run")]

    def rows_of(self, subject: Subject) -> int:
        return 0

    def before(self, subject: Subject, turn: int) -> None:
        self.listed, self.contents = _listing(self.project), _contents(self.home / "raw.duckdb")
        self.runs = self._runs()

    def after(self, subject: Subject, turn: int) -> None:
        """The run is on record, and no table of raw but those of the record has other rows."""
        expect("runs on record", self._runs(), self.runs + 1)
        self.written |= _changed(self.listed, _listing(self.project))
        contents = _contents(self.home / "raw.duckdb")
        names = self.contents.keys() | contents.keys()
        self.written |= {f"table {name}" for name in names if self.contents.get(name) != contents.get(name)}

    def _runs(self) -> int:
        with duckdb.connect() as con:
            con.execute("load sqlite_scanner")
            con.execute(f"attach '{self.home}/ledger.sqlite' as ledger (type sqlite, read_only)")
            row = con.execute("select count(*) from ledger.runs").fetchone()
        return row[0] if row else 0

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        beyond = sorted(_unexpected(self.written))
        came = f"also {', '.join(beyond)}" if beyond else "nothing else"
        return [
            at_most("run", figures["sluice"].wall(), 5, "s"),
            Verdict("written: the run's record and nothing else", came, not beyond),
        ]

    def notes(self) -> list[str]:
        files = ", ".join(f"`{name}`" for name in sorted(self.written - _unexpected(self.written)))
        return [
            f"the run's record, files with another size or time of change after a run: {files}",
            "the rows of every table of raw that is not in the schema `sluice` are compared, too",
            "the files of the company's servers (`warehouse/sandbox`) are not the run's and not compared",
        ]


class BuildAll(_OnCompany):
    name = "build-all"
    work = "`sluice build` of AnyCompany's models, seeds and tests into no warehouse, with dbt's parse kept"
    target = "1.3 x limit + a start of dbt; 1.2 x its CPU + a start of dbt"

    def prepare(self) -> None:
        """Load, and build once: what dbt compiles is the limit's SQL; the servers are not needed after that."""
        super().prepare()
        for command in ("load", "build"):
            run(self.sluice_run(command))
        company.down(self.home)
        statements = self.folder / "statements.json"
        sent = [
            *("set TimeZone = 'UTC'", "attach 'limit.duckdb' as warehouse", "use warehouse"),
            f"attach '{self.home}/raw.duckdb' as raw (read_only)",
            *_by_hand(self.project),
        ]
        statements.write_text(json.dumps(sent), encoding="utf-8")
        self.sent = len(sent) - 4
        self.marts = _tables(self.home / "warehouse.duckdb")
        run(self._dbt_start())  # which parses for the ones that follow

    def close(self) -> None:
        """The company is down already, unless preparing it has failed."""
        if hasattr(self, "home") and company.status(self.home).running:
            super().close()

    def _dbt_start(self) -> Subject:
        command = [str(DBT), "--quiet", "parse", "--target-path", "target/start"]
        return Subject("dbt start", command, self.project, {**HOME, "DO_NOT_TRACK": "1"})

    def subjects(self) -> list[Subject]:
        limit = self.limit("statements", file=self.folder / "statements.json")
        return [limit, self._dbt_start(), self.sluice_run("build")]

    def rows_of(self, subject: Subject) -> int:
        return 0

    def before(self, subject: Subject, turn: int) -> None:
        if subject.name == "limit":
            super().before(subject, turn)
        if subject.name == "sluice":
            for made in ("warehouse.duckdb*", "build_*.json"):
                for file in self.home.glob(made):
                    file.unlink()

    def after(self, subject: Subject, turn: int) -> None:
        """The same tables with as many rows as the first build had."""
        if subject.name == "dbt start":
            return
        made = raw_file(subject) if subject.name == "limit" else self.home / "warehouse.duckdb"
        expect(f"rows of {subject.name}", _tables(made), self.marts)

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        limit, start, own = (figures[name] for name in ("limit", "dbt start", "sluice"))
        wall = (own.wall() - start.wall()) / limit.wall()
        cpu = (own.cpu() - start.cpu()) / limit.cpu()
        return [
            at_most("over a start of dbt", wall, 1.3, "x limit"),
            at_most("CPU over a start of dbt", cpu, 1.2, "x limit"),
        ]

    def notes(self) -> list[str]:
        return [
            f"limit: the {self.sent} compiled queries of that build, unit tests too, in the order of dbt's results",
            "dbt start: `dbt parse` of the unchanged project, its parse kept",
        ]


def _listing(root: Path) -> Listing:
    """Size and time of change of all files, without those of the company's servers."""
    found = {}
    for file in root.rglob("*"):
        name = file.relative_to(root).as_posix()
        if file.is_file() and not name.startswith("warehouse/sandbox/"):
            about = file.stat()
            found[name] = (about.st_size, about.st_mtime_ns)
    return found


def _changed(before: Listing, after: Listing) -> set[str]:
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name) != after.get(name)} - {"taken.json"}


def _unexpected(names: set[str]) -> set[str]:
    allowed = [name for name, _ in RECORD]
    return {name for name in names if name.removesuffix("-wal").removesuffix("-shm") not in allowed}


def _contents(raw: Path) -> dict[str, tuple[Any, ...]]:
    """Rows and a digest of each table of raw, but for those of the run's record."""
    with duckdb.connect(str(raw), read_only=True) as con:
        names = con.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        return {
            f"{schema}.{name}": con.execute(
                f'select count(*), sum(hash(t)::hugeint) from "{schema}"."{name}" as t'
            ).fetchone()
            or ()
            for schema, name in names
            if schema != "sluice"
        }


def _tables(database: Path) -> dict[str, int]:
    """Rows of each table and view by name; views read raw, which the file does not have."""
    with duckdb.connect(str(database), read_only=True) as con:
        names = con.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall()
        counts = {name: con.execute(f"select count(*) from {name}").fetchone() for (name,) in names}
        views = con.execute("select schema_name || '.' || view_name from duckdb_views() where not internal")
        return {name: count[0] for name, count in counts.items() if count} | {
            name: -1 for (name,) in views.fetchall()
        }


def _by_hand(project: Path) -> Iterator[str]:
    """SQL of all that the last build made, in the order in which it was done, and of its tests."""
    target = project / "target"
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
    unit_tests = {file.stem: file for file in (target / "run").rglob("*_unit_tests.yml/**/*.sql")}
    schemas: set[str] = set()
    for result in results:
        key = result["unique_id"]
        node = manifest["nodes"].get(key) or {}
        kind = key.split(".")[0]
        if kind == "unit_test":
            yield unit_tests[key.split(".")[-1]].read_text(encoding="utf-8")
        elif kind == "test" and result.get("compiled_code"):
            yield f"select count(*) from ({result['compiled_code']}\n)"
        elif kind in ("model", "seed") and result["status"] == "success":
            if node["schema"] not in schemas:
                schemas.add(node["schema"])
                yield f"create schema {node['schema']}"
            yield f"create {_relation(project, node, result)}"


def _relation(project: Path, node: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    if node["resource_type"] == "seed":
        types = node["config"]["column_types"]
        file = project / node["original_file_path"]
        return f"table {node['relation_name']} as from read_csv('{file}', types = {types})"
    kind = "view" if node["config"]["materialized"] == "view" else "table"
    return f"{kind} {node['relation_name']} as {result['compiled_code']}"


CASES = (RunFirst, RunUnchanged, BuildAll)
