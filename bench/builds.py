"""Builds and runs of generated projects after one change: a raw table, a leaf of many models, a catalog."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path

import duckdb

from bench.case import (
    SLUICE,
    BenchError,
    Figures,
    Subject,
    Verdict,
    at_most,
    expect,
    over_limit,
    raw_file,
    run,
)
from bench.company import BuildCase
from bench.projects import Generated, Model, leaf, many_models, many_tables

PACKED = re.compile(r"H4sI[A-Za-z0-9+/]+=*")
"""A gzip in base64, as the catalog's page has its data."""


class OnGenerated(BuildCase):
    project: Generated
    home = "warehouse"
    """The folder of the target that is measured, and the name of its file in it."""

    @property
    def warehouse(self) -> Path:
        return self.project.root / self.home / f"{Path(self.home).name}.duckdb"

    def command(self, *arguments: str) -> Subject:
        return Subject("sluice", [str(SLUICE), *arguments], self.project.root, self.project.environment)

    def rows_of(self, subject: Subject) -> int:
        return 0

    def number(self, full: int, least: int) -> int:
        """Of tables or models at this scale."""
        return max(int(full * self.scale), least)

    def built(self) -> list[str]:
        """Names of what the last build made or tested."""
        file = self.project.root / self.home / "build_decisions.json"
        reasons = json.loads(file.read_text(encoding="utf-8"))
        return sorted(key.split(".")[2] for key, reason in reasons.items() if reason)


