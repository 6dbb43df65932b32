"""Two dbt-duckdb projects that know nothing of Sluice, with generated data, in git and built by plain dbt.

`bakery` is of the classic kind: seeds, staging, a snapshot, a local package, a profile in `~/.dbt`. `rides` is of the
newer kind: a semantic layer, several schemas and databases, a Python model, a profile with several targets.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
VARIABLES = ("SLUICE_HOME", "DBT_TARGET", "DBT_PROFILE", "DBT_PROFILES_DIR", "DBT_TARGET_PATH")
"""What the environment of a test must not say."""
CUSTOMERS, ORDERS = 60, 200
UNPAID = 20
"""One order in this many has no payment."""


class Foreign:
    """A copy of a project: `root` is a folder of its git repository, `user` stands for the home folder of its developer."""

    def __init__(self, name: str, folder: Path) -> None:
        self.root, self.user = folder / name, folder / "user"
        shutil.copytree(HERE / name, self.root)
        (self.user / ".dbt").mkdir(parents=True)
        self.environment = {**os.environ, "HOME": str(self.user), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        for variable in VARIABLES:
            self.environment.pop(variable, None)

    def commit(self) -> None:
        """Make the work tree the branch `main`."""
        author = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=self.root.parent, check=True)
        for command in (["add", "."], [*author, "commit", "-qm", "state"]):
            subprocess.run(["git", *command], cwd=self.root, check=True)

    def run(self, tool: str, *arguments: str, code: int = 0) -> str:
        """What a tool of the environment says; it must end with `code`."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name(tool)), *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{tool} {' '.join(arguments)} ended with {done.returncode}:\n{said}"
        return said

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that stands once in a file."""
        text = (self.root / file).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        (self.root / file).write_text(text.replace(old, new), encoding="utf-8")


def bakery(folder: Path) -> Foreign:
    """The classic project, built in its target dev."""
    project = Foreign("bakery", folder)
    shutil.copy(HERE / "bakery_profiles.yml", project.user / ".dbt" / "profiles.yml")
    towns = ("Lund", "Visby", "Umeå")
    names = ((i, f"Person {i}", f"person{i}@example.com", towns[i % 3]) for i in range(1, CUSTOMERS + 1))
    _write(project.root / "seeds/raw_customers.csv", ("id", "name", "email", "town"), names)
    first, states = date(2026, 1, 1), ("placed", "shipped", "returned")
    orders = [
        (i, i % (CUSTOMERS - 10) + 1, first + timedelta(days=i % 90), states[i % 3])
        for i in range(1, ORDERS + 1)
    ]
    _write(project.root / "seeds/raw_orders.csv", ("id", "user_id", "ordered_on", "status"), orders)
    payments = [(i, i, ("card", "cash")[i % 2], 100 + i) for i in range(1, ORDERS + 1) if i % UNPAID]
    payments += [(ORDERS + i, i, "voucher", 50) for i in range(1, ORDERS + 1) if i % UNPAID == 1]
    _write(project.root / "seeds/raw_payments.csv", ("id", "order_id", "method", "cents"), payments)
    project.run("dbt", "deps", "--quiet")
    project.commit()
    project.run("dbt", "build", "--quiet")
    return project


def rides(folder: Path) -> Foreign:
    """The newer project, built in its target dev; its systems are the attached database `ops`."""
    project = Foreign("rides", folder)
    shutil.copy(HERE / "rides_profiles.yml", project.root / "profiles.yml")
    (project.root / "data").mkdir()
    with duckdb.connect(str(project.root / "data" / "ops.duckdb")) as con:
        con.execute(
            "create table bikes as select i as bike_id, ['town', 'cargo', 'race'][i % 3 + 1] as model,"
            " date '2025-01-01' + i::int as bought_on from range(1, 31) as t(i)"
        )
        con.execute(  # every tenth trip is on a bike that is not in the list
            "create table trips as select i as trip_id, case when i % 10 = 0 then 900 + i else i % 30 + 1 end as bike_id,"
            " 'rider' || i % 40 || '@example.com' as rider_email, timestamp '2026-01-01' + interval (i) hour as"
            " started_at, i % 50 as minutes, cast(i % 50 * 0.25 as decimal(8, 2)) as price from range(1, 301) as t(i)"
        )
    project.run("dbt", "deps", "--quiet")
    project.commit()
    project.run("dbt", "build", "--quiet")
    return project


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
