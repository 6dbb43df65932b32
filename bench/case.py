"""What a case is: data that is prepared once, the subjects that load it, and the target it is held against."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import yaml

HERE = Path(__file__).parent
SLUICE = Path(sys.executable).with_name("sluice")
ORDINARY_SECONDS = 1800.0
"""Seconds one run may take; a subject that hangs must not stop the whole bench."""


class BenchError(Exception):
    """A run failed or brought other rows than the source has; its times would mean nothing."""


@dataclass(frozen=True)
class Taken:
    """What one run took."""

    wall: float
    """Seconds from the start of the process to its end."""
    cpu: float
    """Seconds of processor time, all threads and child processes together; a server's are not in it."""
    peak: int
    """Bytes of the largest process at its largest."""


@dataclass
class Figures:
    """All runs of one subject."""

    runs: list[Taken] = field(default_factory=list)
    rows: int = 0
    """Rows of one run, for rows per second."""

    def wall(self) -> float:
        return statistics.median(run.wall for run in self.runs)

    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    def peak(self) -> int:
        return max(run.peak for run in self.runs)


@dataclass(frozen=True)
class Verdict:
    """One line of a target: the limit, and what was measured."""

    asked: str
    came: str
    met: bool


@dataclass(frozen=True)
class Subject:
    """One way to do the work."""

    name: str
    command: Sequence[str]
    folder: Path
    """Where it runs, and where its database is."""
    environment: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    """Runs one time only: too slow to wait for three."""
    note: str = ""
    """What differs from the case's work."""


class Case(ABC):
    """One row of the table of targets.

    A case is made with a folder of its own and a scale (1: as the target says); `prepare` writes the data and
    starts servers, `close` ends them. `before` and `after` are called around each run of a subject.
    """

    name: ClassVar[str]
    work: ClassVar[str]
    """One sentence on what is loaded and how."""
    target: ClassVar[str]
    only_large: ClassVar[bool] = False
    """Runs with --large only: takes an hour and tens of gigabytes."""
    rows = 0
    """Rows of the source, known after `prepare`."""
    with_stock = True
    """Whether stock dlt will be measured, too."""

    def __init__(self, folder: Path, scale: float) -> None:
        self.folder = folder
        self.scale = scale

    def missing(self) -> str | None:
        """Why the case cannot run on this machine, if so."""
        return None

    @abstractmethod
    def prepare(self) -> None:
        """Make the data; not measured."""

    @abstractmethod
    def subjects(self) -> list[Subject]:
        """What is measured, in the order of a round: the limit, Sluice, stock dlt."""

    def before(self, subject: Subject, turn: int) -> None:
        """By default a subject starts from nothing."""
        for made in ("warehouse", "stock"):
            shutil.rmtree(subject.folder / made, ignore_errors=True)
        for file in subject.folder.glob("limit.duckdb*"):
            file.unlink()

    @abstractmethod
    def after(self, subject: Subject, turn: int) -> None:
        """Raise BenchError when the rows are not there."""

    @abstractmethod
    def verdicts(self, figures: Mapping[str, Figures]) -> list[Verdict]:
        """The target, point by point, from medians."""

    def close(self) -> None:
        """Stop servers."""

    def rows_of(self, subject: Subject) -> int:
        """Rows of one run, for rows per second; 0 where that means nothing."""
        return self.rows

    def notes(self) -> list[str]:
        """What the reader has to know about the figures."""
        return []

    def profile_of(self, subject: Subject) -> str:
        """One more run of a subject, instrumented, as text; empty for a subject that is not looked into."""
        return profiled(subject) if subject.name == "sluice" else ""

    # -- for subclasses ------------------------------------------------------------------------------------

    def count(self, full: int) -> int:
        """A number of rows at this scale."""
        return max(int(full * self.scale), 100)

    def limit(self, function: str, folder: str = "limit", **arguments: Any) -> Subject:
        """A function of limits.py in a process of its own."""
        return self._python("limit", "limits.py", function, folder, arguments)

    def steps(self, function: str, **arguments: Any) -> Subject:
        """The same for a function that also takes the steps of a load."""
        return self._python("steps", "limits.py", function, "steps", arguments)

    def stock(self, function: str, note: str = "", **arguments: Any) -> Subject:
        """A function of stock.py in a process of its own."""
        return self._python("dlt", "stock.py", function, "stock", arguments, once=True, note=note)

    def _python(
        self, name: str, file: str, function: str, folder: str, arguments: dict[str, Any], **more: Any
    ) -> Subject:
        place = self.folder / folder
        place.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / file), function, json.dumps(arguments, default=str)]
        return Subject(name, command, place, **more)

    def sluice(
        self,
        load: Mapping[str, Any],
        tables: Mapping[str, Mapping[str, Any]],
        *,
        types: Mapping[str, str] | None = None,
        connection: Mapping[str, str] | None = None,
        name: str = "sluice",
        project: str = "project",
    ) -> Subject:
        """`sluice load` in a project of one source, `bench`; `types` are declared for every table."""
        place = self.folder / project
        (place / "sources").mkdir(parents=True, exist_ok=True)
        (place / "dbt_project.yml").write_text("name: bench\n", encoding="utf-8")
        columns = [{"name": column, "data_type": kind} for column, kind in (types or {}).items()]
        source = {
            "name": "bench",
            "database": "raw",
            "schema": "bench",
            "config": {"meta": {"owner": "bench@anycompany.example", "load": dict(load)}},
            "tables": [
                {"name": table, "config": {"meta": {"load": dict(keys)}}, "columns": columns}
                for table, keys in tables.items()
            ],
        }
        text = yaml.safe_dump({"version": 2, "sources": [source]}, sort_keys=False)
        (place / "sources" / "bench.yml").write_text(text, encoding="utf-8")
        secrets = {f"CONNECTIONS__BENCH__{key.upper()}": value for key, value in (connection or {}).items()}
        return Subject(name, [str(SLUICE), "load"], place, {"SLUICE_HOME": "warehouse", **secrets})


