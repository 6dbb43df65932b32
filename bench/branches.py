"""What somebody waits for on a branch: the first build after one model was edited, and the first rows of a model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping

import duckdb

from bench.builds import ManyModels
from bench.case import Figures, Subject, Verdict, at_most, expect, over_limit, raw_file, run

TARGETS = """
sluice:
  target: dev
  outputs:
    dev: &target
      type: duckdb
      path: warehouse/dev/dev.duckdb
      attach: [{path: warehouse/prod/raw.duckdb, alias: raw, read_only: true}]
      plugins: [{module: sluice.dbt.plugin}]
      settings: {TimeZone: UTC}
      threads: 2
    prod:
      <<: *target
      path: warehouse/prod/prod.duckdb
"""


class _OnBranch(ManyModels):
    full = 46
    home = "warehouse/dev"

    def prepare(self) -> None:
        """Production is loaded and built, and dbt has parsed main for the target dev."""
        self.write()
        (self.project.root / "profiles.yml").write_text(TARGETS, encoding="utf-8")
        for arguments in (("load", "-t", "prod"), ("build", "-t", "prod"), ("build",)):
            run(self.command(*arguments))


class BranchFirst(_OnBranch):
    name = "branch-first"
    work = (
        "`sluice build` on a target without a warehouse, when one mart of 46 models differs from production; each has"
        " two tests"
    )
    target = "limit + 3 s"

    def subjects(self) -> list[Subject]:
        return [self.limit("statements", file=self.folder / "statements.json"), self.command("build")]

    def before(self, subject: Subject, turn: int) -> None:
        """The branch edits the mart; its warehouse and all that is known of it are gone."""
        if subject.name == "limit":
            super().before(subject, turn)
            self.edit(turn)
            (self.folder / "statements.json").write_text(json.dumps(self._by_hand(turn)), encoding="utf-8")
        else:
            shutil.rmtree(self.warehouse.parent)

    def _by_hand(self, turn: int) -> list[str]:
        return [
            *("set TimeZone = 'UTC'", "attach 'limit.duckdb' as dev", "use dev"),
            f"attach '{self.project.root}/warehouse/prod/prod.duckdb' as prod (read_only)",
            *self.edited(turn).by_hand("prod.main_intermediate."),
        ]

    def after(self, subject: Subject, turn: int) -> None:
        """The mart is that of the branch, and nothing else was built."""
        if subject.name == "limit":
            with duckdb.connect(str(raw_file(subject)), read_only=True) as con:
                row = con.execute(f"select max(edition) from {self.last.name}").fetchone()
            expect("value of the limit", row, (turn + 1,))
            return
        expect("value of the edited model", self.edition(), turn + 1)
        self.made = self.built()
        models = [name for name in self.made if name.startswith(("stg_", "int_", "rpt_"))]
        expect("models that were built", models, [self.last.name])

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [over_limit(figures, 1.0, 3.0)]

    def notes(self) -> list[str]:
        return [
            "limit: the SQL of the mart and of its two tests, over production's tables",
            f"Sluice built {', '.join(self.made)}; the other models are views of those in production",
        ]


class Show(_OnBranch):
    name = "show"
    work = "`sluice show MODEL` of an edited mart of 46 models, from dbt's kept parse"
    target = "1 s"

    def subjects(self) -> list[Subject]:
        return [self.command("show", self.last.name, "--json")]

    def before(self, subject: Subject, turn: int) -> None:
        self.edit(turn)

    def after(self, subject: Subject, turn: int) -> None:
        """Once more, as what it printed is not kept: it shows rows of the edited model."""
        said = subprocess.run(
            subject.command,
            cwd=subject.folder,
            env=os.environ | dict(subject.environment),
            capture_output=True,
            check=True,
        )
        shown = json.loads(said.stdout)
        expect("value of the edited model", {row["edition"] for row in shown["rows"]}, {turn + 1})

    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        return [at_most("show", figures["sluice"].wall(), 1, "s")]


CASES = (BranchFirst, Show)
