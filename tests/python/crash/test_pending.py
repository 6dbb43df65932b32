"""A package that cannot be loaded is set aside with its reason; the same run reads its rows again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.python.crash.cases import Case
from tests.python.crash.test_kills import KILLED, KINDS, Walk, case, drivers, rows_of_the_last_run
from tests.python.crash.walk import Driver
from tests.python.project import Project

__all__ = ["case", "drivers"]

EXTRACTED = "return dlt.pipeline.pipeline.extract"
NORMALIZED = "return dlt.pipeline.pipeline.normalize"


def malformed(files: list[Path]) -> None:
    """Half of every file."""
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def malformed_last(files: list[Path]) -> None:
    """Half of one file, so that other tables of the package are loaded before it fails."""
    malformed([max(files)])


def missing(files: list[Path]) -> None:
    for file in files:
        file.unlink()


@pytest.mark.parametrize(
    ("case", "options", "after", "damage"),
    [
        ("sqlite", (), NORMALIZED, malformed),
        ("files", ("--full-refresh",), NORMALIZED, malformed_last),
        *(
            pytest.param(kind, options, after, damage, marks=pytest.mark.full)
            for kind in KINDS
            for options in ((), ("--full-refresh",))
            for after, damage in [
                (EXTRACTED, malformed),
                (EXTRACTED, missing),
                (NORMALIZED, malformed_last),
                (NORMALIZED, missing),
            ]
        ),
    ],
    indirect=["case"],
)
@pytest.mark.timeout(300)
@pytest.mark.sample(4)
def test_a_poison_package_is_set_aside(
    case: Case,
    options: tuple[str, ...],
    after: str,
    damage: Callable[[list[Path]], None],
    drivers: SimpleQueue[Driver],
    tmp_path: Path,
) -> None:
    walk = Walk(case, True, drivers, tmp_path, *options)
    driver = drivers.get()
    try:
        project = walk.project(driver)
        killed = driver.run(project.root, *walk.command, kill_at=walk.events.index(after) + 2)
        assert killed.code == KILLED
        packed = rows_on_their_way(project)
        assert packed
        damage(packed)
        healed = driver.run(project.root, "load")
        assert healed.code == 0, healed.output
        wrong = case.wrong(project, case.expected(True))
        assert not wrong, wrong + healed.output
        assert "cannot be loaded and was set aside" in healed.output
        (aside,) = (project.settings.home / "set_aside").iterdir()
        assert (aside / "REASON.txt").read_text().startswith(f"{case.name}: ")
        if damage is not missing:
            kept = [f for f in aside.rglob("*.parquet") if f.stat().st_size]
            assert len(kept) >= len(packed)
        again = driver.run(project.root, "load")
        assert again.code == 0, again.output
        assert not rows_of_the_last_run(project)
        assert len(list((project.settings.home / "set_aside").iterdir())) == 1
    finally:
        drivers.put(driver)


@pytest.mark.full
@pytest.mark.parametrize("case", ["sqlite"], indirect=True)
def test_a_half_written_schema_sets_nothing_aside(
    case: Case, drivers: SimpleQueue[Driver], tmp_path: Path
) -> None:
    """A process that ends while dlt writes a schema leaves a file of a random name beside the schemas."""
    walk = Walk(case, True, drivers, tmp_path)
    driver = drivers.get()
    try:
        project = walk.project(driver)
        killed = driver.run(project.root, *walk.command, kill_at=walk.events.index(EXTRACTED) + 2)
        assert killed.code == KILLED
        (project.settings.pipelines / case.name / "schemas" / "92337252800ec2c8").write_text("{")
        healed = driver.run(project.root, "load")
        assert healed.code == 0, healed.output
        assert not case.wrong(project, case.expected(True))
        assert not (project.settings.home / "set_aside").exists()
    finally:
        drivers.put(driver)


def rows_on_their_way(project: Project) -> list[Path]:
    """Parquet files of packages that are not loaded yet."""
    return [f for f in project.settings.pipelines.rglob("*.parquet") if "completed_jobs" not in f.parts]