def run(subject: Subject, seconds: float = ORDINARY_SECONDS) -> Taken:
    """Run a subject once and measure it; BenchError with the end of its output when it fails."""
    result = subject.folder / "taken.json"
    launcher = [sys.executable, "-S", "-E", str(HERE / "measured.py"), str(result), str(seconds)]
    with subprocess.Popen(
        [*launcher, *subject.command],
        cwd=subject.folder,
        env=os.environ | {"NO_COLOR": "1"} | dict(subject.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as ran:
        try:
            said, _ = ran.communicate()
        except BaseException:
            ran.terminate()  # which ends the command, too
            raise
    if ran.returncode:
        ending = "\n".join(said.splitlines()[-15:])
        raise BenchError(f"{subject.name} ended with {ran.returncode}:\n{ending}")
    return Taken(**json.loads(result.read_text(encoding="utf-8")))


def profiled(subject: Subject) -> str:
    """Phases of a load by Sluice and the functions that took its time, as text; only for `sluice load`."""
    report = subject.folder / "profile.txt"
    command = [sys.executable, str(HERE / "phases.py"), str(report), *subject.command[1:]]
    run(Subject(subject.name, command, subject.folder, subject.environment))
    return report.read_text(encoding="utf-8")


def rows_of(database: Path, *tables: str) -> int:
    """Rows of tables in a DuckDB file."""
    with duckdb.connect(str(database), read_only=True) as con:
        counts = [con.execute(f"select count(*) from {table}").fetchone() for table in tables]
    return sum(count[0] for count in counts if count)


def expect(what: str, got: Any, wanted: Any) -> None:
    """Raise BenchError unless they are equal."""
    if got != wanted:
        raise BenchError(f"{what}: {got} where {wanted} are expected")


def raw_file(subject: Subject) -> Path:
    """The database a subject has loaded into."""
    if subject.name in ("limit", "steps"):
        return subject.folder / "limit.duckdb"
    if subject.name == "dlt":
        return subject.folder / "stock" / "raw.duckdb"
    return subject.folder / "warehouse" / "raw.duckdb"


def over_limit(figures: Mapping[str, Figures], times: float, plus: float = 0.0) -> Verdict:
    """Wall clock of Sluice against that of the limit."""
    limit, own = figures["limit"].wall(), figures["sluice"].wall()
    asked = f"at most {times:g} x limit" + (f" + {plus:g} s" if plus else "")
    ratio = f"{own:.2f} s is {(own - plus) / limit:.2f} x limit" + (f" + {plus:g} s" if plus else "")
    return Verdict(asked, ratio, own <= times * limit + plus)


def at_most(what: str, value: float, most: float, unit: str) -> Verdict:
    """A plain bound."""
    return Verdict(f"{what}: at most {most:g} {unit}", f"{value:.2f} {unit}", value <= most)


def memory(figures: Figures, most_mb: int) -> Verdict:
    """Peak memory in MB, 10^6 bytes."""
    peak = figures.peak() / 1e6
    return Verdict(f"peak memory: at most {most_mb} MB", f"{peak:.0f} MB", peak <= most_mb)
