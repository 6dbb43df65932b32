"""Which of dbt's snapshots overlap, by dbt itself: what `sluice check` refuses does, what it lets pass does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sluice.config.settings import Settings
from sluice.conventions.check import check_conventions

ROOT = Path(__file__).parents[2]
DBT = [str(Path(sys.executable).with_name("dbt")), "--quiet"]
CONFIGS = {
    f"{strategy}_{deletes}{'_timed' * (strategy == 'check' and timed)}": (
        f"unique_key: id, strategy: {strategy}, hard_deletes: {deletes}"
        + ", check_cols: [name]" * (strategy == "check")
        + ", updated_at: changed_at" * timed
    )
    for strategy, timed in (("timestamp", True), ("check", True), ("check", False))
    for deletes in ("ignore", "invalidate", "new_record")
}
STEPS = (
    "(1, 'a', timestamp '2024-01-01'), (9, 'z', timestamp '2024-01-01')",
    "(9, 'z', timestamp '2024-01-01')",  # deleted
    "(1, 'a', timestamp '2024-01-01'), (9, 'z', timestamp '2024-01-01')",  # back with its old time
    "(1, 'b', timestamp '2024-02-01'), (9, 'y', timestamp '2023-06-01')",  # changed, and changed with an earlier time
)
OVERLAPPING = {
    c for c in CONFIGS if c.endswith("_timed") or c in ("timestamp_invalidate", "timestamp_new_record")
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dbt_project.yml").write_text(
        "name: tiny\nprofile: tiny\nmacro-paths: [tests/generic]\ntest-paths: []\n"
    )
    (tmp_path / "profiles.yml").write_text(
        "tiny: {target: a, outputs: {a: {type: duckdb, path: tiny.duckdb}}}\n"
    )
    shutil.copytree(ROOT / "tests" / "generic", tmp_path / "tests" / "generic")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "people.sql").write_text("select * from main.source_of_people")
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "history.yml").write_text(
        "snapshots:\n"
        + "".join(
            f"  - name: {name}\n    relation: ref('people')\n    config: {{{config}}}\n"
            "    data_tests: [{valid_intervals: {arguments: {key: [id]}}}]\n"
            for name, config in CONFIGS.items()
        )
    )
    return tmp_path


@pytest.mark.full
@pytest.mark.timeout(600)
def test_what_check_refuses_overlaps_and_nothing_else(project: Path) -> None:
    for rows in STEPS:
        with duckdb.connect(str(project / "tiny.duckdb")) as con:
            con.execute(
                f"create or replace table source_of_people as from (values {rows}) t (id, name, changed_at)"
            )
        commands = ("run", "snapshot") if rows == STEPS[0] else ("snapshot",)
        for command in commands:
            subprocess.run([*DBT, command, "--profiles-dir", "."], cwd=project, check=True)
    said = subprocess.run(
        [*DBT, "test", "--profiles-dir", "."], cwd=project, capture_output=True, text=True, check=False
    ).stdout
    failed = {name for name in CONFIGS if f"test valid_intervals_{name}_id" in said}
    assert failed == OVERLAPPING
    _, problems = check_conventions(Settings(root=project, home=project / "warehouse"))
    refused = {p.message.split()[0] for p in problems if p.where == "snapshot-history"}
    assert refused == OVERLAPPING
