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
    ("case", "after", "damage"),
    [
        ("sqlite", NORMALIZED, malformed),
        *(
            pytest.param(kind, after, damage, marks=pytest.mark.full)
            for kind in KINDS
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
def test_a_poison_package_is_set_aside(
    case: Case,
    after: str,
    damage: Callable[[list[Path]], None],
    drivers: SimpleQueue[Driver],
    tmp_path: Path,
) -> None:
    walk = Walk(case, True, drivers, tmp_path)
    driver = drivers.get()
    try:
        project = walk.project(driver)
        killed = driver.run(project.root, "load", kill_at=walk.events.index(after) + 2)
        assert killed.code == KILLED
        packed = rows_on_their_way(project)
        assert packed
        damage(packed)
        healed = driver.run(project.root, "load")
        assert healed.code == 0, healed.output
        assert not case.wrong(project, True), case.wrong(project, True) + healed.output
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


def rows_on_their_way(project: Project) -> list[Path]:
    """Parquet files of packages that are not loaded yet."""
    return [f for f in project.settings.pipelines.rglob("*.parquet") if "completed_jobs" not in f.parts]