class RunOneTable(OnGenerated):
    name = "run-one-table"
    work = (
        "`sluice run` when 1 % of the rows of one of 100 tables (20,000 rows each) of a SQLite file have changed;"
        " over each table are a staging view and a mart, a table, with two tests each"
    )
    target = "limit + 3 s"

    def prepare(self) -> None:
        """Everything is loaded and built, and run until the record of that is itself built."""
        tables = self.number(100, 3)
        self.project = many_tables(self.folder / "project", tables, self.count(20_000))
        self.project.write()
        self.table = self.project.tables[tables // 2]
        for _ in range(2):
            run(self.command("run"))
        self.all = len(self.project.models) * 3
        with duckdb.connect(str(self.project.root / "warehouse" / "warehouse.duckdb"), read_only=True) as con:
            con.execute(f"attach '{self.project.root}/warehouse/raw.duckdb' as raw (read_only)")
            queries = con.execute(
                f"select sql from duckdb_views() where view_name = 'stg_{self.table}'"
            ).fetchone()
        expect("views of the table", bool(queries), True)
        limit = self._limit()
        (self.folder / "first.json").write_text(json.dumps(self._first()), encoding="utf-8")
        (self.folder / "changed.json").write_text(json.dumps(self._changed()), encoding="utf-8")
        first = self.limit("statements", file=self.folder / "first.json", extension="sqlite")
        run(first)
        expect("folder of the limit", first.folder, limit.folder)

    def _limit(self) -> Subject:
        return self.limit("statements", file=self.folder / "changed.json", extension="sqlite")

    def _attached(self) -> list[str]:
        return [
            *("set TimeZone = 'UTC'", "attach 'limit.duckdb' as warehouse", "use warehouse"),
            f"attach '{self.project.database}' as source (type sqlite, read_only)",
        ]

    def _models(self) -> list[str]:
        """The models of the table, and their tests."""
        made = []
        for model in self.project.models:
            if not model.name.endswith(self.table):
                continue
            made += model.by_hand(kind="view" if model.layer == "staging" else "table")
        return made

    def _first(self) -> list[str]:
        copy = f"create table {self.table} as select * from source.{self.table}"
        return [*self._attached(), copy, *self._models()]

    def _changed(self) -> list[str]:
        table = self.table
        newest = f"(select max(updated_at) from {table})"
        return [
            *self._attached(),
            "begin",
            f"create temp table changed as from source.{table} where updated_at > {newest}",
            f"delete from {table} using changed where {table}.id = changed.id",
            f"insert into {table} select * from changed",
            "commit",
            *self._models(),
        ]

    def subjects(self) -> list[Subject]:
        return [self._limit(), self.command("run")]

    def before(self, subject: Subject, turn: int) -> None:
        """What was loaded stays; a round begins with another hundredth of the rows."""
        if subject.name == "limit":
            self.project.change(self.table, turn + 1)

    def after(self, subject: Subject, turn: int) -> None:
        """Rows and sum of the mart are those of the source; Sluice has built what is over that table only."""
        is_limit = subject.name == "limit"
        file = raw_file(subject) if is_limit else self.project.root / "warehouse" / "warehouse.duckdb"
        mart = f"fct_{self.table}" if is_limit else f"main_marts.fct_{self.table}"
        with duckdb.connect(str(file), read_only=True) as con:
            got = con.execute(f"select count(*), round(sum(amount), 2) from {mart}").fetchone()
        expect(f"mart of {subject.name}", got, self.project.sums(self.table))
        if not is_limit:
            self.made = self.built()

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [over_limit(figures, 1.0, 3.0)]

    def notes(self) -> list[str]:
        return [
            "limit: the changed rows merged into a copy of that table, and the SQL of its two models and four tests",
            f"Sluice built {len(self.made)} of {self.all} models and tests: {', '.join(self.made)}",
            "the project has no audiences, so that nothing is published",
        ]


class ManyModels(OnGenerated):
    full: int

    def prepare(self) -> None:
        """Loaded and built once."""
        self.write()
        for command in ("load", "build"):
            run(self.command(command))

    def write(self) -> None:
        """The files of the project."""
        models = self.number(self.full, 12)
        self.project = many_models(self.folder / "project", models, self.count(20_000))
        self.project.write()
        self.number_of_models = len(self.project.models)
        self.last = self.project.models[-1]
        self.middle = sum(model.layer == "intermediate" for model in self.project.models)

    def edited(self, turn: int) -> Model:
        """The last leaf, with another value in a column."""
        return leaf(int(self.last.name.rsplit("_", 1)[1]), self.middle, turn + 1)

    def edit(self, turn: int) -> None:
        """Write that."""
        self.project.write_model(self.edited(turn))

    def edition(self) -> int:
        """The value that the warehouse has."""
        with duckdb.connect(str(self.warehouse), read_only=True) as con:
            row = con.execute(f"select max(edition) from main_marts.{self.last.name}").fetchone()
        return int(row[0]) if row else 0


class BuildLeaf(ManyModels):
    name = "build-leaf"
    work = "`sluice build` when one leaf of 500 models over one source was edited; each has two tests"
    target = "5 s"
    full = 500

    def subjects(self) -> list[Subject]:
        return [self.command("build")]

    def before(self, subject: Subject, turn: int) -> None:
        self.edit(turn)

    def after(self, subject: Subject, turn: int) -> None:
        expect("value of the edited model", self.edition(), turn + 1)
        self.made = self.built()

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [at_most("build", figures["sluice"].wall(), 5, "s")]

    def notes(self) -> list[str]:
        return [
            f"built {len(self.made)} of {self.number_of_models} models and twice as many tests: {', '.join(self.made)}"
        ]


class Catalog(ManyModels):
    name = "catalog-2000"
    work = "`sluice catalog` of 2,000 models after one of them was edited and built, which is not measured"
    target = "3 s"
    full = 2000

    def prepare(self) -> None:
        """A first catalog, too, so that profiles and lineage are kept."""
        super().prepare()
        run(self.command("catalog"))

    def subjects(self) -> list[Subject]:
        return [self.command("catalog")]

    def before(self, subject: Subject, turn: int) -> None:
        self.edit(turn)
        run(self.command("build"))

    def after(self, subject: Subject, turn: int) -> None:
        """The page has every model, and the new SQL of the edited one."""
        page = (self.project.root / "target" / "catalog.html").read_text(encoding="utf-8")
        texts = [gzip.decompress(base64.b64decode(part)).decode() for part in PACKED.findall(page)]
        if not any(f"{turn + 1} as edition" in text for text in texts):
            raise BenchError(f"the catalog does not have edition {turn + 1} of {self.last.name}")
        missing = [m.name for m in self.project.models if not any(m.name in text for text in texts)]
        expect("models that the catalog lacks", missing, [])

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [at_most("catalog", figures["sluice"].wall(), 3, "s")]


CASES = (RunOneTable, BuildLeaf, Catalog)
