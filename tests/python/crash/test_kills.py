"""Whatever a load is doing when it is killed: the next one makes raw equal to the source, and the one after adds nothing.

The points of the full suite are spread evenly over all events of a run, by a seed that is printed with every failure:
SLUICE_CRASH_SEED=… takes other points, SLUICE_CRASH_POINTS=… more or fewer of them a case.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.python.crash.cases import (
    Bucket,
    Case,
    Files,
    Kafka,
    MariadbCase,
    Nats,
    PostgresCase,
    Python,
    Rest,
    Rows,
    Sqlite,
)
from tests.python.crash.walk import Driver, spread
from tests.python.project import Project

KINDS = ("postgres", "mariadb", "sqlite", "files", "bucket", "rest", "nats", "kafka", "python")
SEED = int(os.environ.get("SLUICE_CRASH_SEED") or 1)
POINTS = int(os.environ.get("SLUICE_CRASH_POINTS") or 6)
AT_ONCE = 2
KILLED = -9


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleQueue[Driver]]:
    """As many as run at once."""
    free: SimpleQueue[Driver] = SimpleQueue()
    all_of_them = [Driver(tmp_path_factory.mktemp("driver")) for _ in range(AT_ONCE)]
    for driver in all_of_them:
        free.put(driver)
    yield free
    for driver in all_of_them:
        driver.close()


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """The case of a kind, with the server it needs."""
    made: dict[str, Callable[[], Case]] = {
        "postgres": lambda: PostgresCase(request.getfixturevalue("postgres_server")),
        "mariadb": lambda: MariadbCase(request.getfixturevalue("mariadb_server")),
        "sqlite": Sqlite,
        "files": Files,
        "bucket": lambda: Bucket(request.getfixturevalue("s3")),
        "rest": Rest,
        "nats": lambda: Nats(request.getfixturevalue("nats_url")),
        "kafka": lambda: Kafka(request.getfixturevalue("kafka_bootstrap")),
        "python": Python,
    }
    case = made[request.param]()
    yield case
    if isinstance(case, Rest):
        case.server.shutdown()
        case.server.server_close()


class Walk:
    """Kills loads of one case and stage, each in a project of its own; `options` are those of the loads to be killed."""

    def __init__(
        self, case: Case, changed: bool, drivers: SimpleQueue[Driver], folder: Path, *options: str
    ) -> None:
        self.case = case
        self.changed = changed
        self.command = ("load", *options)
        self.refreshes = "--full-refresh" in options
        if self.refreshes and isinstance(case, Nats):
            case.tables = ("kept",)  # a queue is not read again
        self.drivers = drivers
        self.folder = folder
        self.numbers = iter(range(10_000))
        self.before: Project | None = None
        driver = drivers.get()
        try:
            project = self.project(driver)
            if not case.has_own_server_state:
                self.before = case.copy(project, folder / "before")
            done = driver.run(project.root, *self.command, traced=True)
            assert done.code == 0, done.output
            loaded = case.refreshed() if self.refreshes else case.expected(changed)
            assert not case.wrong(project, loaded), case.wrong(project, loaded)
            self.events = done.events
            self.seconds = done.seconds
        finally:
            drivers.put(driver)

    @property
    def whole(self) -> list[dict[str, Rows]]:
        """States raw may be in: before the load, after it, and after a refresh."""
        refreshed = [self.case.refreshed()] if self.refreshes else []
        return [self.case.expected(False), self.case.expected(self.changed), *refreshed]

    def project(self, driver: Driver) -> Project:
        """A project whose next load is the one to be killed."""
        folder = self.folder / f"p{next(self.numbers)}"
        if self.before is not None:
            return self.case.copy(self.before, folder)
        project = self.case.make(folder)
        if self.changed:
            done = driver.run(project.root, "load")
            assert done.code == 0, done.output
            self.case.change(project)
        return project

    def survives(self, *kills: int | float) -> str:
        """Kill one load after the other, at an event or after seconds; what is wrong once it went through, or nothing."""
        driver = self.drivers.get()
        try:
            project = self.project(driver)
            where: list[str] = []
            for kill in kills:
                if isinstance(kill, int):
                    ended = driver.run(project.root, *self.command, kill_at=kill)
                    known = self.events[kill - 1 : kill] if len(where) == 0 else []
                    where.append(f"event {kill} {''.join(known)}")
                else:
                    ended = driver.run(project.root, *self.command, kill_after=kill)
                    where.append(f"after {kill:.2f} s")
                if ended.code not in (KILLED, 0):
                    return f"killed at {where}: ended with {ended.code}: {ended.output[-800:]}"
                if self.refreshes and (mixed := self.case.wrong(project, *self.whole)):
                    return f"killed at {where}: raw is neither old nor new: {mixed}"
            healed = driver.run(project.root, "load")
            again = driver.run(project.root, "load")
            found: list[str] = []
            if healed.code:
                found.append(f"the next load failed: {healed.output[-800:]}")
            if wrong := self.case.wrong(project, *self.whole[1:]):
                found.append(wrong)
            if again.code:
                found.append(f"the load after that failed: {again.output[-800:]}")
            elif loaded := rows_of_the_last_run(project):
                found.append(f"the load after that took {loaded} rows")
            if (project.settings.home / "set_aside").exists():
                found.append("a package was set aside")
            if found:
                return f"killed at {where}: " + "; ".join(found)
            shutil.rmtree(project.root, ignore_errors=True)
            return ""
        finally:
            self.drivers.put(driver)

    def all_survive(self, plans: list[tuple[int | float, ...]]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            failures = [f for f in pool.map(lambda plan: self.survives(*plan), plans) if f]
        figures = f"{len(plans)} plans over {len(self.events)} events, seed {SEED}: {len(failures)} failed"
        stage = "changes" if self.changed else "first load"
        print("\n".join(["", f"{self.case.name}, {stage}: {figures}", *failures]))  # noqa: T201
        assert not failures, f"SLUICE_CRASH_SEED={SEED}: {len(failures)} of {len(plans)} plans\n" + "\n".join(
            failures
        )


def rows_of_the_last_run(project: Project) -> int:
    """Rows the last load took in, by the ledger; deletions are among them."""
    con = sqlite3.connect(project.settings.ledger)
    try:
        row = con.execute(
            "select coalesce(sum(rows_loaded), 0) from loads where run_id = (select max(run_id) from runs)"
        ).fetchone()
        return int(row[0])
    finally:
        con.close()


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("changed", [False, True], ids=["first", "changes"])
@pytest.mark.parametrize("case", KINDS, indirect=True)
@pytest.mark.sample(2)
def test_killed_at_every_event(
    case: Case, changed: bool, drivers: SimpleQueue[Driver], tmp_path: Path
) -> None:
    walk = Walk(case, changed, drivers, tmp_path)
    dice = random.Random(f"{SEED} {case.name} {changed}")
    plans: list[tuple[int | float, ...]] = [(k,) for k in spread(len(walk.events), POINTS, dice)]
    # where rows are committed and dlt takes note of it, which is where stock dlt loses or doubles them
    noted = [n for n, e in enumerate(walk.events, 1) if "commit" in e or "_transitions" in e or "_jobs" in e]
    plans += [(dice.choice(noted),) for _ in range(POINTS // 2)]
    # twice in a row: the second while what the first had packed is finished, or while it is read anew
    packed = [n for n, event in enumerate(walk.events, 1) if "/load/" in event] or [len(walk.events)]
    plans += [(dice.choice(packed), dice.randint(1, len(walk.events))) for _ in range(max(1, POINTS // 4))]
    # and wherever it is, also in the middle of a statement
    plans += [(dice.uniform(0.1, walk.seconds),) for _ in range(max(1, POINTS // 6))]
    walk.all_survive(plans)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", KINDS, indirect=True)
@pytest.mark.sample(1)
def test_a_refresh_killed_at_every_event(case: Case, drivers: SimpleQueue[Driver], tmp_path: Path) -> None:
    """At any moment raw is what it was, or the new tables, all of them; their state goes with them."""
    walk = Walk(case, True, drivers, tmp_path, "--full-refresh")
    dice = random.Random(f"{SEED} {case.name} refresh")
    plans: list[tuple[int | float, ...]] = [(k,) for k in spread(len(walk.events), POINTS, dice)]
    exchanging = [n for n, event in enumerate(walk.events, 1) if "complete_package" in event]
    last = list(range(exchanging[0], exchanging[-1] + 1))
    plans += [(n,) for n in dice.sample(last, min(len(last), POINTS))]
    plans += [(dice.choice(last), dice.randint(1, len(walk.events))) for _ in range(max(1, POINTS // 4))]
    walk.all_survive(plans)


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("options", [(), ("--full-refresh",)])
@pytest.mark.parametrize("case", ["python"], indirect=True)
def test_killed_before_dlt_has_written_its_state(
    case: Case, options: tuple[str, ...], drivers: SimpleQueue[Driver], tmp_path: Path
) -> None:
    """The rows are packed, and the state that counts them is in the package only: they must not come twice."""
    walk = Walk(case, True, drivers, tmp_path, *options)
    extracted = walk.events.index("return dlt.pipeline.pipeline.extract") + 1
    walk.all_survive([(n,) for n in range(extracted, extracted + 3)])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("case", "options"), [("sqlite", ()), ("files", ("--full-refresh",))], indirect=["case"]
)
@pytest.mark.sample(1)
def test_killed_sample(
    case: Case, options: tuple[str, ...], drivers: SimpleQueue[Driver], tmp_path: Path
) -> None:
    walk = Walk(case, True, drivers, tmp_path, *options)
    committing = [
        n for n, event in enumerate(walk.events, 1) if "commit" in event or "complete_package" in event
    ]
    dice = random.Random(SEED)
    walk.all_survive([(dice.choice(committing),), (dice.randint(1, len(walk.events)),)])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", ["sqlite"], indirect=True)
@pytest.mark.full
def test_killed_while_a_normalised_package_is_deleted(
    case: Case, drivers: SimpleQueue[Driver], tmp_path: Path
) -> None:
    """What it was made from is half there, and must not be taken for a broken package."""
    walk = Walk(case, True, drivers, tmp_path)
    deleting = [
        n
        for n, event in enumerate(walk.events, 1)
        if event.startswith(("os.remove", "os.rmdir")) and "normalize/extracted/" in event
    ]
    assert deleting
    walk.all_survive([(n,) for n in (deleting[0], deleting[-1])])
